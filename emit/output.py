"""What every output is to a worker: a cursor into the message ring, and an account of what became of each message.

In: records between the output's own cursor and the ring's head.  Out: deliveries, and outcomes that the worker
books as it releases the ring.  Invariant: every message ends in exactly one outcome, before `done` says so.
"""

import abc
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from assemble.message import Message
from capture.counters import Counters
from capture.ring import Consumer
from emit.answers import AnswerWriter
from emit.bucket import Bucket
from emit.match import Matcher
from emit.records import OUTCOMES, WHOLE_SAMPLE, OutputSpec, Sifting
from emit.sampler import Sampler
from emit.sampling import parse_by
from emit.sieve import Sieve
from emit.verdicts import Verdicts
from emit.walk import skip_messages
from emit.where import parse

log = logging.getLogger(__name__)

PASSED_OVER: Final = ("filtered", "sampled", "limited", "removed", "dropped", "undelivered")
"""Outcomes of messages that are in no chunk: they come again if their messages are read again."""


@dataclass(slots=True)
class Tally:
    """Messages whose outcome is known, but which the worker has not booked yet; or the other way round."""

    delivered: int = 0
    filtered: int = 0
    sampled: int = 0
    removed: int = 0
    limited: int = 0
    dropped: int = 0
    undelivered: int = 0
    spooled: int = 0
    responses: int = 0
    poisoned: int = 0
    added: int = 0  # messages that were not in the ring, whose outcomes have not been booked; below 0: booked too soon
    owed: int = 0  # released from the ring before their outcome was known (policy "drop")

    def know(self, name: str, amount: int) -> None:
        """Note an outcome by its name."""
        setattr(self, name, getattr(self, name) + amount)

    def balance(self, expected: int, lost: str) -> None:
        """Make the sum what it must be where a predecessor was killed: so many messages, and what is owed.

        What is beyond will have its outcome again, as it is read again, or was added; of what has none it is `lost`.
        """
        known = sum(getattr(self, name) for name in OUTCOMES) - self.owed
        again = max(expected + self.added - known, 0)
        self.added -= min(max(self.added, 0), again)  # those will be added again
        beyond = known - expected - self.added
        self.know(lost, max(-beyond, 0))
        for name in PASSED_OVER:
            taken_back = min(getattr(self, name), max(beyond, 0))
            self.know(name, -taken_back)
            beyond -= taken_back
        self.added += max(beyond, 0)

    def book(self, released: int) -> dict[str, int]:
        """Take the outcomes of that many more messages off; which one is whose does not matter, each is booked once.

        Where more outcomes are known than messages were released, they are those of added ones, which come last.
        """
        left = self.owed + released
        beyond = max(sum(getattr(self, name) for name in OUTCOMES) - left, 0) if self.added > 0 else 0
        added = min(max(self.added, 0), beyond)
        left += added
        booked = {}
        for name in OUTCOMES:
            known = getattr(self, name)
            booked[name] = min(known, left)
            left -= booked[name]
            setattr(self, name, known - booked[name])
        self.owed = left
        self.added -= added
        return booked | {"added": added}


