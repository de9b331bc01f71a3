"""A capture of files that is killed, again and again: its successors bring every frame once, and the counters close."""

import gzip
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from packets_files import pcap
from talks import CLIENT, SERVER, Frame, Talk

from assemble.route import FlowRoute
from assemble.settings import Settings
from capture.child import EventQueue
from capture.counters import Counters
from capture.errors import ChangedError
from capture.process import CaptureSpec, main
from capture.records import BATCH_HEADER, CAPTURE_COUNTERS, FRAME_ENTRY
from capture.ring import Consumer, Ring
from capture.sources import FrameSource

SPAWN = multiprocessing.get_context("spawn")
DEADLINE_S = 20
KILLS = 8


def traffic() -> list[Frame]:
    """Frames of many connections, some of them in fragments of datagrams."""
    frames: list[Frame] = []
    for number in range(300):
        talk = Talk(cport=1024 + number).open()
        for at in range(5):
            talk.say(CLIENT, b"GET /%d/%d HTTP/1.1\r\nHost: h\r\n\r\n" % (number, at))
            talk.say(SERVER, b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n" + bytes(900))
        frames += talk.close().frames
    return frames


def files(at: Path) -> tuple[str, ...]:
    """Three files whose frames alternate in time, one of them compressed."""
    parts: list[list[tuple[int, bytes]]] = [[], [], []]
    for number, (_ts_ns, frame) in enumerate(traffic()):
        parts[number % 3].append((1_700_000_000_000_000_000 + number * 1_000_000, frame))
    paths = [at / f"{number}.pcap" for number in range(3)]
    for path, part in zip(paths, parts, strict=True):
        path.write_bytes(gzip.compress(pcap(part)) if path.name == "1.pcap" else pcap(part))
    return tuple(map(str, paths))


def entries(payload: bytes) -> Iterator[tuple[object, ...]]:
    """Yield what is in one batch: times, links, sources, bytes."""
    count, _routed, _first = BATCH_HEADER.unpack_from(payload)
    base = BATCH_HEADER.size + count * FRAME_ENTRY.size
    for at in range(count):
        entry = FRAME_ENTRY.unpack_from(payload, BATCH_HEADER.size + at * FRAME_ENTRY.size)
        ts_ns, offset, caplen, _wirelen, link, source = entry
        yield ts_ns, link, source, payload[base + offset : base + offset + caplen]


class Run:
    """Captures one after the other at the same rings, and everything that came out of these."""

    def __init__(self, paths: tuple[str, ...], lanes: int, capacity: int) -> None:
        self.counters = Counters(CAPTURE_COUNTERS)
        self.rings = tuple(Ring.create(capacity) for _ in range(lanes))
        self.route = FlowRoute(Settings(), lanes) if lanes > 1 else None
        self.spec = CaptureSpec(
            os.getpid(), 20, EventQueue(), self.counters, self.rings, paths, 64, 16384, route=self.route
        )
        self.consumers = [Consumer(ring) for ring in self.rings]
        self.payloads: list[list[bytes]] = [[] for _ in self.rings]

    def take(self, most: int) -> int:
        """Take up to `most` records of each ring; returns how many there were."""
        taken = 0
        for consumer, payloads in zip(self.consumers, self.payloads, strict=True):
            for _ in range(most):
                if (record := consumer.read(consumer.tail)) is None:
                    break
                payloads.append(bytes(record[1]))
                consumer.release(record[2])
                taken += 1
        return taken

    def follow(self, attempt: int, until: Callable[[], bool]) -> int:
        """Run one process, and kill it when it is time; returns its exit code."""
        process = SPAWN.Process(target=main, args=(replace(self.spec, events=EventQueue(), attempt=attempt),))
        process.start()
        deadline_s = time.monotonic() + DEADLINE_S
        try:
            while process.is_alive() and not until():
                self.take(1)
                assert time.monotonic() < deadline_s
        finally:
            process.kill()
            process.join()
        assert process.exitcode is not None
        return process.exitcode

    def ended(self) -> bool:
        """Whether all rings are closed and empty."""
        closed = all(consumer.closed for consumer in self.consumers)
        return not self.take(1) and closed

    def finish(self, attempt: int) -> None:
        """Run a last process to its end."""
        process = SPAWN.Process(target=main, args=(replace(self.spec, attempt=attempt),))
        process.start()
        deadline_s = time.monotonic() + DEADLINE_S
        try:
            while not self.ended():
                assert time.monotonic() < deadline_s
            process.join(DEADLINE_S)
            assert process.exitcode == 0
        finally:
            process.kill()
            process.join()

    def counted(self) -> dict[str, int]:
        """Return all counters that do not depend on how full the rings were."""
        counts = self.counters.as_dict()
        if self.route is not None:
            del counts["batches"]
            counts |= self.route.page.as_dict()
        return counts

    def frames(self) -> list[list[tuple[object, ...]]]:
        """Return what came out of each ring, however it was batched."""
        return [[entry for payload in payloads for entry in entries(payload)] for payloads in self.payloads]


@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize("seed", range(2))
def test_killed_at_random_every_frame_comes_once(tmp_path: Path, lanes: int, seed: int):
    """As in a run that nobody disturbed, frame by frame and counter by counter; the ring is often full."""
    dice = random.Random(seed)
    paths = files(tmp_path)
    capacity = 1 << 19 if lanes > 1 else 1 << 16
    calm, run = Run(paths, lanes, capacity), Run(paths, lanes, capacity)
    calm.finish(0)
    size = max(consumer.tail for consumer in calm.consumers)
    for attempt in range(KILLS):
        goal = max(consumer.head for consumer in run.consumers) + dice.randrange(1, size // KILLS)
        code = run.follow(attempt, lambda goal=goal: max(each.head for each in run.consumers) >= goal)
        assert code in {0, -signal.SIGKILL}
    run.finish(KILLS)
    assert run.frames() == calm.frames()
    assert sum(map(len, run.frames())) >= len(traffic())
    assert run.counted() == calm.counted()


def test_a_process_that_is_killed_as_it_ends_changes_nothing(tmp_path: Path):
    """All frames are in the ring, which is closed: the next one has nothing to add."""
    run = Run(files(tmp_path), 1, 1 << 16)
    run.finish(0)
    before, counts = run.frames(), run.counted()
    run.finish(1)
    assert (run.frames(), run.counted()) == (before, counts)


def test_files_that_have_become_shorter_end_it(tmp_path: Path):
    """To go on at the same number would be to go on somewhere else."""
    frames = traffic()
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap([(at * 1000, frame) for at, (_ts_ns, frame) in enumerate(frames[:10])]))
    with FrameSource([str(path)]) as source, pytest.raises(ChangedError):
        source.skip(11, 1 << 20, lambda: None)
