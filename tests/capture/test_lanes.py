"""Lanes as their readers see them: whole batches, good ones while there is plenty, at once when the owner says so."""

import threading
from random import Random

import packets
import pytest
from packets_files import Frame
from splitting import send
from talks import START_NS, Talk
from test_envelopes import in_fragments, ip_packet

from assemble import Settings
from assemble.route import FlowRoute
from capture.frames import Merger
from capture.lanes import LEAST_RECORD, Lanes
from capture.records import LINK_CLOCK
from capture.ring import Consumer, Ring
from capture.route import Route
from tests.capture.batches import Got, routed


def frames_of(flow: int, count: int, size: int = 40) -> list[Frame]:
    """Make frames of one connection, all of the same time: no clock entries but the first."""
    talk = Talk(cport=20_000 + flow)
    for _ in range(count):
        talk.put(True, bytes(size))
    return [(START_NS, data) for _, data in talk.frames]


class Sender:
    """A merger and a route before some lanes."""

    def __init__(
        self,
        count: int,
        batch_frames: int,
        batch_bytes: int = 1 << 16,
        route: Route | None = None,
        drop: bool = False,
    ) -> None:
        self.rings = [Ring.create(1 << 20) for _ in range(count)]
        self.lanes = Lanes(self.rings, batch_frames, batch_bytes, drop)
        self.route = route or FlowRoute(Settings(), count)
        self.merger = Merger(1, batch_frames, batch_bytes)
        self.merger.announce(0, 0)

    def send(self, frames: list[Frame]) -> None:
        """Send frames as one chunk."""
        assert self.merger.gather(1 << 40) == 0
        send(self.route, self.lanes, self.merger, frames)

    def taken(self) -> list[list[list[Got]]]:
        """Take what has been handed over, without the clock: the batches of each lane."""
        found = [[[each for each in batch if each.link != LINK_CLOCK] for batch in routed(ring)] for ring in self.rings]
        return [[batch for batch in lane if batch] for lane in found]


def test_small_pieces_of_a_source_become_batches_of_good_size():
    """A record per lane for each read would cost more than the frames."""
    sender = Sender(2, 100)
    flows = [frames_of(flow, 200) for flow in range(20)]
    for at in range(200):
        sender.send([flow[at] for flow in flows])  # twenty frames at a time
    sizes = [len(batch) for lane in sender.taken() for batch in lane]
    assert sum(sizes) > 3700
    assert min(sizes) >= 99  # a batch with the clock in it holds one frame less
    sender.lanes.close()
    assert sum(sizes) + sum(len(batch) for lane in sender.taken() for batch in lane) == 4000


def test_nothing_is_held_back_once_the_owner_flushes():
    """A source that pauses must not keep frames waiting."""
    sender = Sender(3, 100)
    frames = [frames_of(flow, 1)[0] for flow in range(9)]
    sender.send(frames)
    assert sender.taken() == [[], [], []]
    sender.lanes.flush()
    got = [each.data for lane in sender.taken() for batch in lane for each in batch]
    assert sorted(got) == sorted(data for _, data in frames)
    sender.lanes.flush()
    assert sender.taken() == [[], [], []]


def test_a_lane_that_gets_little_is_not_forgotten():
    """While another lane is busy its frames would wait for the end of the run."""
    sender = Sender(2, 50)
    rare = frames_of(2, 1)
    sender.send(rare)
    own = next(at for at, lane in enumerate(lanes_of(sender)) if lane)
    flow = next(n for n in range(3, 50) if lane_number(n) != own)
    assert lane_number(2) == own
    sender.send(rare)
    taken = []
    for _ in range(20):
        sender.send(frames_of(flow, 50))
        taken.append(routed(sender.rings[own]))
    assert [[each.data for each in batch] for batches in taken for batch in batches] == [[rare[0][1]]]
    assert taken[:7] == [[]] * 7


def lanes_of(sender: Sender) -> list[list[list[Got]]]:
    """Flush and take."""
    sender.lanes.flush()
    return sender.taken()


def lane_number(flow: int) -> int:
    """Return in which of two lanes a connection is."""
    sender = Sender(2, 10)
    sender.send(frames_of(flow, 1))
    return next(at for at, lane in enumerate(lanes_of(sender)) if lane)


@pytest.mark.parametrize("sizes", [[1000, 5000, 7, 0, 4096, 60000], [4096] * 5, [4097] * 5, [0] * 300])
def test_frames_of_any_size_come_out_in_order_and_long_ones_alone(sizes):
    """What the ring can take the lanes can take."""
    sender = Sender(1, 64, 4096, Route())
    frames = [(START_NS + at, bytes([at % 256]) * size) for at, size in enumerate(sizes)]
    sender.send(frames)
    batches = lanes_of(sender)[0]
    assert [(each.ts_ns, each.data) for batch in batches for each in batch] == frames
    assert all(len(batch) <= 64 for batch in batches)
    assert all(len(batch) == 1 or sum(len(each.data) for each in batch) <= 4096 for batch in batches)


