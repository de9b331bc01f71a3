"""The route of the capture itself, which knows no flows: every frame once, in order, in lane 0."""

from packets_files import Frame
from splitting import send

from capture.frames import Merger
from capture.lanes import Lanes
from capture.records import LINK_CLOCK
from capture.ring import Ring
from capture.route import Route
from tests.capture.batches import routed

NOW_NS = 1_700_000_000_000_000_000


def test_a_route_that_knows_nothing_sends_everything_to_lane_0():
    """A frame without a lane would be a frame lost."""
    rings = [Ring.create(1 << 20) for _ in range(2)]
    lanes, route, merger = Lanes(rings, 10, 1000), Route(), Merger(1, 10, 1000)
    merger.announce(0, 0)
    assert merger.gather(1 << 40) == 0
    frames: list[Frame] = [(NOW_NS + at, bytes([at]) * (at * 7 % 60)) for at in range(200)]
    send(route, lanes, merger, frames)
    route.finish()
    lanes.close()
    assert [(each.ts_ns, each.data) for batch in routed(rings[0]) for each in batch] == frames
    assert routed(rings[1]) == []


def test_a_tick_gives_every_lane_the_time_behind_what_it_has():
    """On a silent wire nobody else tells an assembler that its waits are over, nor hands it what it has not got yet."""
    rings = [Ring.create(1 << 20) for _ in range(3)]
    lanes, route, merger = Lanes(rings, 10, 1000), Route(), Merger(1, 10, 1000)
    merger.announce(0, 0)
    assert merger.gather(1 << 40) == 0
    send(route, lanes, merger, [(NOW_NS, b"one"), (NOW_NS + 1, b"two")])
    assert routed(rings[0]) == []
    for later in (1, 2):
        route.tick(lanes, NOW_NS + later * 10**9)
        clock = [(NOW_NS + later * 10**9, b"", LINK_CLOCK)]
        frames = [(NOW_NS, b"one", 1), (NOW_NS + 1, b"two", 1)] if later == 1 else []
        assert [[(each.ts_ns, each.data, each.link) for batch in routed(ring) for each in batch] for ring in rings] == [
            frames + clock, clock, clock,
        ]  # fmt: skip
