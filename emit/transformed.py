"""An output behind steps: what they make of its messages goes through a ring of its own to the output proper.

In: records of the worker's ring, after the sieve.  Out: records of a ring in this process, which any output reads as it
reads the worker's.  Invariant: the worker's ring is released up to the oldest message of which something is not safe;
every message that was taken or added ends in exactly one outcome.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from assemble.message import Message
from capture.counters import Counters
from capture.ring import Consumer, Producer, Ring
from emit.chain import Chain
from emit.output import Output
from emit.records import WHOLE_SAMPLE, OutputSpec
from emit.transform import Transform
from emit.whole import MessageReader, MessageWriter

RING_BYTES: Final = 4 * 1024 * 1024
"""Between the steps and the output: what may be on its way to the far side, and memory for each such output."""
AHEAD_S: Final = 0.01
"""So long before a message is sent steps have it that are told of answers."""
TURN_MESSAGES: Final = 500
"""After so many, other outputs have their turn."""


class Punctual(Transform):
    """Gives messages to steps that are told of answers no earlier than the output will want them: what was answered by
    then is what they go by."""

    def __init__(self, when: Callable[[int], float | None]) -> None:
        self.when = when
        self.at_s: float | None = None  # when the message that waits has its turn

    def apply(self, message: Message, now_s: float) -> Sequence[Message] | None:
        due_s = self.when(message.first_ns)
        self.at_s = None if due_s is None or due_s - AHEAD_S <= now_s else due_s - AHEAD_S
        return None if self.at_s is not None else (message,)

    def deadline(self) -> float | None:
        return self.at_s


class TransformedOutput(Output):
    """Gives the output that `kind` makes what the steps of `spec.transforms` make of the messages."""

    def __init__(
        self,
        spec: OutputSpec,
        consumer: Consumer,
        counters: Counters,
        kind: Callable[[OutputSpec, Consumer, Counters], Output],
    ) -> None:
        super().__init__(replace(spec, limit=None), consumer, counters)  # that is for what the steps have made
        ring = Ring.create(RING_BYTES)
        self.reader = MessageReader(consumer, self.sieve)
        self.writer = MessageWriter(Producer(ring))
        # It never drops: when its ring is full, it is we who are behind, and know what that is worth.
        plain = replace(spec, where=None, sample=WHOLE_SAMPLE, verdicts=None, transforms=(), policy="block", notes=None)
        self.inner = kind(plain, Consumer(ring), counters)
        self.inner.tally = self.tally
        self.inner.outer, self.inner.place = consumer, self.written_before
        steps = [each.make() for each in spec.transforms]
        if any(type(step).tell is not Transform.tell for step in steps):
            self.inner.on_answer = self.tell
            steps.insert(0, Punctual(self.inner.when))
        self.chain = Chain(steps)
        self.ready: Message | None = None  # to be written next, or written in part
        self.marks: deque[tuple[int, int]] = deque()  # once our ring is safe up to the first, theirs is to the second
        self.kept = self.cursor  # ring position from which on it is kept for us
        self.more = False
        self.full = False
        self.ended = False  # the output proper knows that no more will come

    # -- what the worker asks

    def open(self) -> None:
        for step in self.chain.steps:
            step.start(self.now_s)
        self.inner.answers = self.answers
        self.inner.start(self.now_s)
        if self.inner.resumed is not None:
            self.cursor = self.inner.resumed
            self.marks.append((0, self.cursor))
        self.check()

    @property
    def safe(self) -> int:
        return self.cursor if self.failure is not None else self.kept

    @property
    def hungry(self) -> bool:
        return self.spec.policy == "drop" or not (self.full or self.chain.waiting)

    @property
    def busy(self) -> bool:
        return self.more or self.inner.busy

    def done(self, head: int) -> bool:
        return super().done(head) and self.empty and self.inner.done(self.writer.position)

    @property
    def empty(self) -> bool:
        """Whether all that was taken is in our ring, and nothing is on its way there."""
        if self.failure is not None:
            return True
        return self.ready is None and self.chain.pending == 0 and (self.chain.ended or not self.final)

    def settle(self, messages: int) -> None:
        for step in self.chain.steps:
            for name, amount in step.take_counts().items():
                self.count(name, amount)
        super().settle(messages)

    def descriptors(self) -> dict[int, int]:
        return self.inner.descriptors()

    def wakeups(self) -> dict[int, int]:
        return {fd: events for step in self.asked for fd, events in step.descriptors().items()}

    @property
    def asked(self) -> tuple[Transform, ...]:
        """The steps that have their turn when we have ours."""
        return () if self.full or self.failure is not None else self.chain.asked

    def attend(self) -> None:
        self.inner.on_ready(self.now_s)
        self.check()

    def deadline(self) -> float | None:
        times = [self.inner.deadline(), self.inner.resumes_s, *(step.deadline() for step in self.asked)]
        return min((at_s for at_s in times if at_s is not None), default=None)

    def close(self) -> None:
        for step in self.chain.steps:
            step.close()
        self.inner.close()
        self.check()

    # -- what the base class asks

    def take(self, head: int) -> None:
        begun = 0
        self.full = self.more = False
        while not (self.full or self.more):
            if self.ready is not None:
                self.write()
            elif (made := self.chain.next(self.now_s)) is not None:
                self.ready = made
            elif self.chain.waiting:
                break
            elif begun == TURN_MESSAGES:
                self.more = True
            elif self.begin(head):
                begun += 1
            elif not (self.final and self.cursor == head and self.chain.finish()):
                break
        self.take_over()
        self.push(head)

    @property
    def holding(self) -> bool:
        return self.inner.holding

    def let_no_other(self) -> None:
        self.inner.let_no_other()
        self.advance()

    def bequeath(self) -> None:
        self.inner.bequeath()

    def stop(self) -> None:
        self.inner.stop()

    def tell(self, message: Message) -> None:
        """Let the steps know what a message of theirs was answered."""
        for step in self.chain.steps:
            if not step.tell(message):
                self.count("untold")

    def let_go(self) -> None:
        self.marks.clear()
        self.kept = self.cursor

    def abandon(self) -> None:
        self.reader.forget()

    # -- messages

    def begin(self, head: int) -> bool:
        """Give the steps the next message of the ring; False if none is whole."""
        message, self.cursor = self.reader.next(self.cursor, head)
        self.stray(self.reader.take_strays())
        if message is not None:
            self.chain.put(message, self.reader.start)
            return True
        if self.final and self.cursor == head:
            self.reader.forget()  # the one under way has no end
        self.mark()
        return False

    def write(self) -> None:
        """Write what is ready, as far as there is room."""
        assert self.ready is not None
        self.full = not self.writer.put(self.ready)
        if not self.full:
            self.ready = None
            self.mark()

    def mark(self) -> None:
        """Note up to where all messages have been written, or need not be."""
        oldest = self.chain.oldest
        done = self.reader.safe(self.cursor) if oldest is None else oldest
        position = self.writer.position
        if self.marks and self.marks[-1][0] == position:
            position, before = self.marks.pop()
            done = max(done, before)
        if done > self.kept:
            self.marks.append((position, done))

    def written_before(self, position: int) -> int:
        """Return the position in the worker's ring before which all is written before one of ours, or need not be."""
        at = bisect_right(self.marks, position, key=lambda mark: mark[0])
        return max(self.kept, self.marks[at - 1][1]) if at else self.kept

    def push(self, head: int) -> None:
        """Let the output proper have its turn."""
        if self.final and not self.ended and self.cursor == head and self.empty:
            self.ended = True
            self.inner.finish()
        self.inner.pump(self.writer.position, self.now_s)
        self.advance()
        self.check()

    def advance(self) -> None:
        """Give back what the output proper is done with."""
        safe = self.inner.safe
        if safe > self.inner.consumer.tail:
            self.inner.consumer.release(safe)
            self.more = self.more or self.full
        while self.marks and self.marks[0][0] <= safe:
            self.kept = max(self.kept, self.marks.popleft()[1])

    def take_over(self) -> None:
        """Account for what the steps have added and taken away."""
        self.tally.added += self.chain.added
        self.chain.added = 0
        for name, amount in self.chain.removed.items():
            self.tally.know(name, amount)
        self.chain.removed.clear()

    def check(self) -> None:
        """Give up if the output proper has, or a step: what is on its way there is not delivered."""
        self.interruption = self.inner.interruption
        if self.failure is not None:
            return
        if self.inner.failure is None:
            if self.chain.failure is None:
                return
            self.inner.fail(self.chain.failure)
        self.inner.pump(self.writer.position, self.now_s)  # it counts what is in our ring
        self.failure = self.inner.failure
        self.reader.forget()
        self.take_over()
        self.tally.undelivered += self.chain.clear() + (self.ready is not None)
        self.ready = None
        self.more = self.full = False
