"""Finds out which children hang: they live, and have shown no sign of it for too long.

In: each child's count of signs of life (capture/child.py), looked at often.  Out: whether it hangs.
Invariant: time in which this process itself did not run is held against nobody.
"""

from typing import Final

STALL_S: Final = 60.0
LONGEST_LOOK_S: Final = 1.0
"""What counts between two looks: if they are further apart, everybody may have been stopped."""


class Pulse:
    """What has been seen of one child's signs of life."""

    def __init__(self, beats: int, now_s: float) -> None:
        self.beats = self.first = beats
        self.looked_s = now_s
        self.silent_s = 0.0

    def look(self, beats: int, now_s: float) -> float:
        """Return for how long there has been no sign of life."""
        self.silent_s += min(now_s - self.looked_s, LONGEST_LOOK_S)
        self.looked_s = now_s
        if beats != self.beats:
            self.beats = beats
            self.silent_s = 0.0
        return self.silent_s

    @property
    def works(self) -> bool:
        """Whether it has come as far as its loop."""
        return self.beats != self.first
