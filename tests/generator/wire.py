"""A conversation as TCP segments in the order in which they pass, with honest acknowledgements.

In: a conversation and how its connection behaves.  Out: a list of Passing.  Invariant: an acknowledgement never says
more than its sender can have received, and what a side sends after it has heard the other says all of it.
"""

import itertools
from dataclasses import dataclass, field
from random import Random
from typing import Final

from packets import ACK, FIN, PSH, RST, SYN, URG

from generator.spoken import CLIENT, SERVER, Conversation, Spoken

MICROSECOND: Final = 1_000
MILLISECOND: Final = 1_000_000
SECOND: Final = 1_000_000_000


@dataclass(slots=True)
class Passing:
    """One segment as it passes the tap; `at` is the offset of its first byte, `ack` an offset of the other stream."""

    side: bool
    at: int
    data: bytes
    flags: int
    ack: int
    t: int
    urgent: int = 0


@dataclass
class Manner:
    """How a connection behaves; all choices that are made once."""

    whole: bool  # nothing will be lost: more is allowed
    cut: int = 1400
    most: int = 1500  # segments of one flight: cuts are larger where they would be more
    step_ns: int = 20 * MICROSECOND
    loss: float = 0.0  # of a segment in the network, behind or before the tap
    repeat: float = 0.0  # of a segment that is sent again for nothing
    conflict: float = 0.0  # of a repetition that has other content
    probe: float = 0.0
    ack_every: float = 0.3
    opening: str = "plain"
    ending: str = "fin"
    pause: float = 0.0
    late_fin_data: bool = False
    false_reset: float = 0.0
    urgent: bool = False


def manner(rng: Random, whole: bool) -> Manner:
    """Choose how a connection behaves."""
    disturbed = rng.random() < 0.7
    openings = ("plain",) * 5 + ("ack_data", "fast", "fast_again", "syn_again", "synack_again", "simultaneous")
    endings = ("fin",) * 4 + ("server_fin", "half_close", "fin_rst", "fin_again", "rst", "server_rst", "nothing")
    return Manner(
        whole,
        cut=rng.choice((1, 7, 100, 536, 1400, 1400, 1400, 9000, 65_000)),
        most=rng.choice((30,) * 7 + (200, 200, 3000)),
        step_ns=rng.choice((1, 20, 20, 500)) * MICROSECOND,
        loss=rng.choice((0.0, 0.02, 0.2)) if disturbed else 0.0,
        repeat=rng.choice((0.0, 0.02, 0.2)) if disturbed else 0.0,
        conflict=rng.choice((0.0, 0.0, 0.3)) if whole else 0.0,
        probe=rng.choice((0.0, 0.0, 0.2)),
        ack_every=rng.choice((0.0, 0.1, 0.5, 1.0)),
        opening=rng.choice(openings),
        ending=rng.choice(endings),
        pause=rng.choice((0.0, 0.0, 0.02 if whole else 0.3 if rng.random() < 0.3 else 0.0)),
        false_reset=rng.choice((0.0, 0.0, 0.0, 0.0, 0.1)) if whole else 0.0,
        late_fin_data=rng.random() < 0.5,
        urgent=rng.random() < 0.1,
    )


