"""Where a live source's batches go: into one frame ring, or into those of several lanes.

In: batches as a merger has gathered them.  Out: records.  Invariant: a ring without room is not waited for: what
does not fit is counted as dropped.
"""

from collections.abc import Sequence
from typing import Protocol

from capture.counters import Counters
from capture.frames import Merger
from capture.lanes import Lanes
from capture.marks import Mark
from capture.records import CLOCK, KIND_CLOCK
from capture.ring import Producer, Ring
from capture.route import Route


class Outlet(Protocol):
    """A place for batches."""

    @property
    def limit(self) -> int:
        """Most bytes of a batch."""

    @property
    def records(self) -> int:
        """Batches handed over."""

    @property
    def dropped_frames(self) -> int:
        """Frames that there was no room for."""

    @property
    def dropped_bytes(self) -> int:
        """Their captured lengths."""

    def put(self, merger: Merger) -> None:
        """Take the batch that a merger has gathered, or drop it."""

    def tick(self, ts_ns: int) -> None:
        """Let the reader know that time has come as far as this."""

    def close(self) -> None:
        """Say that nothing more will come."""


class RingOutlet:
    """One frame ring; `shown` is for whoever comes after this process, should it be killed."""

    def __init__(self, ring: Ring, shown: Counters | None = None) -> None:
        self.producer = Producer(ring)
        self.limit = ring.largest
        self.mark = Mark(shown)
        self.frames = self.mark.recover(ring)  # in the ring, ever
        self.records = 0
        self.dropped_frames = 0
        self.dropped_bytes = 0

    def put(self, merger: Merger) -> None:
        """Take a batch, or drop it."""
        frames, size = merger.frames, merger.frame_bytes
        if merger.try_write(self.producer):
            self.records += 1
            self.frames += frames
            self.mark.note(self.producer.position, self.frames)
            return
        self.producer.drop()
        self.dropped_frames += frames
        self.dropped_bytes += size

    def tick(self, ts_ns: int) -> None:
        """Write the time, if there is room: a reader with a full ring sees the frames' own."""
        self.producer.try_put(KIND_CLOCK, CLOCK.pack(ts_ns))
        self.mark.note(self.producer.position, self.frames)

    def close(self) -> None:
        """End the ring."""
        self.producer.close()


class LanesOutlet:
    """Several frame rings behind a route."""

    def __init__(self, route: Route, rings: Sequence[Ring], batch_frames: int, batch_bytes: int) -> None:
        self.route = route
        self.lanes = Lanes(rings, batch_frames, batch_bytes, drop=True)
        self.limit = self.lanes.largest

    @property
    def records(self) -> int:
        """Batches handed over."""
        return self.lanes.records

    @property
    def dropped_frames(self) -> int:
        """Frames that there was no room for."""
        return self.lanes.dropped_frames

    @property
    def dropped_bytes(self) -> int:
        """Their captured lengths."""
        return self.lanes.dropped_bytes

    def put(self, merger: Merger) -> None:
        """Send a batch into the lanes; what came with one read of the kernel's is not held back for the next."""
        self.route.send(merger, self.lanes)
        self.lanes.flush()

    def tick(self, ts_ns: int) -> None:
        """Let time pass in every lane."""
        self.route.tick(self.lanes, ts_ns)

    def close(self) -> None:
        """End the lanes."""
        self.route.finish()
        self.lanes.close()
