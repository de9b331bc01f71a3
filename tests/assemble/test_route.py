"""Lanes do not show: whatever the traffic, several assemblers make and count what one does, flow by flow in order."""

import multiprocessing
from collections.abc import Sequence
from itertools import groupby
from random import Random
from typing import Any

import pytest
from generator.cases import make_case
from packets import SYN, Tcp, ethernet, frame
from packets_dot11 import BEACON, LINK_DOT11, QOS_DATA, amsdu, dot11, snap
from packets_files import Frame
from splitting import send, split, without_levels
from strategies_packets import summary
from talks import CLIENT, SERVER, START_NS, Talk, assembled
from test_envelopes import enveloped, in_fragments, ip_packet

from assemble import Message, Settings
from assemble.assembler import Assembler
from assemble.route import FlowRoute, lane_of
from capture.counters import Counters
from capture.frames import Merger
from capture.lanes import Lanes
from capture.records import BATCH_HEADER, FRAME_ENTRY, LINK_CLOCK, LINK_MADE, LINK_SHIFT, ROUTED
from capture.ring import Consumer, Ring

LANES = (1, 2, 3, 5)


def flows(messages: Sequence[Message]) -> dict[Any, list[Any]]:
    """Return what each connection carried, in its order."""

    def key(m: Message) -> Any:
        return sorted([(str(m.src), m.sport), (str(m.dst), m.dport)])

    listed = sorted(messages, key=key)  # a stable sort
    return {tuple(found): [summary(m) for m in several] for found, several in groupby(listed, key)}


def agree(frames: Sequence[Frame], *, link: int = 1, batch: int = 256, **settings: Any) -> None:
    """Compare every number of lanes with a single assembler: messages, order within flows, counters."""
    whole = assembled(frames, link=link, **settings)
    for count in LANES:
        got = split(frames, count, link=link, batch=batch, **settings)
        assert flows(got.messages) == flows(whole.messages)
        assert got.counters == without_levels(whole.counters)


def talk(number: int, pause_s: float = 0.0) -> Talk:
    """Tell a connection of its own: two exchanges."""
    one = Talk(cport=20_000 + number, client=f"192.0.2.{number % 200 + 1}", now_ns=START_NS + number * 777_000)
    one.open()
    for name in (b"a", b"b"):
        one.put(CLIENT, b"GET /%s%d HTTP/1.1\r\n\r\n" % (name, number))
        one.wait(pause_s)
        one.put(SERVER, b"HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n" + b"%04d" % number * 100)
    return one.close()


def together(talks: Sequence[Talk]) -> list[Frame]:
    """Merge connections by time."""
    return sorted((each for one in talks for each in one.frames), key=lambda each: each[0])


@pytest.mark.parametrize(("mode", "seed"), [(m, s) for m in ("whole", "loss", "late", "wild") for s in range(0, 40, 2)])
def test_lanes_do_not_show_in_disturbed_traffic(mode, seed):
    """Reordering, loss, reused ports, idle connections: every timer has to end at the same place in the traffic."""
    case = make_case(mode, seed)
    agree(case.bytes_of(), link=case.link, batch=1 + seed * 7)


@pytest.mark.parametrize("seed", range(10))
def test_lanes_do_not_show_in_tunnels_and_fragments(seed):
    """A flow is what the assembler takes for one, whatever is around it, and whichever fragment comes first."""
    rng = Random(seed)
    frames = enveloped(together([talk(number) for number in range(12)]), rng)
    agree(frames, batch=1 + seed * 9)
    agree(frames, separate=("vlan", "tunnel"))


STEPS_NS = [step_s * 10**9 for step_s in (3600, -3600, -7200, 40, -40, 86_400 * 90, -86_400 * 90)]


def set_now_and_then(frames: Sequence[Frame], rng: Random, share: float) -> list[Frame]:
    """Have the clock set before that share of the frames, back and forth."""
    out, place_ns = [], 0
    for ts_ns, data in frames:
        if rng.random() < share:
            place_ns = rng.choice([0, place_ns + rng.choice(STEPS_NS)])
        out.append((max(ts_ns + place_ns, 0), data))
    return out


