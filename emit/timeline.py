"""Times of messages that are read again: long gaps shortened, rounds that follow each other, moments that people name.

In: entries.  Out: entries with other times and ids.  Invariant: time goes on from round to round; ids are a function of
the message and the round, the same for a request and its response.
"""

import struct
from bisect import bisect_right
from typing import Final

from emit.source import Entry

NAMES: Final = struct.Struct("<Qqq")
"""What MESSAGE_HEADER begins with: id, first_ns, last_ns."""
STEP: Final = 0x9E3779B97F4A7C15  # odd, so that no two rounds share a name's successor; 2**64 over the golden ratio
MOST_CUTS: Final = 1024  # gaps that are remembered; a message that began before them all keeps its distance to them
LATEST_NS: Final = 2**63 - 1
LONE_NS: Final = 1_000_000_000  # between rounds of one message


class Gaps:
    """Takes out of the time what is longer than `longest_ns` without a message."""

    def __init__(self, longest_ns: int | None) -> None:
        self.longest_ns = longest_ns
        self.latest_ns: int | None = None  # of what has been moved, before it was
        self.begins: list[int] = []  # where time was taken out
        self.totals: list[int] = []  # how much, in all, up to its end
        self.sizes: list[int] = []

    def moved(self, entry: Entry) -> Entry:
        """Return an entry at its new time."""
        if self.longest_ns is None:
            return entry
        if self.latest_ns is not None and entry.first_ns - self.latest_ns > self.longest_ns:
            self.cut(self.latest_ns + self.longest_ns, entry.first_ns - self.latest_ns - self.longest_ns)
        self.latest_ns = max(entry.last_ns, entry.first_ns, self.latest_ns or entry.first_ns)
        return at(entry, self.place(entry.first_ns), self.place(entry.last_ns))

    def cut(self, begin_ns: int, size_ns: int) -> None:
        """Take out the time from a moment on."""
        self.begins.append(begin_ns)
        self.totals.append(size_ns + (self.totals[-1] if self.totals else 0))
        self.sizes.append(size_ns)
        if len(self.begins) > MOST_CUTS:
            del self.begins[0], self.totals[0], self.sizes[0]

    def place(self, ns: int) -> int:
        """Return where a time is now; one inside a gap is at the end of what is left of it."""
        index = bisect_right(self.begins, ns) - 1
        if index < 0:
            return ns - (self.totals[0] - self.sizes[0] if self.totals else 0)
        inside = self.begins[index] + self.sizes[index] - ns
        return ns - self.totals[index] + max(inside, 0)


class Rounds:
    """How far each round is behind the first: the span of that, and the mean distance of its messages."""

    def __init__(self) -> None:
        self.number = 0
        self.count = 0  # messages in the first one
        self.placed_messages = 0  # in all
        self.first_ns = LATEST_NS
        self.last_ns = -LATEST_NS

    def placed(self, entry: Entry) -> Entry:
        """Return an entry of the round under way, with its id and its time there."""
        self.placed_messages += 1
        if self.number == 0:
            self.count += 1
            self.first_ns = min(self.first_ns, entry.first_ns)
            self.last_ns = max(self.last_ns, entry.last_ns)
            return entry
        behind_ns = self.number * self.step_ns
        return at(entry, entry.first_ns + behind_ns, entry.last_ns + behind_ns, self.number)

    @property
    def step_ns(self) -> int:
        """Nanoseconds from the beginning of one round to that of the next."""
        span_ns = max(self.last_ns - self.first_ns, 0)
        return span_ns + (max(span_ns // (self.count - 1), 1) if self.count > 1 else LONE_NS)

    def next(self) -> bool:
        """Begin another round; False if there is nothing in it, or no number for its times."""
        self.number += 1
        return self.count > 0 and self.last_ns + self.number * self.step_ns <= LATEST_NS


def at(entry: Entry, first_ns: int, last_ns: int, number: int = 0) -> Entry:
    """Return an entry with other times, in a round; its id is the same function of its own in both directions."""
    if (first_ns, last_ns, number) == (entry.first_ns, entry.last_ns, 0):
        return entry
    name = (NAMES.unpack_from(entry.record)[0] + number * STEP) % 2**64
    record = NAMES.pack(name, first_ns, last_ns) + memoryview(entry.record)[NAMES.size :]
    return entry._replace(first_ns=first_ns, last_ns=last_ns, record=record)
