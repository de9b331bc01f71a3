"""Runs the engine of a replay in this process, to an end that is bounded."""

import select
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from assemble.message import Message
from capture.ring import Consumer, Ring
from emit.answers import AnswerWriter
from emit.engine import Engine
from emit.records import HttpSpec
from emit.upstream import Upstream
from tests.emit.builders import request, response, ring_of

LONGEST_S: Final = 20.0
MODES: Final = ({"pooled": False}, {"pooled": True})
REASONS: Final = ("unreachable", "timeout", "reset", "garbage", "incomplete", "left")


class Told:
    """A summary that keeps what it is told."""

    def __init__(self) -> None:
        self.sent_: list[tuple[int, bytes, bytes]] = []
        self.originals: list[tuple[int, int]] = []
        self.answers: list[tuple[int, int, int]] = []
        self.failures: list[tuple[int, str]] = []
        self.lateness: list[int] = []

    def sent(self, id: int, method: bytes, target: bytes, first_ns: int) -> None:  # noqa: A002
        assert first_ns > 0
        self.sent_.append((id, method, target))

    def original(self, id: int, status: int, last_ns: int, size: int) -> None:  # noqa: A002
        assert last_ns > 0
        assert size > 0
        self.originals.append((id, status))

    def answered(self, id: int, status: int, size: int, latency_ns: int) -> None:  # noqa: A002
        assert 0 <= latency_ns < LONGEST_S * 1e9
        self.answers.append((id, status, size))

    def failed(self, id: int, reason: str) -> None:  # noqa: A002
        self.failures.append((id, reason))

    def late(self, ns: int) -> None:
        self.lateness.append(ns)


class Run:
    """One engine over one ring."""

    def __init__(
        self, ring: Ring, port: int, told: Any = None, writer: AnswerWriter | None = None, **options: Any
    ) -> None:
        spec = HttpSpec("127.0.0.1", port, **options)
        self.ring = ring
        self.consumer = Consumer(ring)
        self.engine = Engine(spec, self.consumer, None, told, writer, Upstream(spec))
        self.cursor = self.consumer.tail
        self.counts: dict[str, int] = {}

    def step(self) -> None:
        """Do what a worker does in a turn."""
        engine = self.engine
        self.cursor = engine.take(self.cursor, self.consumer.head)
        engine.turn()
        for name, amount in engine.take_counts().items():
            self.counts[name] = self.counts.get(name, 0) + amount
        assert engine.connected <= engine.spec.connections
        assert self.consumer.tail <= engine.safe(self.cursor) <= self.cursor
        self.consumer.release(engine.safe(self.cursor))

    def until(self, condition: Callable[[], bool]) -> None:
        """Go on until something holds."""
        poller = select.poll()
        poller.register(self.engine.fd, select.POLLIN)
        end_s = time.monotonic() + LONGEST_S
        while True:
            self.step()
            if condition():
                return
            now_s = time.monotonic()
            assert now_s < end_s, f"stuck with {self.engine.queued} requests; {self.counts}"
            at_ns = self.engine.deadline_ns()
            wait_s = 0.05 if at_ns is None else min(max(at_ns / 1e9 - now_s, 0), 0.05)
            poller.poll(0 if self.engine.busy else wait_s * 1000 + 1)

    def finish(self) -> dict[str, int]:
        """Go on to the end, and return what was counted."""
        try:
            self.until(lambda: self.engine.quiet and self.cursor == self.consumer.head)
            assert self.engine.safe(self.cursor) == self.cursor
            assert (self.engine.queued, self.engine.queued_bytes) == (0, 0)
        finally:
            self.engine.close()
        return self.counts


def replay(messages: Iterable[Message], port: int, told: Any = None, **options: Any) -> dict[str, int]:
    """Send the requests of messages to a port of this machine, and return what was counted."""
    return Run(ring_of(messages), port, told, **options).finish()


def talk(flows: int, each: int, **changes: Any) -> list[Message]:
    """Make requests of several connections, one after the other, with their responses."""
    made = []
    for number in range(flows * each):
        asked = request(number, target=f"/{number % flows}/{number // flows}", sport=40_000 + number % flows, **changes)
        made += [asked, response(number)]
    return made


def check(counts: dict[str, int], requests: int) -> None:
    """Every request has one outcome, and every failure a reason."""
    assert counts.get("delivered", 0) + counts.get("undelivered", 0) == requests
    assert sum(counts.get(f"failed_{reason}", 0) for reason in REASONS) == counts.get("undelivered", 0)