@pytest.mark.parametrize(("mode", "seed"), [(m, s) for m in ("whole", "loss", "late", "wild") for s in range(50, 58)])
@pytest.mark.parametrize("share", [0.03, 0.5])
def test_lanes_do_not_show_where_the_clock_is_set(mode, seed, share):
    """A lane sees some of the frames: from these alone it would tell the steps of the clock in other places."""
    case = make_case(mode, seed)
    agree(set_now_and_then(case.bytes_of(), Random(seed), share), link=case.link, batch=1 + seed)


@pytest.mark.parametrize("seed", range(4))
def test_lanes_do_not_show_in_fragments_where_the_clock_is_set(seed):
    """Datagrams are joined by the route's clock, and what they hold is waited for by the lane's."""
    frames = enveloped(together([talk(number, 0.1 * seed) for number in range(12)]), Random(seed))
    agree(set_now_and_then(frames, Random(seed), 0.1))


def test_both_directions_of_a_flow_share_a_lane_and_all_lanes_have_flows():
    """Else one direction would never be paired with the other, or a lane would sleep."""
    frames = together([talk(number) for number in range(200)])
    for count in (2, 3, 5, 7):
        lanes = split(frames, count).lanes
        assert sum(len(flows(lane)) for lane in lanes) == 200
        assert all(len(lane) == 4 * len(flows(lane)) for lane in lanes)
        assert min(len(flows(lane)) for lane in lanes) > 200 // count // 3


@pytest.mark.parametrize("other_ms", [0, 20, 45])
def test_a_hole_is_given_up_when_another_flow_says_that_it_is_time(other_ms):
    """The late segment comes behind a frame of another lane that has moved the time on: then the hole is a hole."""
    for number in range(16):  # with some of them the two flows are in different lanes
        one = Talk(cport=30_000 + number).open().put(CLIENT, b"POST / HTTP/1.1\r\nContent-Length: 6\r\n\r\n")
        one.lose(CLIENT, b"abc").put(CLIENT, b"def").put(SERVER)
        late_ns = one.now_ns + 2_000_000_000
        tick = Talk(cport=40_000, now_ns=late_ns + other_ms * 1_000_000 - 20_000_000).open()
        one.wait(2.0).put(CLIENT, b"abc", at=40).close()
        agree(together([one, tick]))


def test_idle_flows_end_by_the_time_of_the_whole_run():
    """A lane that sees one frame per minute is not to keep for longer what nobody uses any more."""
    sparse = [talk(number, pause_s=70.0 * (number % 2)) for number in range(20)]
    agree(together([*sparse, *(Talk(cport=50_000 + at, now_ns=START_NS + at * 10**9).open() for at in range(150))]))


def test_fragments_whose_datagram_is_not_whole_are_refused_once():
    """They name no flow; whichever lane had them, the books must say what they say without lanes."""
    request = Talk().put(CLIENT, b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 300 + b"\r\n").frames[0][1]
    pieces = in_fragments(ip_packet(request), Random(1), 7)
    assert len(pieces) > 1
    frames = [(START_NS + at * 1000, ethernet(piece)) for at, piece in enumerate(pieces[:-1])]
    for more in ([], [(START_NS + 40 * 10**9, frame(Tcp(sport=1, flags=SYN)))]):
        agree([*frames, *more])
        assert split([*frames, *more], 3).counters["refused_ip_fragment"] == len(frames)


def test_a_frame_that_carries_packets_of_several_flows_is_taken_apart():
    """An access point aggregates what it has for a station, of whatever connections."""
    talks = [talk(number) for number in range(6)]
    frames = []
    for step in zip(*(one.frames for one in talks), strict=True):
        body = amsdu([snap(ip_packet(data)) for _, data in step])
        frames.append((step[0][0], dot11(body, kind=QOS_DATA, qos=0x80)))
    frames.append((frames[-1][0], dot11(b"", kind=BEACON)))
    whole = assembled(frames, link=LINK_DOT11)
    assert whole.counters["packets_aggregated"] > 0
    agree(frames, link=LINK_DOT11)


def test_what_does_not_decode_is_refused_in_lane_0():
    """It belongs to no flow, and must be counted all the same."""
    odd = [(START_NS, b""), (START_NS, b"x"), (START_NS, ethernet(b"", ethertype=0x0806)), (START_NS, bytes(60))]
    agree([*odd, *talk(1).frames, *odd])


