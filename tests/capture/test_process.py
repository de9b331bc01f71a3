"""The capture process as the supervisor runs it: all frames in the ring, the ring closed whatever happens."""

import multiprocessing
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import replace
from queue import Empty
from typing import Any

import pytest
from packets_files import pcap

from capture.child import EventQueue
from capture.counters import Counters
from capture.process import CaptureSpec, StandardInput, main
from capture.records import CAPTURE_COUNTERS
from capture.ring import Consumer, Ring
from tests.capture.batches import Got, pairs, unpack_all

SPAWN = multiprocessing.get_context("spawn")
DEADLINE_S = 60
NOW_NS = 1_700_000_000_123_456_000
FRAMES = [(NOW_NS + at * 1_234_000, at.to_bytes(2, "big") * 300) for at in range(3000)]


class Run:
    """One capture process, the ring it fills, and what comes out of that."""

    def __init__(self, *paths: object, capacity: int = 1 << 20, stdin: int | None = None, **options: Any) -> None:
        self.events = EventQueue()
        self.counters = Counters(CAPTURE_COUNTERS)
        self.ring = Ring.create(capacity)
        spec = CaptureSpec(
            os.getpid(),
            20,
            self.events,
            self.counters,
            (self.ring,),
            tuple(str(path) for path in paths),
            **options,
        )
        if stdin is not None:
            spec = replace(spec, stdin=StandardInput(stdin))
        self.process = SPAWN.Process(target=main, args=(spec,))
        self.process.start()
        self.consumer = Consumer(self.ring)
        self.position = 0
        self.payloads: list[bytes] = []

    def take(self, enough: int | None = None) -> list[Got]:
        """Take records until the ring is closed and empty, or `enough` frames came; return all so far."""
        deadline = time.monotonic() + DEADLINE_S
        while True:
            closed = self.consumer.closed
            if (record := self.consumer.read(self.position)) is not None:
                _, view, self.position = record
                self.payloads.append(bytes(view))
                self.consumer.release(self.position)
            elif closed:
                return unpack_all(self.payloads)
            else:
                if enough is not None and len(frames := unpack_all(self.payloads)) >= enough:
                    return frames
                self.consumer.wait(self.position)
            assert time.monotonic() < deadline

    def end(self) -> tuple[int | None, list[dict[str, Any]]]:
        """Wait for the process; return its exit code and what it told."""
        self.process.join(DEADLINE_S)
        told: list[dict[str, Any]] = []
        try:
            while True:
                told += self.events.get_many_nowait()
        except Empty:
            return self.process.exitcode, [event for event in told if event != {"event": "ready"}]


def test_a_file_goes_into_the_ring_and_is_counted(tmp_path):
    """The offline run, with a ring much smaller than the file: it waits, and drops nothing."""
    (tmp_path / "a").write_bytes(pcap(FRAMES))
    run = Run(tmp_path / "a", capacity=100_000)
    assert pairs(run.take()) == FRAMES
    assert run.end() == (0, [])
    counters = run.counters.as_dict()
    assert counters["frames_captured"] == 3000
    assert counters["bytes_captured"] == 3000 * 600
    assert counters["batches"] == len(run.payloads) == run.ring.stats().records
    assert (counters["files_read"], counters["files_cut"], counters["frames_dropped_ring"]) == (1, 0, 0)
    assert counters["bytes_read"] == counters["bytes_total"] == len(pcap(FRAMES))


def test_a_cut_file_is_a_warning_not_a_failure(tmp_path):
    """Everything whole is delivered, the exit code is 0, and the operator is told once."""
    (tmp_path / "a").write_bytes(pcap(FRAMES)[:-100])
    run = Run(tmp_path / "a")
    assert pairs(run.take()) == FRAMES[:-1]
    code, (event,) = run.end()
    assert code == 0
    assert (event["event"], event["level"]) == ("log", 30)
    assert "ends in the middle of a record" in event["text"]
    assert run.counters["files_cut"] == 1


@pytest.mark.parametrize(
    ("options", "code", "why"), [({}, 1, "missing: no such file"), ({"bpf": "tcp prt 80"}, 2, "syntax error")]
)
def test_what_cannot_be_read_fails_in_one_line_and_closes_the_ring(tmp_path, options, code, why):
    """The assembler behind it has to end too, and nothing is to be written before all files are judged."""
    (tmp_path / "good").write_bytes(pcap(FRAMES))
    run = Run(tmp_path / "good", tmp_path / "missing", **options)
    assert run.take() == []
    exitcode, (event,) = run.end()
    assert (exitcode, event["event"], event["exit_code"]) == (code, "failed", code)
    assert why in event["text"]


