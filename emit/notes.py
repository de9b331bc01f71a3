"""How far each worker has come in the files that it shares with others, for whoever finds one killed at it.

In: where a write begins in a file, and what it brings the worker to.  Out: the same, to a successor or to a worker that
has the file's lock next.  Invariant: a note is in force by one 64-bit store, so it is there as a whole or not at all;
one that says "writing" is changed only by who holds the lock of the file that it names.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

from capture.counters import Counters

PLACE: Final = ("begin", "number", "device", "inode", "length", "position", "page")
WRITING: Final = 1
MASK: Final = 2**64 - 1
SIGN: Final = 2**63


@dataclass(frozen=True, slots=True)
class Noted:
    """What one note says."""

    begin_ns: int  # of the file's time, as its name has it
    number: int
    device: int
    inode: int
    length: int  # bytes of it that belong to messages before `position`
    position: int  # of the worker's ring: from there on nothing is in the file up to `length`
    outcomes: dict[str, int]  # of all messages before `position`, since the ring's beginning
    writing: bool = False  # what lies behind `length` is not to stay
    page: int = 0  # inode of the counters that the outcomes go with; 0: of any that are new, without what was booked


class Note:
    """The note of one worker, in two copies; `state` counts them, in steps of two, and its lowest bit is WRITING."""

    def __init__(self, page: Counters) -> None:
        self.page = page
        self.outcomes = [name[2:] for name in page.names[1 + len(PLACE) :] if name.startswith("0_")]

    @classmethod
    def create(cls, outcomes: Iterable[str]) -> Self:
        """Make one that says nothing yet, in shared memory."""
        fields = (*PLACE, *outcomes)
        return cls(Counters(("state", *(f"{copy}_{name}" for copy in (0, 1) for name in fields))))

    def get(self) -> Noted | None:
        """Return what it says; None: nothing was written yet."""
        state = self.page["state"]
        if state == 0:
            return None
        copy = state >> 1 & 1
        begin, number, device, inode, length, position, page = (self.page[f"{copy}_{name}"] for name in PLACE)
        outcomes = {name: self.page[f"{copy}_{name}"] for name in self.outcomes}
        begin_ns = (begin ^ SIGN) - SIGN
        return Noted(begin_ns, number, device, inode, length, position, outcomes, bool(state & WRITING), page)

    def put(self, noted: Noted) -> None:
        """Say something else from now on."""
        number = (self.page["state"] >> 1) + 1
        copy = number & 1
        where = (noted.begin_ns & MASK, noted.number, noted.device, noted.inode, noted.length)
        place = (*where, noted.position, noted.page)
        for name, value in zip(PLACE, place, strict=True):
            self.page.set(f"{copy}_{name}", value)
        for name, value in noted.outcomes.items():
            self.page.set(f"{copy}_{name}", value)
        self.page.set("state", number << 1 | noted.writing)

    def resolve(self) -> None:
        """Say that nothing lies behind the length any more."""
        self.page.set("state", self.page["state"] & ~WRITING)


@dataclass(frozen=True, slots=True)
class Notes:
    """The notes of all workers of one output, and which one is ours."""

    all: tuple[Note, ...]
    own: int

    @property
    def mine(self) -> Note:
        """The note that we change."""
        return self.all[self.own]

    @property
    def others(self) -> tuple[Note, ...]:
        """Those of the other workers."""
        return self.all[: self.own] + self.all[self.own + 1 :]
