"""Packet time for timers: the frames' own, which goes on when the clock of the capturing machine is set back.

In: the time of each frame, in their order.  Out: the time that timers run on.
"""

from dataclasses import dataclass, field
from typing import Final

TICK_NS: Final = 50_000_000  # timers are looked at so often
STEP_NS: Final = 10_000_000_000  # a frame this far behind is not late: the clock was set
LEAP_NS: Final = 600_000_000_000  # a step forward as long as this is no silence where the clock was set before
LAST_NS: Final = 2**62
SHIFT_MOST_NS: Final = 3 * 2**60
KNOWN: Final = 8


@dataclass
class Clock:
    """What is added to the frames' times now, and what was before, the last one first."""

    shift_ns: int = 0
    known: list[int] = field(default_factory=lambda: [0] * KNOWN)
    next_ns: int = 0  # when timers are looked at next
    due: bool = False  # they were by the last frame

    def take(self, ts_ns: int) -> int:
        """Give the time for timers at a frame."""
        self.due = False
        now_ns = ts_ns + self.shift_ns
        if self.next_ns - STEP_NS <= now_ns < self.next_ns:
            return now_ns
        own_ns = min(max(ts_ns, 0), LAST_NS)
        if abs(own_ns + self.shift_ns - self.next_ns) >= STEP_NS:
            self._shift_to(self._shift_of(own_ns))
        now_ns = own_ns + self.shift_ns
        if now_ns > 0 and now_ns >= self.next_ns:
            self.due = True
            self.next_ns = now_ns + TICK_NS
        return now_ns

    def _shift_of(self, own_ns: int) -> int:
        """Give the shift that explains a frame best: the one that puts it nearest to now, if that is near enough."""
        near = {shift_ns: own_ns + shift_ns - self.next_ns for shift_ns in [self.shift_ns, *self.known]}
        most_ns = LEAP_NS if near[self.shift_ns] >= 0 else STEP_NS
        likely = {shift_ns: ahead_ns for shift_ns, ahead_ns in near.items() if -STEP_NS < ahead_ns < most_ns}
        if likely:
            return min(likely, key=lambda shift_ns: abs(likely[shift_ns]))
        return min(max(self.next_ns - TICK_NS - own_ns, 0), SHIFT_MOST_NS)

    def _shift_to(self, shift_ns: int) -> None:
        if shift_ns == self.shift_ns:
            return
        before = [each for each in self.known if each != shift_ns] if shift_ns in self.known else self.known
        self.known = [self.shift_ns, *before][:KNOWN]
        self.shift_ns = shift_ns
