"""Events of a child reach the supervisor, in order, to the last one, and a jammed queue holds nobody up."""

import logging
import threading

from capture.child import EventQueue
from pipeline.events import EventReader, log_event


def gather(killed: bool) -> list[dict[str, object]]:
    """Tell a hundred events, end, and return what was heard."""
    events, heard = EventQueue(), []
    reader = EventReader("child", events, lambda name, event: heard.append({"name": name, **event}))
    reader.start()
    for number in range(100):
        events.tell("note", number=number)
    reader.finish(killed)
    assert not reader.is_alive()
    return heard


def test_everything_told_before_the_end_is_heard():
    """The last event is often the one that says why."""
    assert gather(killed=False) == [{"name": "child", "event": "note", "number": number} for number in range(100)]


def test_what_a_killed_child_told_is_heard_too():
    """Nothing is put into its queue, the mutex of which may be held for ever."""
    assert len(gather(killed=True)) == 100


def test_a_jammed_queue_is_given_up():
    """A reader that hangs in a dead child's mutex is left behind, the supervisor goes on."""
    release = threading.Event()

    class Jammed:
        def get_many(self, **_: object) -> list[object]:
            release.wait()
            return [{"event": "end"}]

    reader = EventReader("child", Jammed(), lambda *_: None)  # type: ignore[arg-type]
    reader.start()
    reader.finish(killed=True)
    assert reader.is_alive()
    release.set()
    reader.join()


def test_a_reader_without_memory_goes_on_when_there_is_some():
    """A traceback in the log, and a child that nobody hears any more, would be the end of it else."""
    tries = [None, MemoryError]

    class Short(EventQueue):
        def get_many(self, **more: object) -> list[object]:
            if tries and (fault := tries.pop()) is not None:
                raise fault
            return super().get_many(**more)

    events, heard = Short(), []
    reader = EventReader("child", events, lambda _name, event: heard.append(event))
    reader.start()
    events.tell("note")
    reader.finish(killed=False)
    assert (heard, tries) == ([{"event": "note"}], [])


def test_events_become_log_lines(caplog):
    """Level and text as the child meant them; unknown kinds are shown rather than lost."""
    caplog.set_level(logging.INFO)
    log_event("capture", {"event": "log", "level": logging.ERROR, "text": "bad", "at": 1.0})
    log_event("receiver", {"event": "listening", "host": "::1", "port": 7})  # its log says so too
    log_event("worker 0", {"event": "undelivered", "output": 0, "messages": 3})
    log_event("worker 0", {"event": "failed", "text": "shown elsewhere"})
    assert [(each.name, each.levelname, each.getMessage()) for each in caplog.records] == [
        ("capture", "ERROR", "bad"),
        ("worker 0", "WARNING", "undelivered: output 0, messages 3"),
    ]
