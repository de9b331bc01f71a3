"""A worker's caution after it has died: a few messages at a time, then one, until it is clear which one kills it.

In: a dead worker's counters, and how it died.  Out: how careful its successor is, and which message it leaves out.
Invariant: a message is left out only if workers have died while they had nothing else to do but this one.

A worker that is killed from outside says nothing about its messages: its successor goes on as if nothing had been.
One that dies of itself is succeeded by one that gives its outputs more and more messages at a time, and the next only
when these are safe.  If that dies too, its successor takes what was being tried one by one.
"""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from assemble.records import AT_PART, AT_PARTS, MESSAGE_HEADER
from capture.counters import Counters
from capture.ring import Consumer

MOST_MESSAGES: Final = 1024  # tried at a time
MOST_KILLS: Final = 3
"""From outside, and all of them while the same message was tried: the kernel kills whoever takes too much memory."""
SUSPECT_DEATHS: Final = 3
"""Of any kind, in a row, without progress: from then on the messages are suspected."""
KEPT_BYTES: Final = 64 * 2**20  # most of a message that is kept as a copy


@dataclass(frozen=True, slots=True)
class Care:
    """How careful a worker is."""

    until: int = 0  # ring position up to which it is; 0: not at all
    single: bool = False  # one message at a time
    kills: int = 0  # from outside, while it had nothing but the message at `suspect`
    suspect: int = -1
    skip: tuple[int, int] | None = None  # ring positions of the message to leave out, and of its end

    def differs(self, other: "Care") -> bool:
        """Whether more is known than before: then another death is not like the last."""
        return (self.until, self.single, self.skip) != (other.until, other.single, other.skip)


def after_death(page: Counters, before: Care, deaths: int, *, own: bool) -> Care:
    """Return how careful the successor of a worker is.

    `own` says that it died of itself, or hung; `deaths` counts those in a row without progress.
    """
    start, end, given = page["trying_from"], page["trying_to"], page["given"]
    page.set("trying_to", 0)
    if end <= start or not before.single:
        if not own and deaths < SUSPECT_DEATHS:
            return replace(before, skip=None)
        return Care(until=given) if end <= start else Care(until=end, single=True)
    kills = 0 if own else before.kills + 1 if before.suspect == start else 1
    if own or kills >= MOST_KILLS:
        return Care(until=given, skip=(start, end))
    return replace(before, kills=kills, suspect=start, skip=None)


class Steps:
    """What a careful worker gives its outputs, and when; notes what is being tried for whoever comes after it."""

    def __init__(self, care: Care, consumer: Consumer, page: Counters) -> None:
        self.care = care
        self.consumer = consumer
        self.page = page
        self.start = self.end = consumer.tail
        self.whole = True  # the step ends where a message does
        self.messages = 1
        self.trying = False  # the latest step is not known to be harmless

    @property
    def active(self) -> bool:
        """Whether there is anything to be careful with; what lies behind the last step waits for that, too."""
        return self.trying or self.end < self.care.until

    def head(self, head: int, tried: int, cursor: int) -> int:
        """Return up to where the outputs may go, the slowest of which has tried and taken what is before these."""
        if (tried if self.whole else cursor) >= self.end and self.end < head:
            self.messages = 1 if self.care.single else min(2 * self.messages, MOST_MESSAGES)
            self.start = self.end
            self.end, self.whole = self._next(head)
        self.trying = self.end < self.care.until or tried < self.end
        if not self.trying:
            self.rest()
            return head
        self.note()
        return self.end

    def note(self) -> None:
        """Note what is being tried."""
        self.page.set("trying_from", self.start)
        self.page.set("trying_to", self.end)

    def rest(self) -> None:
        """Note that nothing is being tried: whatever happens now is not its fault."""
        self.page.set("trying_to", 0)

    def _next(self, head: int) -> tuple[int, bool]:
        """Return where the next messages end, and whether the last of them is there as a whole."""
        position, whole, left = self.start, True, self.messages
        while left and position < head and (found := self.consumer.read(position)) is not None:
            _kind, view, position = found
            header = MESSAGE_HEADER.unpack_from(view)
            whole = header[AT_PART] + 1 >= header[AT_PARTS]
            left -= whole
        return position, whole


def keep(consumer: Consumer, start: int, end: int, directory: Path, name: str) -> Path:
    """Write the records of a message to a file of its own, as they are, for whoever looks for the fault.

    Raises OSError.  Each is a message header (assemble/records.py) and its payload, behind its length in 8 bytes.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    number, path = tempfile.mkstemp(".poison", f"{name}-", directory)
    try:
        with open(number, "wb") as file:
            while start < end and file.tell() < KEPT_BYTES and (found := consumer.read(start)) is not None:
                _kind, view, start = found
                file.write(len(view).to_bytes(8, "little"))
                file.write(view)
    except OSError:
        Path(path).unlink()  # half a message is no use to anybody
        raise
    return Path(path)
