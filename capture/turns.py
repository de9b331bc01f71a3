"""How the lanes of a run open and leave interfaces together, so that a flow is in one lane at any time.

In: tickets, one for each interface and order; one page for each lane, which it alone writes.  Out: whose turn it is.
Invariant: the kernel numbers the members of a fanout group as they join (packet(7)), and gives a flow to one of those
that there are.  So lanes join in one order everywhere, none listens before all have joined, and none leaves before all
are hushed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import Final

from capture.counters import Counters

SLOTS: Final = 1024  # tickets of a page; a lane that has more interfaces opens no further one
PAGE: Final = tuple(f"slot{at}" for at in range(SLOTS))
"""Counters of a page: tickets of interfaces that are joined, or HUSHED, or cannot be opened: REFUSED; 0: no ticket."""
HUSHED: Final = 1 << 63
REFUSED: Final = 1 << 62
ORDERS: Final = 1 << 14
"""One slot: HUSHED, REFUSED, 14 bits for the order, 16 for the number of the group, 32 for the interface's index."""
GROUP: Final = 0xFFFF << 32


def ticket(order: int, index: int) -> int:
    """Return the ticket of an interface, by its index, for a certain order, from 1."""
    return order % ORDERS << 48 | index


@dataclass(frozen=True)
class Turns:
    """One lane's view; without pages there is one lane, which waits for nobody."""

    pages: tuple[Counters, ...] = ()
    lane: int = 0

    def may_join(self, mine: int) -> bool:
        """Whether the lane before has joined."""
        return not self.pages or self.lane == 0 or mine in self._of(self.lane - 1)

    def refused(self, mine: int) -> bool:
        """Whether the lane before cannot open it, so that this one need not wait."""
        return bool(self.pages) and self.lane > 0 and mine | REFUSED in self._of(self.lane - 1)

    def group(self, mine: int) -> int | None:
        """Return the number of the group to join; None if it is for this lane to make one, or there are no lanes."""
        return None if not self.pages or self.lane == 0 else self._of(0).get(mine)

    def may_listen(self, mine: int) -> bool:
        """Whether every lane has joined."""
        return all(mine in self._of(lane) for lane in range(len(self.pages)))

    def may_leave(self, mine: int) -> bool:
        """Whether no lane listens any more."""
        return not any(mine in self._of(lane) for lane in range(len(self.pages)))

    def publish(self, joined: Mapping[int, int], hushed: Iterable[int], refused: Iterable[int] = ()) -> None:
        """Show the other lanes what this one has: tickets, with their groups, and apart the hushed and the refused."""
        if self.pages:
            tickets = [each | group << 32 for each, group in joined.items()]
            tickets += [each | HUSHED for each in hushed] + [each | REFUSED for each in refused]
            for name, value in zip(PAGE, [*tickets, 0], strict=False):  # what is behind the first 0 is not read
                self.pages[self.lane].set(name, value)

    def _of(self, lane: int) -> dict[int, int]:
        """Return the tickets of a lane, hushed ones with their mark, and their groups."""
        page = self.pages[lane]
        values = takewhile(bool, (page[name] for name in PAGE))
        return {value & ~GROUP: (value & GROUP) >> 32 for value in values}


def forget(pages: Iterable[Counters]) -> None:
    """Have no lane have anything: all have ended, and are about to begin anew."""
    for page in pages:
        page.set(PAGE[0], 0)
