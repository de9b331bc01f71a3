"""Outlets of a live source: what fits arrives, what does not is counted, and nothing is waited for."""

from typing import Any

import pytest
from packets import Tcp, frame
from packets_files import Frame
from splitting import chunk
from talks import START_NS

from assemble import Settings
from assemble.route import FlowRoute
from capture.frames import FULL, Merger
from capture.outlets import LanesOutlet, Outlet, RingOutlet
from capture.records import CLOCK, KIND_CLOCK, KIND_FRAMES, LINK_CLOCK
from capture.ring import Consumer, Ring
from tests.capture.batches import Got, routed, unpack

BATCH = 64
RING_BYTES = 1 << 19


def frames_of(count: int, size: int = 500) -> list[Frame]:
    """Make frames of many flows, all of one time, so that lanes get the clock only once."""
    return [(START_NS, frame(Tcp(sport=20_000 + at % 50, seq=at, data=bytes(size)))) for at in range(count)]


class Source:
    """Puts frames into an outlet as a live source does."""

    def __init__(self, outlet: Outlet) -> None:
        self.outlet = outlet
        self.merger = Merger(1, BATCH, 1 << 16)
        self.merger.announce(0, 0)
        self.merger.gather(outlet.limit)

    def put(self, frames: list[Frame]) -> None:
        """Put frames, read at once."""
        self.merger.push(*chunk(frames), 1, 1)
        while True:
            full = self.merger.gather(self.outlet.limit) == FULL
            if self.merger.frames:
                self.outlet.put(self.merger)
            if not full:
                return


def ring_outlet() -> tuple[RingOutlet, list[Ring]]:
    """One ring."""
    ring = Ring.create(RING_BYTES)
    return RingOutlet(ring), [ring]


def lanes_outlet() -> tuple[LanesOutlet, list[Ring]]:
    """Three rings behind a route."""
    rings = [Ring.create(RING_BYTES) for _ in range(3)]
    return LanesOutlet(FlowRoute(Settings(), 3), rings, BATCH, 1 << 16), rings


def records(ring: Ring) -> list[tuple[int, bytes]]:
    """Take what is in a ring."""
    consumer, out = Consumer(ring), []
    while (record := consumer.read(consumer.tail)) is not None:
        kind, view, position = record
        out.append((kind, bytes(view)))
        consumer.release(position)
    return out


def frames_in(ring: Ring, outlet: Outlet) -> list[Got]:
    """Take the frames that are in a ring, without the clock."""
    if isinstance(outlet, LanesOutlet):
        return [got for batch in routed(ring) for got in batch if got.link != LINK_CLOCK]
    return [got for kind, payload in records(ring) if kind == KIND_FRAMES for got in unpack(payload)[1]]


both = pytest.mark.parametrize("make", [ring_outlet, lanes_outlet])


@both
def test_what_fits_arrives_at_once_in_order(make: Any):
    """Nothing is held back for the next read: on a quiet wire that may be hours away."""
    outlet, rings = make()
    frames = frames_of(300)
    Source(outlet).put(frames)
    got = [frames_in(ring, outlet) for ring in rings]
    expected = {data: at for at, (_, data) in enumerate(frames)}
    for lane in got:
        order = [expected[each.data] for each in lane]
        assert order == sorted(order)
    assert sum(map(len, got)) == 300
    assert all(got)
    assert (outlet.dropped_frames, outlet.dropped_bytes) == (0, 0)
    assert outlet.records == sum(ring.stats().records for ring in rings)


@both
@pytest.mark.parametrize("size", [0, 500, 1400])
def test_a_full_ring_drops_and_every_frame_is_in_one_of_the_sums(make: Any, size: int):
    """The capture never waits: the kernel would drop instead, where nobody knows which frames."""
    outlet, rings = make()
    source = Source(outlet)
    frames = frames_of(2000, size)
    for _ in range(10):
        source.put(frames)
    lost = outlet.dropped_frames, outlet.dropped_bytes
    assert lost[0] > 0
    got = [each for ring in rings for each in frames_in(ring, outlet)]
    assert len(got) + lost[0] == 20_000
    assert sum(len(each.data) for each in got) + lost[1] == 10 * sum(len(data) for _, data in frames)
    source.put(frames[:100])
    assert sum(len(frames_in(ring, outlet)) for ring in rings) == 100, "once there is room again, all goes through"
    assert (outlet.dropped_frames, outlet.dropped_bytes) == lost


def test_frames_that_were_dropped_keep_their_numbers():
    """`--frame N` counts what was captured."""
    outlet, (ring,) = ring_outlet()
    source = Source(outlet)
    for _ in range(10):
        source.put(frames_of(2000))
    records(ring)
    source.put(frames_of(1))
    assert [unpack(payload)[0] for _, payload in records(ring)] == [20_001]
    assert ring.stats().dropped > 0


def test_a_lane_without_room_costs_its_own_frames_alone():
    """One slow assembler must not take the others with it."""
    outlet, rings = lanes_outlet()
    source = Source(outlet)
    Source(outlet).put(frames_of(50))
    per_lane = [len(frames_in(ring, outlet)) for ring in rings]
    got = [0, 0, 0]
    for _ in range(400):
        source.put(frames_of(50))
        for at in (0, 2):
            got[at] += len(frames_in(rings[at], outlet))
    got[1] = len(frames_in(rings[1], outlet))
    assert (got[0], got[2]) == (400 * per_lane[0], 400 * per_lane[2])
    assert 0 < got[1] < 400 * per_lane[1]
    assert outlet.dropped_frames == 400 * per_lane[1] - got[1]


def test_time_arrives_and_a_full_ring_does_without():
    """Timers run on it while the wire is silent; a reader that is behind has the frames' own."""
    outlet, (ring,) = ring_outlet()
    outlet.tick(START_NS + 5)
    assert records(ring) == [(KIND_CLOCK, CLOCK.pack(START_NS + 5))]
    while ring.stats().used + 24 <= ring.stats().capacity:
        outlet.tick(START_NS)
    outlet.tick(START_NS)
    assert outlet.dropped_frames == 0


def test_time_arrives_in_every_lane():
    """Each has timers of its own."""
    outlet, rings = lanes_outlet()
    outlet.tick(START_NS)
    for ring in rings:
        assert [[(got.ts_ns, got.link) for got in batch] for batch in routed(ring)] == [[(START_NS, LINK_CLOCK)]]
    assert outlet.dropped_frames == 0


@both
def test_closing_is_seen_by_every_reader(make: Any):
    """The assemblers end with it."""
    outlet, rings = make()
    Source(outlet).put(frames_of(10))
    outlet.close()
    assert all(ring.stats().closed for ring in rings)
    assert sum(len(frames_in(ring, outlet)) for ring in rings) == 10