@pytest.mark.parametrize(
    "settings",
    [
        {"ports": (20_003, 20_011)},
        {"hosts": ("192.0.2.8/29", "192.0.2.17")},
        {"exclude": (("192.0.2.2", 20_001), ("192.0.2.7", 0))},
        {"sample": 40},
    ],
    ids=str,
)
def test_lanes_do_not_show_in_what_is_selected(settings):
    """A share of the connections is the same share, whoever looks at them; fragments are decided upon once."""
    frames = enveloped(together([talk(number) for number in range(40)]), Random(5))
    agree(frames, **settings)
    assert 0 < len(split(frames, 3, **settings).messages) < 160


class Lined:
    """A route before some lanes, and an assembler behind each of them."""

    def __init__(self, count: int) -> None:
        self.rings = [Ring.create(1 << 20) for _ in range(count)]
        self.lanes, self.route = Lanes(self.rings, 64, 1 << 16), FlowRoute(Settings(), count)
        self.merger = Merger(1, 64, 1 << 16)
        self.merger.announce(0, 0)
        self.consumers = [Consumer(ring) for ring in self.rings]
        self.assemblers = [Assembler(Settings()) for _ in self.rings]

    def send(self, frames: Sequence[Frame]) -> list[list[Message]]:
        """Take frames; return what comes out of each lane that is handed over."""
        assert self.merger.gather(1 << 40) == 0
        send(self.route, self.lanes, self.merger, frames)
        self.lanes.flush()
        return self.taken()

    def tick(self, ts_ns: int) -> list[list[Message]]:
        """Let time pass; return what comes out of each lane."""
        self.route.tick(self.lanes, ts_ns)
        return self.taken()

    def taken(self) -> list[list[Message]]:
        """Return what comes out of each lane."""
        for assembler, consumer in zip(self.assemblers, self.consumers, strict=True):
            assembler.feed_ring(consumer, consumer.tail)
        return [assembler.sink.take() for assembler in self.assemblers]


def test_a_tick_gives_every_lane_the_time():
    """On a silent wire nothing else ends what a lane waits for: holes, idle connections, pieces of datagrams."""
    lined = Lined(3)
    talks = []
    for number in range(30):
        one = Talk(cport=30_000 + number).open().put(CLIENT, b"POST / HTTP/1.1\r\nContent-Length: 6\r\n\r\n")
        talks.append(one.lose(CLIENT, b"abc").put(CLIENT, b"def").put(SERVER))
    request = Talk(cport=1).put(CLIENT, bytes(1200)).frames[0][1]
    pieces = in_fragments(ip_packet(request), Random(1), 7)[1:]
    assert lined.send([*together(talks), *((talks[-1].now_ns, ethernet(piece)) for piece in pieces)]) == [[], [], []]
    now_ns = talks[-1].now_ns
    assert lined.tick(now_ns + 1_900_000_000) == [[], [], []]
    came = lined.tick(now_ns + 2_200_000_000)
    assert all(came)
    assert [(m.complete, m.missing) for lane in came for m in lane] == [(False, 3)] * 30
    assert all(assembler.page["flows_now"] for assembler in lined.assemblers)
    lined.tick(now_ns + 61 * 10**9)
    assert [assembler.page["flows_now"] for assembler in lined.assemblers] == [0, 0, 0]
    counts = lined.route.page.as_dict()
    assert (counts["fragments_held"], counts["refused_ip_fragment"]) == (0, len(pieces))


HOUR_NS = 3600 * 10**9


def holed(number: int, now_ns: int) -> Talk:
    """Tell a request with a hole that its receiver has."""
    one = Talk(cport=30_000 + number, now_ns=now_ns).open()
    one.put(CLIENT, b"POST / HTTP/1.1\r\nContent-Length: 6\r\n\r\n")
    return one.lose(CLIENT, b"abc").put(CLIENT, b"def").put(SERVER)


