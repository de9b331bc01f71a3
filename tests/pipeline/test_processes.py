"""How the end of a child is told, and what its successor is given."""

import errno
import multiprocessing
import os
import resource
import signal
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from capture.child import EventQueue
from capture.counters import Counters
from pipeline.events import EventReader
from pipeline.processes import ROOM_BYTES, exit_code, note_death, start, start_again, why
from pipeline.wiring import Stage
from tests.pipeline import children
from tests.pipeline.children import FakeSpec


def stage_of(target: Any) -> Stage:
    """A child with neither ring."""
    events, counters = EventQueue(), Counters(("seen",))
    return Stage("worker 0", target, FakeSpec(events, counters, parent=os.getpid()), events, counters)


def ended(target: Any, signal_number: int = 0) -> Any:
    """Run a child to its end."""
    heard = threading.Event()
    child = start(stage_of(target), lambda _name, event: told.append(event) or heard.set(), 0.0)
    told: list[dict[str, Any]] = []
    if signal_number:
        os.kill(child.process.pid, signal_number)
    child.process.join(10)
    child.reader.finish(killed=(child.process.exitcode or 0) < 0)
    child.failure = next((event for event in told if event["event"] == "failed"), None)
    return child


@pytest.mark.parametrize(
    ("target", "number", "words", "code"),
    [
        (children.die, 0, "worker 0 was killed by SIGKILL", 1),
        (children.hang, signal.SIGKILL, "worker 0 was killed by SIGKILL", 1),
        (children.vanish, 0, "worker 0 ended with exit code 7 and gave no reason", 7),
        (children.fail, 0, "the far side said no", 1),
    ],
)
def test_the_end_of_a_child_is_told_with_its_reason(target, number, words, code):
    """The one line that an operator gets."""
    child = ended(target, number)
    assert (why(child), exit_code(child)) == (words, code)


def test_a_successor_has_the_rings_and_counters_and_a_queue_of_its_own():
    """The queue's mutex may be held by the dead for ever."""
    child = ended(children.die)
    before = child.stage
    assert note_death(child, 5.0) == 0.05
    assert child.due_s == 5.05
    assert not child.running
    stage = start_again(child, lambda _name, _event: None, 5.1)
    child.process.join(10)
    child.reader.finish(killed=True)
    assert stage == replace(before, spec=stage.spec, events=stage.events)
    assert stage.spec == replace(before.spec, events=stage.events, attempt=1)
    assert stage.events is not before.events
    assert stage.events.counters is before.events.counters


def test_without_a_thread_to_hear_it_no_child_is_started(monkeypatch):
    """A process that nobody knows of would be waited for at the end, for ever."""

    def refuse(_reader: EventReader) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(EventReader, "start", refuse)
    with pytest.raises(OSError, match="new thread"):
        start(stage_of(children.hang), lambda _name, _event: None, 0.0)
    assert multiprocessing.active_children() == []


def test_without_a_process_the_thread_that_would_hear_it_ends(monkeypatch):
    """Else there would be one more of them with every attempt."""

    def refuse(*_more: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    before = threading.active_count()
    monkeypatch.setattr("multiprocessing.util.spawnv_passfds", refuse)
    with pytest.raises(OSError, match="unavailable"):
        start(stage_of(children.hang), lambda _name, _event: None, 0.0)
    assert threading.active_count() == before


def test_without_room_for_a_thread_no_child_is_started():
    """Python waits for a new thread to say that it runs, and one without memory never does (`Thread.start`)."""
    before = resource.getrlimit(resource.RLIMIT_DATA)
    threads = threading.active_count()
    stage = stage_of(children.hang)
    resource.setrlimit(resource.RLIMIT_DATA, (own_data() + ROOM_BYTES // 2, before[1]))
    try:
        with pytest.raises(OSError, match="allocate memory"):
            start(stage, lambda _name, _event: None, 0.0)
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)
    assert threading.active_count() == threads


def own_data() -> int:
    """What RLIMIT_DATA counts of this process, in bytes (proc(5))."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmData"))
