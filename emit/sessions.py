"""Which chunks of which senders have been taken already (WIRE.md, "Receiver"); no clock, no sockets.

In: session and sequence numbers as they arrive.  Out: new or repeated, and how many never came.  Invariant: bounded
memory; whatever is not certainly a repetition is new, so that nothing is lost.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

MOST_HOLES: Final = 4096
"""Of one session: sequence numbers below the highest that have not been taken."""


@dataclass(slots=True)
class Track:
    """What is known of one session."""

    first: int  # nothing is known of what is below
    last: int  # the highest taken
    holes: dict[int, bool] = field(default_factory=dict)  # between the two, not taken; whether counted as gaps


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
            missing = sequence - track.last - 1
            self.gaps += missing
            self.open_holes(track, range(max(track.last + 1, sequence - MOST_HOLES), sequence), counted=True)
            track.last = sequence
            return True
        if sequence < track.first:
            return True
        if sequence in track.holes:
            self.gaps -= track.holes.pop(sequence)
            return True
        return False

    def restore(self, session: bytes, first: int, last: int, holes: Iterable[int]) -> None:
        """Know what is known of a session from elsewhere; it is the one heard of last.  Its holes count as gaps."""
        self.tracks[session] = Track(first, last, dict.fromkeys(holes, True))

    def forget(self, session: bytes, sequence: int) -> None:
        """Take a chunk back: what it held is lost here, and has to come again."""
        track = self.tracks.get(session)
        if track is not None and track.first <= sequence <= track.last:
            self.open_holes(track, range(sequence, sequence + 1), counted=False)

    def open_holes(self, track: Track, sequences: range, *, counted: bool) -> None:
        """Remember sequence numbers that have not been taken; the lowest go first when there are too many."""
        track.holes.update(dict.fromkeys(sequences, counted))
        while len(track.holes) > MOST_HOLES:
            del track.holes[min(track.holes)]