def stalled(run: Run) -> None:
    """Wait until the process waits for room."""
    deadline = time.monotonic() + DEADLINE_S
    while not run.ring.stats().stalls:
        assert run.process.is_alive()
        assert time.monotonic() < deadline
        run.process.join(0.01)


def test_a_file_that_goes_away_fails_after_what_came_before_it(tmp_path):
    """The frames of the first file are whole; losing them too would help nobody."""
    (tmp_path / "1").write_bytes(pcap(FRAMES))
    (tmp_path / "2").write_bytes(pcap([(FRAMES[-1][0] + 1000, b"x")]))
    run = Run(tmp_path / "1", tmp_path / "2", capacity=100_000)
    stalled(run)
    (tmp_path / "2").unlink()
    assert pairs(run.take()) == FRAMES
    code, (event,) = run.end()
    assert code == 1
    assert event["text"].endswith("2: no such file")


def test_a_signal_stops_the_reading_of_a_file(tmp_path):
    """Ctrl-C in mid-run: what has been read goes through, the rest is left, and that is no failure."""
    (tmp_path / "a").write_bytes(pcap(FRAMES * 20))
    run = Run(tmp_path / "a", capacity=100_000)
    stalled(run)
    os.kill(run.process.pid or 0, signal.SIGTERM)
    frames = run.take()
    assert run.end() == (0, [])
    assert pairs(frames) == (FRAMES * 20)[: len(frames)]
    assert 0 < len(frames) < len(FRAMES) * 20
    assert run.counters["frames_captured"] == len(frames)


def test_a_signal_ends_the_waiting_for_standard_input():
    """A pipe whose writer is silent gives no other occasion; what it had written is delivered at once."""
    reading, writing = os.pipe()
    run = Run("-", stdin=reading)
    os.write(writing, pcap(FRAMES[:5]))
    assert pairs(run.take(enough=5)) == FRAMES[:5]
    began = time.monotonic()
    os.kill(run.process.pid or 0, signal.SIGTERM)
    assert pairs(run.take()) == FRAMES[:5]
    assert run.end() == (0, [])
    assert time.monotonic() - began < 5
    for fd in (reading, writing):
        os.close(fd)


def test_a_signal_ends_the_waiting_for_the_first_byte():
    """Before the source is even open."""
    reading, writing = os.pipe()
    run = Run("-", stdin=reading)
    handle = os.pidfd_open(run.process.pid or 0)
    deadline = time.monotonic() + DEADLINE_S
    while not select.select([handle], [], [], 0.05)[0]:  # one that comes before the handler is there is not heard
        if waits_in_poll(run.process.pid or 0):
            os.kill(run.process.pid or 0, signal.SIGTERM)
        assert time.monotonic() < deadline
    assert run.take() == []
    assert run.end() == (0, [])
    for fd in (reading, writing, handle):
        os.close(fd)


def waits_in_poll(pid: int) -> bool:
    """Whether a process sleeps in poll with our eventfd open; the names are the kernel's (proc(5))."""
    try:
        links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
        with open(f"/proc/{pid}/wchan") as file:
            return "poll" in file.read() and any("ringtap-ring" in link for link in links)
    except OSError:
        return False


SCRIPT = """
import multiprocessing, os
from capture.child import EventQueue
from capture.counters import Counters
from capture.process import CaptureSpec, main
from capture.records import CAPTURE_COUNTERS
from capture.ring import Ring

counters, ring = Counters(CAPTURE_COUNTERS), Ring.create(1 << 22)
spec = CaptureSpec(os.getpid(), 20, EventQueue(), counters, (ring,), ("-",))
process = multiprocessing.get_context("spawn").Process(target=main, args=(spec,))
process.start()
process.join(60)
print(process.exitcode, counters["frames_captured"])
"""


def test_the_child_reads_the_standard_input_of_its_parent(tmp_path):
    """multiprocessing gives every child an empty one; ours travels there by itself."""
    (tmp_path / "a").write_bytes(pcap(FRAMES))
    with open(tmp_path / "a", "rb") as file:
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT],
            stdin=file,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=True,
        )
    assert done.stdout.strip() == "0 3000"


def test_a_copy_of_standard_input_is_given_back():
    """A supervisor makes one for every run."""
    before = len(os.listdir("/proc/self/fd"))
    copy = StandardInput()
    assert len(os.listdir("/proc/self/fd")) == before + 1
    del copy
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_closed_standard_input_is_an_error_in_one_line():
    """Daemons are started without one; that is no reason for a traceback."""
    run = Run("-", stdin=-1)
    assert run.take() == []
    assert run.end() == (1, [{"event": "failed", "text": "standard input: is closed", "exit_code": 1}])
