"""The http output: requests to a server as they were captured, and what it answered (docs/replay.md).

In: records of a message ring.  Out: requests on connections to one target.  Invariant: a request is delivered when it
was answered, whatever the answer says; the ring is released up to the oldest request that has no outcome.
"""

import logging
import select
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from assemble.message import Message
from capture.counters import Counters
from capture.ring import Consumer
from emit.descriptors import raise_descriptor_limit
from emit.engine import Engine
from emit.output import Output
from emit.records import OutputSpec
from emit.upstream import Upstream

if TYPE_CHECKING:
    from emit.engine import Answered

log = logging.getLogger(__name__)

MOST_WAITING_BYTES: Final = 16 * 1024 * 1024
MOST_WAITING: Final = 10_000
"""Answers that wait for room in their ring, before no more requests are sent."""
OUTCOMES: Final = ("delivered", "undelivered", "responses")


class HttpOutput(Output):
    """Sends requests, and takes the answers."""

    def __init__(self, spec: OutputSpec, consumer: Consumer, counters: Counters) -> None:
        super().__init__(spec, consumer, counters)
        self.engine: Engine | None = None
        self.stuck = False  # an answer waits for room in its ring
        self.told_down = self.told_broken = False

    # -- what the worker asks

    def open(self) -> None:
        assert self.spec.http is not None
        try:
            upstream = Upstream(self.spec.http)
            self.engine = Engine(self.spec.http, self.consumer, self.sieve, self.spec.summary, self.answers, upstream)
        except OSError as error:  # of a file that TLS needs, or no descriptor is left
            self.fail(f"cannot begin: {error.strerror or error}")
            return
        if self.on_answer is not None:
            self.engine.tell_answers()
        raise_descriptor_limit()

    def take(self, head: int) -> None:
        if self.engine is None:
            return
        if not self.stuck:
            self.cursor = self.engine.take(self.cursor, head)
        self.turn(self.engine)

    def attend(self) -> None:
        if self.engine is not None:
            self.turn(self.engine)

    def turn(self, engine: Engine) -> None:
        """Let the connections go on, and hand on what came of it."""
        engine.turn()
        if self.answers is not None or self.on_answer is not None:
            self.hand_on(engine)
        self.account()

    def hand_on(self, engine: Engine) -> None:
        """Write answers to their ring; those that there is no room for wait, and if they are many, so do requests."""
        if self.answers is not None:
            if self.stuck:
                self.answers.disarm()
            self.stuck = not self.answers.flush()
        while engine.answers and not self.stuck:
            answer = engine.answers[0]
            if self.answers is not None and not self.answers.write(*answer):
                if self.spec.policy == "block":
                    self.stuck = True
                    break
                self.answers.drop()
            engine.answers.popleft()
            engine.waiting_bytes -= len(answer[8])
            if self.on_answer is not None and answer[1]:
                self.on_answer(replayed(answer))
        engine.hold(engine.waiting_bytes > MOST_WAITING_BYTES or len(engine.answers) > MOST_WAITING)

    @property
    def safe(self) -> int:
        return self.cursor if self.engine is None or self.failure is not None else self.engine.safe(self.cursor)

    @property
    def hungry(self) -> bool:
        return self.spec.policy == "drop" or self.engine is None or self.engine.hungry

    @property
    def busy(self) -> bool:
        if self.engine is None:
            return False
        return self.engine.busy or (self.stuck and self.answers is not None and not self.answers.arm())

    def done(self, head: int) -> bool:
        quiet = self.engine is None or (self.engine.quiet and not self.engine.answers)
        return super().done(head) and quiet and not self.stuck

    def descriptors(self) -> dict[int, int]:
        if self.engine is None:
            return {}
        found = self.engine.descriptors()
        if self.stuck and self.answers is not None and self.answers.arm():
            found[self.answers.fileno()] = select.POLLIN
        return found

    def deadline(self) -> float | None:
        at_ns = None if self.engine is None else self.engine.deadline_ns()
        return None if at_ns is None else at_ns / 1e9

    def when(self, captured_ns: int) -> float | None:
        assert self.spec.http is not None
        pace = self.spec.http.pace
        return pace.due_ns(captured_ns, int(self.now_s * 1e9)) / 1e9 if pace.speed > 0 else None

    def stop(self) -> None:
        if self.engine is not None:
            self.engine.stop()
            self.account()

    def let_no_other(self) -> None:
        if self.engine is not None:
            self.engine.leave()
            self.account()

    def close(self) -> None:
        if self.engine is None:
            return
        self.account()
        if self.engine.breaker.broken:
            self.fail(f"the target was not reached: {self.engine.trouble}")
        self.engine.close()
        self.engine = None

    def let_go(self) -> None:
        if self.engine is not None:
            self.engine.let_go(self.cursor)

    def abandon(self) -> None:
        if self.engine is not None:
            self.engine.abandon_part()

    # -- what became of it

    def account(self) -> None:
        """Take over what the engine has counted, and say how the target is doing."""
        engine = self.engine
        assert engine is not None
        counts = engine.take_counts()
        if counts:
            self.stray(counts.pop("strays", 0))
            for name in OUTCOMES:
                setattr(self.tally, name, getattr(self.tally, name) + counts.pop(name, 0))
            for name, amount in counts.items():
                self.count(name, amount)
        down, broken = engine.breaker.down, engine.breaker.broken
        if (down, broken) != (self.told_down, self.told_broken):
            self.told_down, self.told_broken = down, broken
            self.tell(down, broken)

    def tell(self, down: bool, broken: bool) -> None:
        """Say what has changed about the target."""
        assert self.engine is not None
        if broken:
            log.error("%s: not reached: %s; requests are given up until it is", self.spec.name, self.engine.trouble)
        elif down:
            log.warning("%s: not reached: %s; requests wait", self.spec.name, self.engine.trouble)
        else:
            log.info("%s: reached again", self.spec.name)


def replayed(answer: "Answered") -> Message:
    """Return an answer as a message."""
    number, status, sent_ns, ended_ns, src, sport, dst, dport, payload, head, complete = answer
    return Message(
        id=number, kind="replayed", src=ip_address(src), sport=sport, dst=ip_address(dst), dport=dport,
        first_ns=sent_ns, last_ns=ended_ns, method=None, target=None, status=status, head=head,
        complete=complete, missing=0, payload=payload,
    )  # fmt: skip
