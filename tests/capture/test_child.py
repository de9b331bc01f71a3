"""The shell of every child: what it logs arrives, what it raises becomes one event, and it never outlives its
parent.
"""

import logging
import multiprocessing
import os
import pickle  # noqa: TID251  # to show that nothing reads one
import select
from pathlib import Path
from queue import Empty
from typing import Any

import msgpack
import pytest

from capture.child import BUG_EXIT_CODE, QUEUE_BYTES, EventHandler, EventQueue
from capture.ring import Consumer, Ring
from tests.capture import peers

SPAWN = multiprocessing.get_context("spawn")


def run(what: str) -> tuple[int | None, list[dict[str, Any]]]:
    """Run one body of peers.child; return its exit code and what it told."""
    events = EventQueue()
    process = SPAWN.Process(target=peers.child, args=(events, os.getpid(), what))
    process.start()
    process.join(60)
    return process.exitcode, told(events)


def told(events: EventQueue) -> list[dict[str, Any]]:
    """Take everything out of a queue."""
    items: list[dict[str, Any]] = []
    try:
        while True:
            items += events.get_many_nowait()
    except Empty:
        return items


def test_log_records_arrive_formatted_from_their_level_on():
    """The supervisor prints them; a level that the user did not ask for is not worth the trip."""
    code, events = run("logs")
    assert code == 0
    assert [(event["event"], event["level"], event["logger"], event["text"]) for event in events] == [
        ("log", logging.WARNING, "capture.test", "7 frames")
    ]


def test_an_error_on_purpose_is_one_event_with_its_exit_code():
    """The user gets one line and the right exit code, not a traceback."""
    assert run("refuses") == (2, [{"event": "failed", "text": "input.path: write a path", "exit_code": 2}])


def test_a_bug_is_logged_with_its_traceback_and_fails():
    """An error that nobody meant must not look like a clean end."""
    code, (log, failed) = run("breaks")
    assert code == BUG_EXIT_CODE
    assert "Traceback" in log["text"]
    assert failed == {"event": "failed", "text": "internal error: KeyError: 'x'", "exit_code": 1}


def test_signals_of_the_terminal_do_not_end_a_child():
    """Ctrl-C reaches the whole process group; the children end when their rings are drained."""
    code, events = run("signals")
    assert (code, events[0]["text"]) == (0, "still here")


def test_a_child_without_its_parent_ends():
    """kill -9 of the supervisor must leave nothing in the process table."""
    ring = Ring.create(4096)
    process = SPAWN.Process(target=peers.orphan, args=(EventQueue(), ring))
    process.start()
    process.join(60)
    assert process.exitcode == -9
    record = Consumer(ring).read(0)
    assert record is not None
    (pid,) = peers.SIZE.unpack_from(record[1])
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    assert select.select([handle], [], [], 30)[0], "the orphan is still there"
    os.close(handle)


def test_a_child_whose_parent_is_gone_already_ends_at_once():
    """The parent may die between starting the child and the child asking to die with it."""
    process = SPAWN.Process(target=peers.child, args=(EventQueue(), os.getpid() + 1, "nothing"))
    process.start()
    process.join(60)
    assert process.exitcode == 1


def test_a_full_queue_never_blocks_and_counts_what_is_lost():
    """A supervisor that is slow to read must not stop the traffic."""
    events = EventQueue()
    for _ in range(20):
        events.tell("log", text="x" * (QUEUE_BYTES // 10))
    lost = events.counters["events_lost"]
    assert lost > 0
    assert len(told(events)) + lost == 20


@pytest.mark.parametrize("value", [b"bytes", (1, 2), 2**70, {"a": None}])
def test_unusual_values_do_not_break_telling(value):
    """A log line must never be what ends a child."""
    events = EventQueue()
    events.tell("log", value=value)
    assert len(told(events)) == 1


def test_the_handler_adds_the_traceback():
    """Where a warning came from is lost otherwise: exceptions do not travel."""
    events = EventQueue()
    try:
        raise ValueError("no")
    except ValueError as error:
        record = logging.LogRecord(
            "a", logging.ERROR, "", 0, "it %s", ("failed",), (ValueError, error, error.__traceback__)
        )
    EventHandler(events).emit(record)
    (event,) = told(events)
    assert event["text"].startswith("it failed\nTraceback")


def test_a_pickle_in_the_queue_is_not_executed(tmp_path):
    """The library unpickles unless told otherwise; a child that was taken over could put anything there."""
    target = tmp_path / "owned"

    class Hostile:
        def __reduce__(self):
            return os.mkdir, (str(target),)

    events = EventQueue()
    events.dumps = pickle.dumps
    events.put_nowait(Hostile())
    with pytest.raises((ValueError, msgpack.UnpackException)):
        events.get_many_nowait()
    assert not target.exists()
    pickle.loads(pickle.dumps(Hostile()))  # it does what it says, where it is
    assert target.exists()


def test_a_queue_needs_no_place_in_the_file_system(monkeypatch):
    """/dev/shm may be absent, read-only or small; when it fills up, whoever touches its pages dies."""
    monkeypatch.setattr("tempfile.mkstemp", lambda *_args, **_more: pytest.fail("a file was made"))
    events = [EventQueue() for _ in range(40)]
    for each in events:
        each.tell("here")
        assert each.get(block=False) == {"event": "here"}
    maps = Path("/proc/self/maps").read_text()
    assert "/memfd:ringtap-queue" in maps


def test_a_child_without_memory_says_so_and_is_a_bug_to_be_started_again():
    """No traceback: where it ran out says nothing about why."""
    code, [failed] = run("fills")
    assert (code, failed["exit_code"]) == (BUG_EXIT_CODE, 1)
    name, _, limit = failed["text"].partition(" ran out of memory")
    assert name
    assert limit == ": it may have 600 MiB of its own (docs/reliability.md)"
