"""A step that is a program: GoReplay's middleware, which gets messages as lines and writes those that are to go on.

In: messages.  Out: what the program has written, in its order.  Invariant: a message is inside until it comes back, the
program is taken to have swallowed it, or has died with it twice; each ends in one counted place.

What a program keeps for itself it does not say.  A message is taken to be swallowed GRACE_S after the program has read
it, or when MOST_BYTES of others have been given to it since: should it come back after all, it counts as one more.
"""

import logging
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final

from assemble.message import Message
from emit.gorlines import Answer, LineReader, write_line
from emit.program import Program, ending
from emit.transform import Transform, head_of

GRACE_S: Final = 2.0
LOOK_S: Final = 0.5
LAST_LOOK_S: Final = 0.005
"""How often to look whether the program has read what was written: nothing else tells."""
MOST_INSIDE: Final = 10_000
MOST_BYTES: Final = 4 * 1024 * 1024
AHEAD_BYTES: Final = 1024 * 1024
"""Of lines that wait for the program to read them; beyond it messages wait in the ring."""
TURN_BYTES: Final = 64 * 1024
"""Of lines that are collected before they are written in mid-turn."""
ANSWERS: Final = 1000
"""Read before what follows gets them."""
RECENT: Final = 10_000
"""Messages remembered that are no longer inside, for what comes late or more than once."""
MOST_GIVEN: Final = 2
"""Times that a message is given to a program that dies with it."""
RESTART_S: Final = 0.1
LONGEST_RESTART_S: Final = 10.0
MOST_DEATHS: Final = 5
"""In a row, without a message from it."""
LIVED_S: Final = 60.0
"""A program that has run for so long was in order, whatever it has written."""
END_S: Final = 60.0
"""How long it may go on writing at the end."""
SAY_S: Final = 10.0

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Inside:
    """A message that the program has, or is about to get."""

    message: Message
    end: int = 0  # of its line, in all bytes ever sent to this program
    read_s: float | None = None  # when the program was seen to have read it
    given: int = 1  # how many programs have read it, with this one

    def lost(self, last: bool) -> bool:
        """Tell whether it is not given to another program, now that this one has ended."""
        if last:
            return self.read_s is None
        return self.read_s is not None and self.given >= MOST_GIVEN


@dataclass(frozen=True)
class MiddlewareSpec:
    """A program, and how messages to the operator call it."""

    command: tuple[str, ...]
    name: str
    stuck_s: float = 30.0  # without reading or writing, and with something to read: then it is started again
    quiet_s: float = 10.0  # without reading or writing at the end: then it is ended

    def make(self) -> Transform:
        """Make the step; the program is started by `start`."""
        return Middleware(self)


