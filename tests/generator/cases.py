"""One case by mode and seed: lines, what was captured of them, and what is said about the result.

In: mode and seed.  Out: a Case, and complaints about what an assembler makes of it.  Invariant: a case that drops some
of its lines or frames is still a case, with a truth of its own: that is how failures are made smaller.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Final

import packets
from engines import by_reference
from talks import assembled

from assemble import Message
from generator import truth
from generator.conversations import converse
from generator.spoken import CLIENT, SERVER
from generator.tap import Captured, Line, blend, capture, choose_tap, frame_of, snapped
from generator.wire import MICROSECOND, MILLISECOND, SECOND, manner, pass_by, shorten

START_NS: Final = 1_700_000_000_000_000_000
LINKS: Final = tuple(packets.LINKS)


@dataclass(frozen=True)
class Case:
    """What was said, what was captured, on which link."""

    mode: str
    seed: int
    link: int
    lines: list[Line]
    frames: list[Captured]

    def bytes_of(self) -> list[tuple[int, bytes]]:
        """Give the frames as an assembler takes them."""
        return [(c.t, frame_of(c, self.lines[c.line], self.link)) for c in self.frames]

    def messages(self, engine: str) -> list[Message]:
        """Assemble the frames; raises AssertionError if the compiled one's ledger does not close."""
        if engine == "reference":
            return by_reference(self.bytes_of(), link=self.link)
        return assembled(self.bytes_of(), link=self.link, batch=1 + self.seed % 3000).messages

    def judge(self, messages: list[Message]) -> list[str]:
        """Compare what an engine made of the frames with what has to come out."""
        return CHECKS[self.mode](self.lines, self.frames, messages)

    def complaints(self, engine: str = "compiled") -> list[str]:
        """Assemble the frames, audit the ledger, and compare."""
        try:
            return self.judge(self.messages(engine))
        except AssertionError as problem:
            return [f"ledger: {problem}"]


CHECKS: Final[dict[str, Callable[..., list[str]]]] = {
    "whole": truth.check_whole,
    "loss": truth.check_loss,
    "late": truth.check_loss,
    "wild": truth.check_wild,
}


def address(rng: Random, ipv6: bool) -> str:
    """Make an address."""
    return f"2001:db8::{rng.randrange(1, 0xFFFF):x}" if ipv6 else f"10.{rng.randrange(9)}.0.{rng.randrange(1, 255)}"


def first_number(rng: Random) -> int:
    """Choose an initial sequence number, often one that soon wraps."""
    return rng.choice((rng.randrange(2**32), 2**32 - rng.randrange(1, 3000), 2**31 - rng.randrange(3000), 0, 2**32 - 1))


def make_line(rng: Random, number: int, mode: str) -> Line:
    """Make a connection of its own."""
    ipv6 = rng.random() < 0.3
    plain = mode in ("loss", "late")
    talk = converse(rng, plain=plain, most=20_000)
    how = manner(rng, mode == "whole")
    if mode == "whole" and rng.random() < 0.15:
        shorten(rng, talk, rng.random() < 0.5)
    client, server = address(rng, ipv6), address(rng, ipv6)
    sport = rng.choice((80, 8080, 50_000))
    isn = {CLIENT: first_number(rng), SERVER: first_number(rng)}
    return Line(client, server, 20_000 + number, sport, isn, talk, how)


def again(rng: Random, old: Line, mode: str) -> Line:
    """Make a connection between the same ports, with a first number that may be close to the old one's."""
    line = make_line(rng, 0, mode)
    if line.how.opening.startswith("fast"):
        line.how.opening = "plain"
    behind = len(old.talk.streams[CLIENT]) + 2
    step = rng.choice((1, 100, behind, 70_000, 2**31 - 5, rng.randrange(1, 2**32)))
    if mode != "whole":  # RFC 9293 3.6.1; only the SYN of the old connection, which may be lost, would tell them apart
        step = max(step, behind)
    isn = {CLIENT: (old.isn[CLIENT] + step) % 2**32, SERVER: 0}
    isn[SERVER] = (old.isn[SERVER] + len(old.talk.streams[SERVER]) + rng.choice((5, 70_000, 2**30))) % 2**32
    return replace(line, client=old.client, server=old.server, cport=old.cport, sport=old.sport, isn=isn, again=True)


