"""Which chunks of which senders have been taken already (WIRE.md, "Receiver"); no clock, no sockets.

In: session and sequence numbers as they arrive.  Out: new or repeated, and how many never came.  Invariant: bounded
memory; whatever is not certainly a repetition is new, so that nothing is lost.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

WINDOW: Final = 4096
"""Of one session: sequence numbers below the highest of which it is known whether they were taken."""
ALL: Final = (1 << (WINDOW + 1)) - 1


@dataclass(slots=True)
class Track:
    """What is known of one session."""

    first: int  # nothing is known of what is below
    last: int  # the highest taken
    holes: int = 0  # bit n: last - n has not been taken; as bits, since who invents numbers makes thousands of them
    counted: int = 0  # of these, those that count as gaps

    def move(self, sequence: int) -> None:
        """Make a higher number the last; what falls out of the window and was not taken is not known any more."""
        leap = sequence - self.last
        step = min(leap, WINDOW + 1)
        passed = (1 << step) - 2
        holes = (self.holes << step) | passed
        self.counted = ((self.counted << step) | passed) & ALL
        self.last = sequence
        self.holes = holes & ALL
        if holes != self.holes or leap > step:
            self.first = max(self.first, sequence - WINDOW)

    def reach(self, sequence: int) -> None:
        """Make a lower number the first: a later one may come before the one that its sender began with."""
        passed = self.first - sequence - 1
        bits = ((1 << passed) - 1) << (self.last - self.first + 1)
        self.holes |= bits
        self.counted |= bits
        self.first = sequence

    def open(self, sequence: int) -> None:
        """Note that a number has not been taken after all."""
        if self.last - sequence <= WINDOW:
            self.holes |= 1 << (self.last - sequence)
        else:
            self.first = sequence + 1


class Sessions:
    """The senders' sequence numbers; the session not heard of for longest is forgotten first."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.tracks: OrderedDict[bytes, Track] = OrderedDict()
        self.gaps = 0  # sequence numbers passed over, less those that came after all; since whoever looks has looked

    def take(self, session: bytes, sequence: int) -> bool:
        """Note a chunk; False if it has been taken before."""
        track = self.tracks.get(session)
        if track is None:
            self.tracks[session] = Track(sequence, sequence)
            if len(self.tracks) > self.most:
                self.tracks.popitem(last=False)
            return True
        self.tracks.move_to_end(session)
        if sequence > track.last:
            self.gaps += sequence - track.last - 1
            track.move(sequence)
            return True
        if sequence < track.first:
            if track.last - sequence <= WINDOW:
                self.gaps += track.first - sequence - 1
                track.reach(sequence)
            return True
        bit = 1 << (track.last - sequence) if track.last - sequence <= WINDOW else 0
        new = bool(track.holes & bit)
        self.gaps -= bool(track.counted & bit)
        track.holes &= ~bit
        track.counted &= ~bit
        return new

    def restore(self, session: bytes, first: int, last: int, holes: Iterable[int]) -> None:
        """Know what is known of a session from elsewhere; it is the one heard of last.  Its holes count as gaps."""
        bits = sum(1 << (last - hole) for hole in holes)
        self.tracks[session] = Track(first, last, bits, bits)

    def forget(self, session: bytes, sequence: int) -> None:
        """Take a chunk back: what it held is lost here, and has to come again."""
        track = self.tracks.get(session)
        if track is not None and track.first <= sequence <= track.last:
            track.open(sequence)