@dataclass
class Wire:
    """One connection on its way past the tap."""

    rng: Random
    talk: Conversation
    how: Manner
    t: int
    passed: list[Passing] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Start with nothing said."""
        self.sent = {CLIENT: 0, SERVER: 0}  # offsets below this have been sent
        self.got = {CLIENT: 0, SERVER: 0}  # by side that sent: what the other has received without a hole
        self.islands: dict[bool, list[tuple[int, int]]] = {CLIENT: [], SERVER: []}  # received beyond a hole
        self.floor = {CLIENT: 0, SERVER: 0}  # nothing below it is sent again
        self.acked = {CLIENT: 0, SERVER: 0}  # by side that acknowledges: the newest number it has sent
        self.fin = {CLIENT: False, SERVER: False}
        self.ahead = {CLIENT: 0, SERVER: 0}  # a RST was forged there
        self.soft = {side: [r for m in self.talk.spoken if m.side is side for r in m.soft] for side in (CLIENT, SERVER)}

    def put(self, side: bool, at: int, data: bytes = b"", flags: int = ACK, ack: int | None = None) -> None:
        """Let one segment pass."""
        whole = self.got[not side] == len(self.talk.streams[not side])
        said = self.got[not side] + (self.fin[not side] and whole) if ack is None else ack
        self.acked[side] = max(self.acked[side], said) if flags & ACK else self.acked[side]
        urgent = 0
        if self.how.urgent and data and self.rng.random() < 0.1:
            flags, urgent = flags | URG, self.rng.randrange(1, len(data) + 1)
        if data and self.rng.random() < 0.3:
            flags |= PSH
        self.fin[side] |= bool(flags & FIN)
        self.passed.append(Passing(side, at, data, flags, said, self.t, urgent))
        self.t += self.rng.randrange(1, 2 * self.how.step_ns)

    def receive(self, side: bool, start: int, end: int) -> None:
        """Let what was sent arrive."""
        self.islands[side].append((start, end))
        for first, last in sorted(self.islands[side]):
            if first <= self.got[side] < last:
                self.got[side] = last
        self.islands[side] = [r for r in self.islands[side] if r[1] > self.got[side]]

    def content(self, side: bool, start: int, end: int) -> bytes:
        """Give what a side says in a range."""
        return bytes(self.talk.streams[side][start:end])

    def altered(self, side: bool, start: int, end: int) -> bytes:
        """Give a range with other bytes where that changes no framing."""
        data = bytearray(self.talk.streams[side][start:end])
        for first, last in self.soft[side]:
            if first < end and start < last and self.rng.random() < 0.7:
                at = self.rng.randrange(max(first, start), min(last, end))
                stop = min(last, end, at + self.rng.choice((1, 5, 10_000)))
                data[at - start : stop - start] = b"#" * (stop - at)
        return bytes(data)

    def repetition(self, side: bool, start: int, end: int, *, covering: bool = False) -> None:
        """Send a range again, cut as the sender likes now; `covering`: all of it has to be there again."""
        rng = self.rng
        shift = rng.choice((0, 0, 0, 1, 50, 2000))
        first, last = (
            max(self.floor[side], start - rng.choice((0, shift))),
            min(self.sent[side], end + rng.choice((0, shift))),
        )
        if not covering and rng.random() < 0.3 and end - start > 1:
            first = rng.randrange(start, end)
            last = rng.randrange(first, end) + 1
        size = rng.choice((last - first, last - first, max(1, (last - first) // 2), max(1, (last - first) // 3)))
        make = self.altered if rng.random() < self.how.conflict else self.content
        for at in range(first, last, max(size, 1)):
            stop = min(at + size, last)
            self.put(side, at, make(side, at, stop))
            self.receive(side, at, stop)

    def cuts(self, start: int, end: int) -> list[int]:
        """Choose where a range is cut into segments."""
        out, at, size = [], start, self.how.cut
        if (end - start) // size > self.how.most:
            size = (end - start) // self.how.most + 1
        while at < end:
            out.append(at)
            at += size if self.rng.random() < 0.7 else self.rng.randrange(1, size + 1)
        return out

    def flight(self, side: bool, end: int, ack: int | None, *, flags: int = ACK) -> None:
        """Send everything up to `end`; some of it arrives late, twice, or only at the second try."""
        rng, start = self.rng, self.sent[side]
        lost: list[tuple[int, int]] = []
        if not self.how.whole:  # what is sent again much later is not waited for
            self.floor[side] = start
        places = [*self.cuts(start, end), end]
        for at, stop in itertools.pairwise(places):
            self.sent[side] = stop
            fate = rng.random()
            most = self.got[not side]
            heard = ack if ack is None else rng.randrange(min(most, max(ack, self.acked[side])), most + 1)
            if fate >= self.how.loss:
                self.put(side, at, self.content(side, at, stop), flags if stop == end else flags & ~FIN, heard)
                self.receive(side, at, stop)
            else:
                if fate < self.how.loss / 2:  # lost behind the tap; else before it
                    self.put(side, at, self.content(side, at, stop), flags & ~FIN, heard)
                lost.append((at, stop))
            if rng.random() < self.how.ack_every:
                self.put(not side, self.sent[not side])
            if lost and rng.random() < 0.1:
                self.repetition(side, *lost.pop(0), covering=True)
            if rng.random() < self.how.repeat:
                back = rng.choice((stop - at, 3000))
                self.repetition(side, max(self.floor[side], stop - back), stop)
        if lost:
            self.t += rng.choice((1, 200, 1500 if self.how.whole else 300)) * MILLISECOND
        for at, stop in lost:
            self.repetition(side, at, stop, covering=True)

    def open(self) -> None:
        """Shake hands in one of the ways there are."""
        how, rng = self.how.opening, self.rng
        first = self.first_turn()
        data = self.content(CLIENT, 0, rng.randrange(1, first + 1)) if how.startswith("fast") and first else b""
        self.put(CLIENT, -1, data[:1400], SYN, 0)
        if how == "syn_again":
            self.t += SECOND
            self.put(CLIENT, -1, b"", SYN, 0)
        if how == "simultaneous":
            self.put(SERVER, -1, b"", SYN, 0)
            self.put(CLIENT, -1, b"", SYN | ACK, 0)
        self.put(SERVER, -1, b"", SYN | ACK, 0)
        if how == "fast" and data:
            self.sent[CLIENT] = len(data[:1400])
            self.receive(CLIENT, 0, self.sent[CLIENT])
        if how == "synack_again":
            self.t += 300 * MILLISECOND
            self.put(SERVER, -1, b"", SYN | ACK, 0)
        if how != "ack_data":
            self.put(CLIENT, self.sent[CLIENT], b"", ACK, 0)

    def first_turn(self) -> int:
        """Tell how much the client says before the server says anything."""
        end = 0
        for step in self.talk.steps:
            if step.side is SERVER:
                break
            end = step.end
        return end

    def speak(self) -> None:
        """Let the steps of the conversation pass; steps of one side that follow each other share segments."""
        steps = self.talk.steps
        least = {CLIENT: 0, SERVER: 0}
        for index, step in enumerate(steps):
            least[step.side] = max(least[step.side], step.least)
            if index + 1 < len(steps) and steps[index + 1].side is step.side and self.rng.random() < 0.8:
                continue
            if self.sent[step.side] >= step.end:
                continue
            floor = None
            if not step.heard and self.rng.random() < 0.5:
                floor = max(self.acked[step.side], least[step.side])
            last = index == len(steps) - 1 and self.how.late_fin_data and self.fin_first(step.side)
            self.flight(step.side, step.end, floor, flags=ACK | FIN if last else ACK)
            self.between(step.side)

    def fin_first(self, side: bool) -> bool:
        """Tell whether this side may end its stream with its last data."""
        return (side is SERVER and self.how.ending in ("fin", "server_fin", "fin_again")) or (
            side is CLIENT and self.how.ending == "half_close" and self.sent[CLIENT] == len(self.talk.streams[CLIENT])
        )

    def between(self, side: bool) -> None:
        """Let time pass between turns, and whatever is sent then."""
        rng = self.rng
        if rng.random() < self.how.probe:
            self.t += 1500 * MILLISECOND if self.how.whole else 0
            if self.sent[side] and self.got[side] == self.sent[side]:
                old = self.sent[side] - 1
                self.put(
                    side, old, rng.choice((b"", self.content(side, old, old + 1), b"\0" if self.how.whole else b""))
                )
                self.put(not side, self.sent[not side])
        if self.how.ending != "nothing" and rng.random() < self.how.false_reset:
            self.forge(rng.random() < 0.5)
        if rng.random() < self.how.pause and not self.hurried():
            rest = (
                self.talk.plain
                and not self.talk.until_close
                and (self.sent[CLIENT], self.sent[SERVER]) in self.talk.rests
            )
            self.t += (rng.choice((70, 300)) if rest else rng.choice((1, 5, 45))) * SECOND
        elif rng.random() < 0.5:
            self.t += rng.randrange(1, 50 * MILLISECOND)

    def hurried(self) -> bool:
        """Tell whether silence would be taken for an end: a tap has no other sign of bytes that it lost."""
        return self.talk.prompt or any(self.ahead[side] > self.sent[side] for side in (CLIENT, SERVER))

    def forge(self, side: bool) -> None:
        """Let a RST pass that its receiver does not accept (RFC 9293 3.10.7.4): only the very next number is one."""
        self.t += 1500 * MILLISECOND  # nothing that passed before is captured after it
        away = self.rng.choice((-1, -1000, -(2**30), 2**31 - 70_000, 1, 1000, 60_000))
        self.put(side, self.sent[side] + away, b"", RST | self.rng.choice((0, ACK)))
        if 0 < away < 65_536:
            self.ahead[side] = self.sent[side] + away
            self.put(not side, self.sent[not side])  # a challenge

    def end_of(self, side: bool) -> None:
        """Send a FIN, if that is not done."""
        if not self.fin[side]:
            self.put(side, self.sent[side], b"", FIN | ACK)
            self.fin[side] = True

    def close(self) -> None:
        """End the connection in one of the ways there are."""
        how = self.how.ending
        first = self.rng.random() < 0.5
        if self.talk.until_close:
            first = CLIENT if how == "half_close" else SERVER
        if how in ("fin", "half_close", "fin_again", "fin_rst"):
            self.end_of(first)
            if self.rng.random() < 0.5:
                self.put(not first, self.sent[not first])
            if how == "fin_rst":
                return self.put(not first, self.sent[not first], b"", RST | ACK)
            self.end_of(not first)
            self.put(first, self.sent[first] + 1)
            if how == "fin_again":
                self.t += 200 * MILLISECOND
                self.put(first, self.sent[first], b"", FIN | ACK)
                self.put(not first, self.sent[not first] + 1)
        elif how == "server_fin":
            self.end_of(SERVER)
        elif how == "rst":
            self.put(CLIENT, self.sent[CLIENT], b"", RST | self.rng.choice((0, ACK)))
        elif how == "server_rst":
            self.put(SERVER, self.sent[SERVER], b"", RST | self.rng.choice((0, ACK)))
        return None


def shorten(rng: Random, talk: Conversation, side: bool) -> None:
    """Let a side stop in the middle of what it says last: the message is cut there."""
    messages = [m for m in talk.spoken if m.side is side]
    if not messages or len(talk.streams[side]) != messages[-1].end or messages[-1].end - messages[-1].start < 2:
        return
    last: Spoken = messages[-1]
    if last.status == 101 or (last.status == 200 and talk.over):
        return  # what was said in the tunnel shows that it was granted
    end = rng.randrange(last.start + 1, last.end)
    answered = any(m.side is SERVER and m.exchange == last.exchange for m in talk.spoken)
    if side is CLIENT and answered and end < last.start + last.head_len:
        return  # nobody answers what has no end
    del talk.streams[side][end:]
    last.cut, last.soft_end, last.end = True, last.end, end
    last.soft = [(a, min(b, end)) for a, b in last.soft if a < end]
    for step in talk.steps:
        if step.side is side:
            step.end = min(step.end, end)


def pass_by(rng: Random, talk: Conversation, how: Manner, t: int) -> list[Passing]:
    """Let a whole connection pass."""
    wire = Wire(rng, talk, how, t)
    wire.open()
    wire.speak()
    wire.close()
    return wire.passed