def make_case(mode: str, seed: int) -> Case:
    """Make the case of a seed."""
    rng = Random(f"{mode} {seed}")
    lines: list[Line] = []
    captured: list[list[Captured]] = []
    calm = mode != "whole"
    for number in range(rng.choice((1, 1, 1, 2, 2, 4))):
        line = make_line(rng, number, mode)
        t = START_NS + rng.randrange(SECOND)
        while True:
            frames = capture(
                rng,
                len(lines),
                pass_by(rng, line.talk, line.how, t),
                choose_tap(rng),
                calm=calm,
                reuse=bool(lines and lines[-1].cport == line.cport),
            )
            lines.append(line)
            captured.append(frames)
            if mode in ("late", "wild") or rng.random() < 0.8:
                break
            old, line = line, again(rng, line, mode)
            t = max(c.t for c in frames) + rng.choice((70 * MICROSECOND, 10 * MILLISECOND, 3 * SECOND, 90 * SECOND))
            if mode == "whole" and line.far_from(old) and rng.random() < 0.3:
                captured.append(strays(rng, frames, t))
    frames = blend(rng, captured, rng.random() < 0.2)
    if mode == "loss" or (mode == "wild" and rng.random() < 0.7):
        begun = [c for line in captured for c in line[:1] if line and lines[line[0].line].again]
        frames = sorted({c.serial: c for c in lose(rng, frames) + begun}.values(), key=lambda c: c.serial)
    elif mode != "whole":
        frames = come_late(rng, frames, len(lines))
    return Case(mode, seed, rng.choice((packets.LINK_ETHERNET, *LINKS)), lines, frames)


def strays(rng: Random, frames: list[Captured], t: int) -> list[Captured]:
    """Let copies of an old connection's last segments come while the next one is under way: they are nobody's."""
    last = [c for c in frames[-20:] if not c.passing.flags & packets.SYN]
    return [replace(c, t=t + rng.randrange(MILLISECOND, 40 * MILLISECOND)) for c in last if rng.random() < 0.3]


def lose(rng: Random, frames: list[Captured]) -> list[Captured]:
    """Lose frames, one by one or in bursts, or the ends of some."""
    kind = rng.choice(("one", "few", "many", "burst", "snap"))
    if not frames:
        return frames
    if kind == "snap":
        return snapped(rng, frames, rng.choice((0.01, 0.1)))
    if kind == "burst":
        at = rng.randrange(len(frames))
        return frames[:at] + frames[at + rng.randrange(1, 60) :]
    if kind == "one":
        at = rng.randrange(len(frames))
        return frames[:at] + frames[at + 1 :]
    share = 0.02 if kind == "few" else 0.3
    return [c for c in frames if rng.random() >= share]


def come_late(rng: Random, frames: list[Captured], lines: int) -> list[Captured]:
    """See only one direction, or begin in the middle, or stop early."""
    if rng.random() < 0.5:
        frames = frames[rng.randrange(len(frames)) :]
    if rng.random() < 0.3:
        frames = frames[: rng.randrange(len(frames)) + 1]
    deaf = {number: rng.choice((None, None, CLIENT, SERVER)) for number in range(lines)}
    return [c for c in frames if deaf[c.line] is None or c.passing.side is not deaf[c.line]]


def smaller(case: Case, still: Callable[[Case], bool], tries: int = 400) -> Case:
    """Drop lines and frames while the complaint stays."""
    for number in range(len(case.lines)):
        fewer = replace(case, frames=[c for c in case.frames if c.line != number])
        if len(fewer.frames) < len(case.frames) and still(fewer):
            case = fewer
    step = len(case.frames) // 2
    while step and tries:
        at = 0
        while at < len(case.frames) and tries:
            tries -= 1
            fewer = replace(case, frames=case.frames[:at] + case.frames[at + step :])
            if still(fewer):
                case = fewer
            else:
                at += step
        step //= 2
    return case