@pytest.mark.parametrize("anew", [False, True])
def test_every_lane_gives_up_in_time_what_waits_when_the_clock_is_set_back(anew):
    """Each is told of the step, though it came with a frame of one; and so is who follows after one was killed."""
    lined = Lined(3)
    before, after = ([holed(number + at, START_NS) for at in range(20)] for number in (0, 100))
    back = [(ts_ns - HOUR_NS, data) for ts_ns, data in together(after)]
    assert not any(lined.send([*together(before), *back[:1]]))
    if anew:
        lined.assemblers = [Assembler(Settings()) for _ in lined.rings]
    assert not any(lined.send(back[1:]))
    now_ns = after[0].now_ns - HOUR_NS
    assert not any(lined.tick(now_ns + 1_900_000_000))
    came = lined.tick(now_ns + 2_200_000_000)
    assert all(came)
    assert sum(map(len, came)) >= (19 if anew else 40)
    lined.tick(now_ns + 61 * 10**9)
    assert [assembler.page["flows_now"] for assembler in lined.assemblers] == [0, 0, 0]


def test_a_shift_that_cannot_be_is_a_damaged_record():
    """Times would leave 64 bits."""
    for shift_ns in (-1, 2**62):
        entry = FRAME_ENTRY.pack(shift_ns, 0, 0, 0, LINK_SHIFT, 0)
        with pytest.raises(ValueError, match="points outside"):
            Assembler(Settings()).feed_batch(BATCH_HEADER.pack(1, ROUTED, 0) + entry)
    with pytest.raises(ValueError, match="points outside"):
        Assembler(Settings()).feed_batch(BATCH_HEADER.pack(1, ROUTED, 2**62) + made(0, LINK_CLOCK)[16:])


def test_a_tick_of_the_past_or_too_soon_says_nothing():
    """The lanes' time never goes back, and a source may tick as often as it likes."""
    lined = Lined(2)
    lined.send([(START_NS, frame(Tcp(flags=SYN)))])
    records = [ring.stats().records for ring in lined.rings]
    for ts_ns in (START_NS - 10**9, 0, -1, START_NS, START_NS + 1):
        lined.tick(ts_ns)
    assert [ring.stats().records for ring in lined.rings] == records
    lined.tick(START_NS + 10**9)
    assert [ring.stats().records for ring in lined.rings] == [count + 1 for count in records]


def test_the_lane_and_the_worker_of_a_flow_are_chosen_independently():
    """Both come from the flow's hash: were they tied, some workers of a lane would get nothing."""
    rng = Random(3)
    for lanes in (2, 3, 4, 8):
        for workers in (2, 3, 4):
            seen: dict[tuple[int, int], int] = {}
            for _ in range(6000):
                hashed = rng.getrandbits(64)
                key = lane_of(hashed, lanes), (hashed >> 32) % workers  # as RingSink chooses
                seen[key] = seen.get(key, 0) + 1
            fair = 6000 / lanes / workers
            assert len(seen) == lanes * workers
            assert all(0.6 * fair < count < 1.4 * fair for count in seen.values())


def _count_in_child(route: FlowRoute) -> None:
    assert (route.settings.ports, route.settings.memory) == ((81,), 5 << 20)
    route.page.add("refused_not_ip", 3)


def test_a_route_travels_to_a_child_by_its_settings():
    """The child routes with what was configured, and the supervisor reads what it counts."""
    route = FlowRoute(Settings(ports=(81,), memory=5 << 20), 3)
    child = multiprocessing.get_context("spawn").Process(target=_count_in_child, args=(route,))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert isinstance(route.page, Counters)
    assert route.page["refused_not_ip"] == 3


def made(size: int, link: int = LINK_MADE) -> bytes:
    """Lay out a record of a lane with one entry that is not a frame."""
    return BATCH_HEADER.pack(1, ROUTED, 0) + FRAME_ENTRY.pack(START_NS, 0, size, 0, link, 0) + bytes(size)


@pytest.mark.parametrize("size", [0, 10, 200])
def test_a_decoded_segment_that_cannot_be_is_refused(size):
    """Its length is said twice: nothing is read outside of the record."""
    with pytest.raises(ValueError, match="points outside"):
        Assembler(Settings()).feed_batch(made(size))


@pytest.mark.parametrize("link", [LINK_CLOCK, LINK_SHIFT])
def test_a_clock_entry_is_no_frame(link):
    """It ends no flow's books: nothing was captured there."""
    assembler = Assembler(Settings())
    assembler.feed_batch(made(0, link))
    assembler.finish()
    assert not any(assembler.page.as_dict().values())


def test_no_lane_at_all_is_refused():
    """A hash modulo nothing is a crash."""
    with pytest.raises(ValueError, match="at least one lane"):
        FlowRoute(Settings(), 0)