def test_a_full_ring_is_waited_for_and_the_other_lanes_go_on_meanwhile():
    """Offline nothing is dropped; what another lane has must not wait for the slow one."""
    sender = Sender(2, 64, 16384)
    mine = next(n for n in range(50) if lane_number(n) == 0)
    other = next(n for n in range(50) if lane_number(n) == 1)
    sender.send(frames_of(other, 1))
    plenty = frames_of(mine, 2000, 1000)
    thread = threading.Thread(target=sender.send, args=(plenty,))
    thread.start()
    while not sender.rings[0].stats().stalls:  # nobody reads it, and it cannot hold all of them
        assert thread.is_alive()
    reader = Consumer(sender.rings[1])
    assert reader.wait(reader.tail)
    assert len(routed(sender.rings[1])) == 1
    full = Consumer(sender.rings[0])
    got = 0
    while thread.is_alive() or full.wait(full.tail, 0):
        if full.wait(full.tail):
            got += sum(len(batch) for batch in routed(sender.rings[0]))
    thread.join()
    sender.lanes.flush()
    assert got + sum(len(batch) for batch in routed(sender.rings[0])) == 2000 + 1  # and the clock


@pytest.mark.parametrize("size", [0, 100, 1000, 5000, 60_000])
def test_a_lane_that_drops_loses_whole_batches_counted_to_the_byte_and_nothing_else(size):
    """Live, the capture never waits: what a slow reader misses is in the books, what it gets is as captured."""
    sender = Sender(1, 64, 16_384, Route(), drop=True)
    frames: list[Frame] = []
    got: list[Got] = []
    for turn in range(60):
        some = [(START_NS + turn, b"%06d" % (64 * turn + at) + bytes(size)) for at in range(64)]
        frames += some
        sender.send(some)
        sender.lanes.flush()
        if turn % 20 == 19 or (size < 1000 and turn % 2):
            got += [each for batch in routed(sender.rings[0]) for each in batch]
    through = {(each.ts_ns, each.data) for each in got}
    assert [(each.ts_ns, each.data) for each in got] == [frame for frame in frames if frame in through]
    lost = [frame for frame in frames if frame not in through]
    assert (sender.lanes.dropped_frames, sender.lanes.dropped_bytes) == (len(lost), sum(len(data) for _, data in lost))
    assert sender.lanes.records == sender.rings[0].stats().records
    assert (len(lost) > 100) == (size >= 1000)
    assert len(got) > 30
    assert sender.rings[0].stats().stalls == 0


def test_a_full_lane_drops_and_the_others_lose_nothing():
    """One assembler that cannot keep up is no reason to lose what the others have room for."""
    sender = Sender(2, 64, 16_384, drop=True)
    mine = next(n for n in range(50) if lane_number(n) == 0)
    other = next(n for n in range(50) if lane_number(n) == 1)
    plenty, few = frames_of(mine, 3000, 1000), frames_of(other, 300)
    for at in range(300):
        sender.send([*plenty[10 * at : 10 * at + 10], few[at]])
        sender.lanes.flush()
    full, fine = ([each.data for batch in lane for each in batch] for lane in sender.taken())
    assert fine == [data for _, data in few]
    assert full == [data for _, data in plenty][: len(full)]
    lost = len(plenty) - len(full)
    assert 1000 < lost < 3000
    assert (sender.lanes.dropped_frames, sender.lanes.dropped_bytes) == (lost, lost * len(plenty[0][1]))
    sender.send(plenty[:10])
    sender.lanes.close()
    assert [each.data for batch in sender.taken()[0] for each in batch] == [data for _, data in plenty[:10]]
    assert sender.lanes.dropped_frames == lost


def test_a_clock_that_finds_no_room_is_no_frame_that_was_dropped():
    """Nothing was captured there: the books would not close."""
    sender = Sender(2, 64, 16_384, Route(), drop=True)
    while not sender.lanes.dropped_frames:
        sender.send(frames_of(1, 64, 1000))
        sender.lanes.flush()
    lost = (sender.lanes.dropped_frames, sender.lanes.dropped_bytes)
    sender.route.tick(sender.lanes, START_NS)
    assert (sender.lanes.dropped_frames, sender.lanes.dropped_bytes) == lost
    assert [[each.link for each in batch] for batch in routed(sender.rings[1])] == [[LINK_CLOCK]]


def test_of_a_joined_datagram_that_is_dropped_the_last_fragment_is_counted_as_captured():
    """The other fragments have their own row; what was made of them was never on the wire."""
    sender = Sender(1, 64, 16_384, drop=True)
    while not sender.lanes.dropped_frames:
        sender.send(frames_of(1, 64, 1000))
        sender.lanes.flush()
    frames, size = sender.lanes.dropped_frames, sender.lanes.dropped_bytes
    request = Talk().put(True, bytes(1200)).frames[0][1]
    pieces = [packets.ethernet(piece) for piece in in_fragments(ip_packet(request), Random(1), 7)]
    assert len(pieces) > 1
    sender.send([(START_NS, piece) for piece in pieces])
    assert sender.lanes.dropped_frames - frames == 1
    assert sender.lanes.dropped_bytes - size == len(pieces[-1])
    assert isinstance(sender.route, FlowRoute)
    assert sender.route.page["frames_joined"] == len(pieces) - 1


def test_closing_hands_over_what_there_is_and_says_so_in_every_ring():
    """The assemblers end with it."""
    sender = Sender(3, 100)
    sender.send(frames_of(1, 5))
    sender.lanes.close()
    assert all(ring.stats().closed for ring in sender.rings)
    assert sum(len(batch) for lane in sender.taken() for batch in lane) == 5
    assert sender.lanes.records == sum(ring.stats().records for ring in sender.rings)


def test_misuse_is_refused():
    """Rings that a record does not fit into would be found out in mid-run."""
    with pytest.raises(ValueError, match="at least one ring"):
        Lanes([], 1, 1)
    with pytest.raises(ValueError, match=f"{LEAST_RECORD} are needed"):
        Lanes([Ring.create(LEAST_RECORD)], 10, 10)