class Output(abc.ABC):
    """One output of one worker.  Subclasses say how records are taken, and when they are safe."""

    def __init__(self, spec: OutputSpec, consumer: Consumer, counters: Counters) -> None:
        self.spec = spec
        self.consumer = consumer
        self.counters = counters
        self.cursor = consumer.tail  # everything before it is taken
        self.tally = Tally()
        self.bucket = _bucket(spec)  # None: no limit
        self.sieve = _sieve(spec, consumer, self.bucket)  # None: every message is wanted
        self.answers: AnswerWriter | None = None  # where answers to what it sends go; None: nobody wants them
        self.on_answer: Callable[[Message], None] | None = None  # is told of answers to what it sends
        self.outer: Consumer | None = None  # of the worker's ring, where steps are between that and us
        self.place: Callable[[int], int] = int  # position in the worker's ring that one in ours stands for
        self.resumed: int | None = None  # position in that ring where it goes on from what a predecessor has kept
        self.resumes_s: float | None = None  # when its limit lets it take more, if that is what it waits for
        self.failure: str | None = None  # why it has given up, for good
        self.interruption: str | None = None  # why it last had given up for a while
        self.final = False  # no more records will come
        self.now_s = 0.0  # monotonic clock, as of the latest call from the worker
        self.capacity = consumer.ring.capacity

    # -- what the worker calls

    def start(self, now_s: float) -> None:
        """Open what there is to open; failures are kept, not raised."""
        self.now_s = now_s
        self.open()

    def pump(self, head: int, now_s: float) -> None:
        """Take records up to `head`, as many as there is room for now."""
        self.now_s = now_s
        if self.failure is None:
            if self.spec.policy == "drop":
                self.keep_up(head)
            self.take(self.paced(head))
        if self.failure is not None:
            self.resumes_s = None
            self.tally.undelivered += self.skip(head, head)
        self.note_outcomes()

    def finish(self) -> None:
        """Note that the ring is closed: nothing is worth waiting for any more."""
        self.final = True

    def stop(self) -> None:  # noqa: B027  # in most nothing waits for its time
        """Note that the run is to end: what would be delivered at some later time is not."""

    def done(self, head: int) -> bool:
        """Whether every message before `head` has its outcome."""
        return self.cursor == head == self.safe

    def settle(self, messages: int) -> None:
        """Book the outcomes of that many messages, which are being released from the ring."""
        for name, amount in self.tally.book(messages).items():
            if amount:
                self.count(name, amount)

    def descriptors(self) -> dict[int, int]:
        """Return the poll events of interest by descriptor."""
        return {}

    def wakeups(self) -> dict[int, int]:
        """Return poll events by descriptor that make `pump` worth calling, and nothing else."""
        return {}

    def on_ready(self, now_s: float) -> None:
        """Act on poll events of `descriptors`."""
        self.now_s = now_s
        self.attend()

    def deadline(self) -> float | None:
        """Return when `pump` has something to do even if no record comes, on the monotonic clock."""
        return None

    def when(self, captured_ns: int) -> float | None:  # noqa: ARG002
        """Return when a message will be sent that was captured then, by the clock; None: as soon as it goes."""
        return None

    def let_no_other(self) -> None:  # noqa: B027  # most are repeated without harm
        """Before a successor goes on: give what is under way an outcome, if it must not be done twice."""

    def leave(self) -> None:
        """Close, and give up what has left the ring and has no outcome yet: no successor can send it again."""
        self.bequeath()
        self.close()
        self.tally.dropped += self.tally.owed
        self.settle(0)

    def bequeath(self) -> None:  # noqa: B027  # to most the ring is all there is
        """Make what is kept beside the ring what a successor in another configuration can go on with."""

    def close(self) -> None:  # noqa: B027  # most have nothing to close
        """Let go of what `start` opened; no record is taken any more."""

    # -- what subclasses say

    @property
    @abc.abstractmethod
    def safe(self) -> int:
        """Ring position from which a successor would have to go on."""

    @property
    def tried(self) -> int:
        """Ring position before which nothing can kill us any more, unless it comes with another message."""
        return self.safe

    @property
    def hungry(self) -> bool:
        """Whether a record that came now would be taken, or would push another out."""
        return True

    @property
    def busy(self) -> bool:
        """Whether `pump` stopped although it could go on at once, to let others have their turn."""
        return False

    @property
    def holding(self) -> bool:
        """Whether others wait for this output to get the rest of a message that it has begun."""
        return False

    def open(self) -> None:  # noqa: B027  # not every output has something to open
        """Open what there is to open."""

    @abc.abstractmethod
    def take(self, head: int) -> None:
        """Take records from the cursor on."""

    def attend(self) -> None:  # noqa: B027  # nor something to poll
        """Act on poll events."""

    def let_go(self) -> None:  # noqa: B027  # what is written is safe at once in most
        """Policy "drop", far behind: no longer keep in the ring what is taken but not acknowledged."""

    def abandon(self) -> None:  # noqa: B027
        """Policy "drop", far behind: forget the message in parts that is under way."""

    # -- what subclasses share

    def count(self, name: str, amount: int = 1) -> None:
        """Add to one of this output's counters."""
        self.counters.add(f"output{self.spec.index}_{name}", amount)

    def known(self) -> dict[str, int]:
        """Return how many messages had each outcome, booked or not."""
        self.note_outcomes()
        return {name: self.counters[f"output{self.spec.index}_{name}"] + getattr(self.tally, name) for name in OUTCOMES}

    def go_on(self, position: int, outcomes: dict[str, int]) -> None:
        """Begin at a position before which all has its outcome, though a predecessor has not booked it."""
        self.cursor = position
        for name, amount in outcomes.items():
            booked = self.counters[f"output{self.spec.index}_{name}"]
            self.tally.know(name, max(amount - booked, 0))
            if booked > amount:  # which of them were taken back, when it died booking, is not known
                self.counters.set(f"output{self.spec.index}_{name}", amount)
                self.tally.owed += booked - amount

    def fail(self, text: str) -> None:
        """Give up for good: what is not delivered, and all that still comes, is counted as undelivered."""
        if self.failure is None:
            self.failure = text
            self.count("given_up")
            log.error("%s: %s; the rest is counted as not delivered", self.spec.name, text)

    def interrupt(self, why: str) -> None:
        """Give up for a while; that it has been so is known to whoever goes on here, too."""
        self.interruption = why
        self.count("given_up")

    @property
    def shortcoming(self) -> str | None:
        """Why not all was delivered, if it had given up; of a process before this one nobody knows that any more."""
        if self.failure is None and self.interruption is None and self.counters[f"output{self.spec.index}_given_up"]:
            return "was given up for a while, before its worker was started again"
        return self.failure or self.interruption

    def note_outcomes(self) -> None:
        """Take over what the sieve has decided."""
        if self.sieve is not None:
            filtered, sampled, limited = self.sieve.take_outcomes()
            self.tally.filtered += filtered
            self.tally.sampled += sampled
            self.tally.limited += limited

    def stray(self, messages: int) -> None:
        """Account for messages whose beginning was never seen."""
        if self.spec.policy == "drop":
            self.tally.dropped += messages
        else:
            self.tally.undelivered += messages

    def keep_up(self, head: int) -> None:
        """Policy "drop": skip ahead if more than half of the ring waits for this output."""
        half = self.capacity // 2
        if head - self.safe <= half:
            return
        self.let_go()
        if head - self.cursor > half:
            self.abandon()
            self.tally.dropped += self.skip(head - half // 2, head)

    def paced(self, head: int) -> int:
        """Return up to where the limit lets it go on for now."""
        if self.bucket is None or self.sieve is None:
            return head
        self.bucket.tick(self.now_s)
        until = self.sieve.pace(self.cursor, head) if self.bucket.waits else head
        self.resumes_s = self.bucket.next_s() if until < head else None
        return until

    def skip(self, until: int, head: int) -> int:
        """Pass over records to `until` and on to where a message begins; return how many messages were wanted."""
        if self.sieve is None:
            self.cursor, messages = skip_messages(self.consumer, self.cursor, until, head)
        else:
            self.cursor, messages = self.sieve.skip_messages(self.cursor, until, head)
        return messages


def _bucket(spec: OutputSpec) -> Bucket | None:
    return None if spec.limit is None else Bucket(spec.limit, spec.over_limit == "wait")


def _sieve(spec: OutputSpec, consumer: Consumer, bucket: Bucket | None) -> Sieve | None:
    if not spec.sifts:
        return None
    verdicts = spec.verdicts or Verdicts.create()
    if spec.follows is not None:
        verdicts.follow(spec.follows)
    return make_sieve(consumer, spec.sifting, verdicts, bucket)


def make_sieve(consumer: Consumer, sifting: Sifting, verdicts: Verdicts, bucket: Bucket | None = None) -> Sieve:
    """Make what tells which messages are wanted."""
    matcher = None if sifting.where is None else Matcher(parse(sifting.where))
    sampler = None
    if sifting.sample < WHOLE_SAMPLE:
        sampler = Sampler(sifting.sample, parse_by(sifting.sample_by), sifting.sample_from)
    return Sieve(consumer, matcher, verdicts, sampler, bucket)