class Middleware(Transform):
    """One program, started again if it dies."""

    holds = True

    def __init__(self, spec: MiddlewareSpec) -> None:
        self.spec = spec
        self.program: Program | None = None
        self.lines = LineReader()
        self.answers: deque[Answer] = deque()  # read, and not handed on
        self.inside: dict[int, Inside] = {}  # by number, oldest first
        self.numbers: dict[tuple[str, int], deque[int]] = {}  # by kind and id
        self.recent: dict[tuple[str, int], Message] = {}  # without their payload
        self.lost: list[int] = []  # of those inside: the program is gone, and they will not be given again
        self.given = 0
        self.bytes_inside = 0
        self.sent = 0  # bytes of lines for this program
        self.reached = 0  # the first message that the program was not seen to have read
        self.pumped_s = 0.0
        self.moved_s = 0.0  # when the program last read or wrote
        self.launched_s = 0.0
        self.restart_s: float | None = None
        self.deaths = 0
        self.final = False
        self.closed_s: float | None = None  # when the program was told that no more will come
        self.reason: str | None = None
        self.counts = dict.fromkeys(("failed_step", "restarts", "garbled"), 0)
        self.garbled_s = -SAY_S

    # -- what the chain asks

    def start(self, now_s: float) -> None:
        self.launch(now_s)

    @property
    def failure(self) -> str | None:
        return self.reason

    @property
    def held(self) -> int:
        return len(self.inside)

    @property
    def span(self) -> int:
        return self.given - next(iter(self.inside), self.given)

    @property
    def unfinished(self) -> bool:
        return self.final and self.reason is None and (self.program is not None or bool(self.answers))

    def apply(self, message: Message, now_s: float) -> Sequence[Message] | None:  # noqa: ARG002
        ahead = self.bytes_inside if self.program is None else len(self.program.waiting)
        if ahead > AHEAD_BYTES or self.reason is not None:
            return None
        self.outcome = "removed"
        while self.inside and (self.bytes_inside > MOST_BYTES or len(self.inside) >= MOST_INSIDE):
            oldest = next(iter(self.inside))
            if oldest >= self.reached:
                break
            self.forget(oldest)
        self.inside[self.given] = Inside(message)
        self.numbers.setdefault((message.kind, message.id), deque()).append(self.given)
        self.bytes_inside += len(message.payload)
        self.send(self.inside[self.given])
        self.given += 1
        return ()

    def collect(self, now_s: float) -> Sequence[Message]:
        if now_s > self.pumped_s or (self.program is not None and len(self.program.waiting) > TURN_BYTES):
            self.pump(now_s)
        self.outcome = "removed"
        if self.answers:
            return [self.read(self.answers.popleft()) for _ in range(min(len(self.answers), ANSWERS))]
        if self.lost:
            self.outcome = "undelivered"
            self.counts["failed_step"] += len(self.lost)
            for number in self.lost:
                self.forget(number)
            self.lost.clear()
            return ()
        if self.reason is None:
            self.expire(now_s)
        return ()

    def tell(self, message: Message) -> bool:
        """Give the program a message that nothing is expected for."""
        if self.program is None or len(self.program.waiting) > AHEAD_BYTES:
            return False
        self.write(message)
        return True

    def descriptors(self) -> dict[int, int]:
        return {} if self.program is None else self.program.descriptors()

    def deadline(self) -> float | None:
        if self.program is None:
            return self.restart_s
        if self.closed_s is not None:
            return min(self.moved_s + self.spec.quiet_s, self.closed_s + END_S)
        if self.reached < self.given:
            return self.pumped_s + (LAST_LOOK_S if self.final else LOOK_S)
        read_s = next((inside.read_s for inside in self.inside.values()), None)
        return None if read_s is None else read_s + GRACE_S

    def finish(self) -> None:
        self.final = True
        self.pumped_s = 0.0  # there is something to do at this time of the clock
        if not self.inside:
            self.restart_s = None

    def close(self) -> None:
        if self.program is not None:
            self.program.close(self.pumped_s)
            self.program = None

    def take_counts(self) -> Mapping[str, int]:
        counts = {name: amount for name, amount in self.counts.items() if amount}
        self.counts = dict.fromkeys(self.counts, 0)
        return counts

    # -- messages

    def send(self, inside: Inside) -> None:
        """Have a message written to the program; if there is none now, that is done when there is one again."""
        if self.program is not None:
            self.write(inside.message)
            inside.end = self.sent

    def write(self, message: Message) -> None:
        """Append a line to what the program is to read."""
        assert self.program is not None
        line = write_line(message)
        self.lines.longest = max(self.lines.longest, 2 * len(line))
        self.program.send(line)
        self.sent += len(line)

    def read(self, answer: Answer) -> Message:
        """Return the message that a line stands for: one that was given, with the bytes that it has now."""
        self.deaths = 0
        name = (answer.kind, answer.id)
        numbers = self.numbers.get(name)
        message = self.forget(numbers[0]) if numbers else self.recent.get(name) or _made_up(answer)
        if answer.payload == message.payload:
            return message
        return message.with_payload(answer.payload, head_of(answer.payload))

    def forget(self, number: int) -> Message:
        """Take a message off those that are inside."""
        message = self.inside.pop(number).message
        self.bytes_inside -= len(message.payload)
        name = (message.kind, message.id)
        numbers = self.numbers[name]
        numbers.remove(number)
        if not numbers:
            del self.numbers[name]
        self.recent[name] = message.with_payload(b"", 0)
        if len(self.recent) > RECENT:
            del self.recent[next(iter(self.recent))]
        return message

    def expire(self, now_s: float) -> None:
        """Take what the program has had for long to be swallowed; at its end, all that it has."""
        while self.inside:
            number, oldest = next(iter(self.inside.items()))
            if self.program is None and self.restart_s is None:
                pass
            elif oldest.read_s is None or now_s < oldest.read_s + GRACE_S:
                return
            self.forget(number)

    # -- the program

    def launch(self, now_s: float) -> None:
        """Start the program, and give it what an earlier one has not done with."""
        self.restart_s = self.closed_s = None
        try:
            self.program = Program(self.spec.command, self.spec.name)
        except OSError as error:
            self.reason = f"{self.spec.name} cannot be started: {(error.strerror or str(error)).lower()}"
            return
        self.launched_s = self.moved_s = now_s
        self.sent = 0
        self.reached = next(iter(self.inside), self.given)
        for inside in self.inside.values():
            inside.given += inside.read_s is not None
            inside.read_s = None
            self.send(inside)

    def pump(self, now_s: float) -> None:
        """Write, read, and see what has become of the program."""
        away_s, self.pumped_s = now_s - self.pumped_s, now_s
        if self.program is None:
            if self.restart_s is not None and now_s >= self.restart_s and not self.answers:
                self.launch(now_s)
            return
        if away_s > 4 * LOOK_S and self.closed_s is None:  # it may have waited for us
            self.moved_s = now_s
        while self.program.write():
            self.moved_s = now_s
        while len(self.answers) < ANSWERS and (data := self.program.read()):
            self.moved_s = now_s
            self.answers += self.lines.feed(data)
        self.program.listen(now_s)
        self.complain(now_s)
        self.look(now_s)
        if self.final and self.closed_s is None and self.reached == self.given:
            self.program.close_input()
            self.closed_s = self.moved_s = now_s
        if self.program.ended or self.stuck(now_s):
            self.over(now_s)

    def look(self, now_s: float) -> None:
        """Note what the program has read."""
        assert self.program is not None
        if self.program.input < 0:
            return
        so_far = self.sent - len(self.program.waiting) - self.program.unread()
        while self.reached < self.given:
            inside = self.inside.get(self.reached)
            if inside is not None:
                if inside.end > so_far:
                    return
                inside.read_s = self.moved_s = now_s
            self.reached += 1

    def stuck(self, now_s: float) -> bool:
        """Tell whether it is to be waited for no longer."""
        assert self.program is not None
        if self.closed_s is not None and now_s >= self.closed_s + END_S:
            return True
        if self.final:
            return now_s >= self.moved_s + self.spec.quiet_s
        return self.reached < self.given and now_s >= self.moved_s + self.spec.stuck_s

    def over(self, now_s: float) -> None:
        """Account for a program that has ended, or that is waited for no longer."""
        assert self.program is not None
        ended = self.program.ended
        status = self.program.close(now_s)
        how = f"{self.spec.name} {'' if ended else 'neither reads nor writes: it '}{ending(status)}"
        in_order = self.closed_s is not None and status == 0
        last = self.final and (in_order or not ended or not self.inside)
        self.program = None
        self.lines.end()
        self.complain(now_s)
        answered = {(answer.kind, answer.id) for answer in self.answers}
        self.lost = [
            number
            for number, inside in self.inside.items()
            if inside.lost(last) and (inside.message.kind, inside.message.id) not in answered
        ]
        if last:
            if not in_order:
                log.warning("%s", how)
            return
        self.counts["restarts"] += 1
        self.deaths = 1 if now_s - self.launched_s > LIVED_S else self.deaths + 1
        if self.deaths > MOST_DEATHS:
            self.reason = f"{how}, {self.deaths} times in a row"
            return
        self.restart_s = now_s + min(RESTART_S * 2.0 ** (self.deaths - 1), LONGEST_RESTART_S)
        log.warning("%s; it is started again in %.1f s", how, self.restart_s - now_s)

    def complain(self, now_s: float) -> None:
        """Count lines that are no messages, and say so once in a while."""
        if not self.lines.refused:
            return
        self.counts["garbled"] += self.lines.refused
        self.lines.refused = 0
        if now_s - self.garbled_s >= SAY_S:
            self.garbled_s = now_s
            log.warning("%s writes lines that are no messages; they are counted, and go nowhere", self.spec.name)


def _made_up(answer: Answer) -> Message:
    """Return the message of a line that answers none of ours."""
    nowhere = IPv4Address(0)
    return Message(
        id=answer.id, kind=answer.kind, src=nowhere, sport=0, dst=nowhere, dport=0, first_ns=answer.first_ns,
        last_ns=answer.first_ns, method=None, target=None, status=None, head=0, complete=True, missing=0, payload=b"",
    )  # fmt: skip
