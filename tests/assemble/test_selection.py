"""What is taken: exactly the connections that the settings ask for, both directions of each; and the books close."""

from collections.abc import Iterable, Sequence
from ipaddress import ip_address, ip_network
from itertools import pairwise
from random import Random
from typing import Any

import packets
import pytest
from hypothesis import given
from hypothesis import strategies as st
from packets import SYN, Tcp
from packets_files import Frame
from splitting import split
from strategies import pick
from talks import CLIENT, SERVER, START_NS, Assembled, Talk, batches, later
from test_envelopes import in_fragments, ip_packet

from assemble import Settings
from assemble.assembler import Assembler
from assemble.message import Message, read_message
from assemble.sink import RingSink
from capture.ring import Consumer, Ring
from pipeline.ledger import Tally, build

GET = b"GET / HTTP/1.1\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HARDLY_ANY = 1e-9
"""A sample in percent that no connection of these tests is in."""


class Tap:
    """An assembler whose counters are held against the ledger whenever messages are taken."""

    def __init__(self, **settings: Any) -> None:
        self.assembler = Assembler(Settings(**settings))
        self.frames = 0
        self.messages: list[Message] = []

    def feed(self, frames: Sequence[Frame], batch: int = 7) -> list[Message]:
        """Take frames; return the messages that they complete."""
        self.frames += len(frames)
        for record in batches(frames, batch):
            self.assembler.feed_batch(record)
        return self._take()

    def finish(self) -> Assembled:
        """End every flow; return all messages and the counters."""
        self.assembler.finish()
        self._take()
        counters = self.counters
        assert {row.name: row.right for row in self.ledger.equations if not row.closes} == {}
        assert counters["segments_data"] + counters["segments_control"] == counters["frames_decoded"]
        assert counters["flows_now"] == counters["bytes_held"] == 0
        assert counters["bytes_in_messages"] == sum(len(m.payload) for m in self.messages)
        return Assembled(self.messages, counters)

    @property
    def counters(self) -> dict[str, int]:
        """The counters so far."""
        return self.assembler.page.as_dict()

    @property
    def ledger(self) -> Any:
        """The ledger of a run in which this assembler was given every frame."""
        return build(Tally(capture={"frames_captured": self.frames}, assemble=self.counters))

    def _take(self) -> list[Message]:
        taken = self.assembler.sink.take()
        self.messages += taken
        return taken


def taken(frames: Sequence[Frame], **settings: Any) -> Assembled:
    """Assemble frames to the end."""
    tap = Tap(**settings)
    tap.feed(frames)
    return tap.finish()


def exchange(**ends: Any) -> Talk:
    """Tell a whole connection with one exchange: eight frames, two of them with data."""
    return Talk(**ends).open().put(CLIENT, GET).put(SERVER, OK).close().put(CLIENT)


def syn(**ends: Any) -> Frame:
    """Give the first frame of a connection."""
    return START_NS, packets.frame(Tcp(flags=SYN, **ends))


def ports_in(sample: float, ports: Iterable[int], **ends: Any) -> set[int]:
    """Return the client ports whose connections are in a sample."""
    tap, found = Tap(sample=sample), set()
    for port in ports:
        before = tap.counters["frames_decoded"]
        tap.feed([syn(sport=port, **ends)])
        if tap.counters["frames_decoded"] > before:
            found.add(port)
    tap.finish()
    return found


def edges(base: str, lengths: Iterable[int]) -> list[tuple[str, str, bool]]:
    """Give networks around an address, each with its first and last address and those just outside."""
    out = []
    for bits in lengths:
        network = ip_network((base, bits), strict=False)
        first, last = int(network.network_address), int(network.broadcast_address)
        for number in (first - 1, first, last, last + 1):
            if 0 <= number < 1 << network.max_prefixlen:
                address = type(network.network_address)(number)
                out.append((str(network), str(address), address in network))
    return out


V4_EDGES = edges("10.85.170.204", (0, 1, 7, 8, 9, 15, 16, 17, 23, 24, 25, 30, 31, 32))
V6_EDGES = edges("2001:db8:aaaa:5555:cccc:3333:f0f0:f0f", (0, 1, 8, 31, 32, 33, 63, 64, 65, 120, 127, 128))


@pytest.mark.parametrize(("network", "address", "inside"), [*V4_EDGES, *V6_EDGES])
def test_a_network_ends_where_its_prefix_says(network, address, inside):
    """One bit too few mirrors a neighbour's traffic, one too many loses one's own."""
    far = "198.51.100.9" if ip_address(address).version == 4 else "fd00::9"
    inside = inside or ip_address(far) in ip_network(network)
    for ends in ({"src": address, "dst": far}, {"src": far, "dst": address}):
        counters = taken([syn(**ends)], hosts=(network,)).counters
        assert (counters["frames_decoded"], counters["refused_host"]) == ((1, 0) if inside else (0, 1))


@pytest.mark.parametrize(
    ("hosts", "wanted"),
    [
        (("192.0.2.1",), {4}),
        (("192.0.2.2",), {4}),
        (("2001:db8::/64",), {6}),
        (("0.0.0.0/0",), {4}),
        (("::/0",), {6}),
        (("c000:200::/32",), set()),  # the bits of 192.0.2.0
        (("32.1.13.184",), set()),  # the first bits of 2001:db8::
        (("203.0.113.0/24", "192.0.2.1", "2001:db8::1/128"), {4, 6}),
        (("203.0.113.0/24", "2001:db9::/32"), set()),
    ],
    ids=str,
)
def test_a_connection_is_taken_if_one_of_its_ends_is_among_the_hosts(hosts, wanted):
    """Either end counts, each family for itself; of a connection that is taken nothing is missing."""
    four, six = exchange(), exchange(client="2001:db8::1", server="2001:db8::2")
    got = taken([*four.frames, *six.frames], hosts=hosts)
    assert [(m.src.version, m.kind) for m in got.messages] == [
        (version, kind) for version in (4, 6) if version in wanted for kind in ("request", "response")
    ]
    assert got.counters["refused_host"] == 8 * (2 - len(wanted))


@pytest.mark.parametrize(
    ("exclude", "own"),
    [
        ((("192.0.2.2", 80),), True),
        ((("192.0.2.1", 40000),), True),
        ((("203.0.113.1", 9), ("192.0.2.2", 80)), True),
        ((("192.0.2.2", 0),), True),
        ((("192.0.2.0/24", 80),), True),
        ((("192.0.2.2", 81),), False),  # another service of the host that outputs go to
        ((("192.0.2.2", 40000),), False),  # the port of the other end
        ((("192.0.2.1", 80),), False),
        ((("192.0.2.3", 80),), False),
    ],
    ids=str,
)
def test_what_the_run_sends_itself_is_left_out_and_nothing_else_of_that_host(exclude, own):
    """A run that mirrors its own output feeds itself for ever; one that leaves out a whole host misses traffic."""
    got = taken(exchange().frames, exclude=exclude)
    assert got.counters["refused_own"] == (8 if own else 0)
    assert len(got.messages) == (0 if own else 2)


def test_an_ipv6_output_is_left_out_too():
    """The same loop, by other addresses."""
    frames = exchange(client="2001:db8::1", server="2001:db8::2").frames
    assert taken(frames, exclude=(("2001:db8::2", 80),)).counters["refused_own"] == 8
    assert taken(frames, exclude=(("2001:db8::2", 81), ("32.1.13.184", 80))).counters["refused_own"] == 0


@pytest.mark.parametrize("percent", [0.5, 1, 10, 33.3, 50, 90, 99])
@pytest.mark.parametrize("family", [4, 6])
def test_the_share_that_is_taken_is_the_percentage(percent, family):
    """Who plans for a tenth of the load and gets a quarter has an outage."""
    rng, count = Random(family), 20_000
    width = 32 if family == 4 else 128
    tap = Tap(sample=percent)
    kind = type(ip_address("::" if family == 6 else "0.0.0.0"))
    ends = [[str(kind(rng.getrandbits(width))) for _ in range(2)] for _ in range(count)]
    frames = [syn(src=src, dst=dst, sport=rng.randrange(1, 1 << 16), dport=443) for src, dst in ends]
    tap.feed(frames, 500)
    got = tap.finish().counters
    share = got["frames_decoded"] / count
    wanted = percent / 100
    assert abs(share - wanted) < 4 * (wanted * (1 - wanted) / count) ** 0.5
    assert got["frames_decoded"] + got["refused_sampled"] == count


def test_connections_that_differ_in_one_port_alone_are_sampled_evenly_too():
    """One client behind a proxy is what most taps see: neighbouring ports must not share their fate."""
    ports = range(20_000, 28_000)
    chosen = ports_in(25, ports)
    for at in range(0, len(ports), 1000):
        assert 180 < sum(port in chosen for port in ports[at : at + 1000]) < 320
    assert 400 < sum(port in chosen and port + 1 in chosen for port in ports) < 600  # a quarter of a quarter


def test_a_smaller_sample_is_part_of_a_larger_one():
    """Who turns the share up keeps seeing the connections that he was looking at."""
    ports = range(30_000, 32_000)
    chosen = [ports_in(percent, ports) for percent in (HARDLY_ANY, 1, 5, 30, 80, 99.99, 100)]
    assert all(less <= more for less, more in pairwise(chosen))
    assert not chosen[0]
    assert len(chosen[1]) < len(chosen[2]) < len(chosen[3]) < len(chosen[4])
    assert chosen[-1] == set(ports)


def test_the_sample_is_the_same_in_every_run_and_place():
    """Two taps on the way of one connection, or yesterday's and today's, have to take the same ones."""
    ports = range(40_000, 40_100)
    assert ports_in(10, ports) == {40042, 40049, 40071, 40087}
    assert ports_in(10, ports, src="2001:db8::1", dst="2001:db8::2") == {
        40001, 40010, 40016, 40023, 40036, 40050, 40072, 40084,
    }  # fmt: skip


@pytest.mark.parametrize("ends", [{}, {"client": "2001:db8::1", "server": "2001:db8::2"}], ids=["IPv4", "IPv6"])
def test_a_connection_is_sampled_whole(ends):
    """A response without its request is no sample of anything."""
    talks = [exchange(cport=port, **ends) for port in range(40_000, 40_400)]
    got = taken([frame for step in zip(*(talk.frames for talk in talks), strict=True) for frame in step], sample=40)
    requests = {m.sport for m in got.requests}
    assert 100 < len(requests) < 220
    assert [m.dport for m in got.responses] == [m.sport for m in got.requests]
    assert all(m.complete for m in got.messages)
    assert got.counters["frames_decoded"] == 8 * len(requests)
    assert got.counters["refused_sampled"] == 8 * (400 - len(requests))


def test_a_sample_is_spread_over_lanes_and_workers_like_everything_else():
    """All three are chosen by one hash: were they tied, a sample of a quarter would keep a quarter of them busy."""
    talks = [exchange(cport=port) for port in range(20_000, 22_000)]
    frames = [frame for talk in talks for frame in talk.frames]
    lanes = [len(lane) for lane in split(frames, 4, sample=25).lanes]
    rings = [Ring.create(1 << 20) for _ in range(4)]
    assembler = Assembler(Settings(sample=25), RingSink(rings))
    for record in batches(frames):
        assembler.feed_batch(record)
    workers = [ring.stats().records for ring in rings]
    for counts in (lanes, workers):
        assert 800 < sum(counts) < 1200
        assert min(counts) > sum(counts) / 4 * 0.7
    consumer = Consumer(rings[0])
    record = consumer.read(consumer.tail)
    assert record is not None
    assert read_message(record[1]).complete


WHO = [  # whose the hosts are, the direction, whether a connection from client to server is taken
    ("server", "inbound", True), ("server", "outbound", False),
    ("client", "inbound", False), ("client", "outbound", True),
    ("both", "inbound", True), ("both", "outbound", True),
    ("neither", "inbound", True), ("neither", "outbound", True),
    ("server", "both", True), ("client", "both", True),
]  # fmt: skip
OURS = {
    "server": ("192.0.2.2", "2001:db8::2"),
    "client": ("192.0.2.1/32", "2001:db8::/127"),
    "both": ("192.0.2.0/24", "2001:db8::/64"),
    "neither": ("203.0.113.0/24", "2001:db9::/64"),
}
FIRST_SEEN = {"SYN": 0, "SYN-ACK": 1, "request": 3, "response": 4}


@pytest.mark.parametrize("first", FIRST_SEEN)
@pytest.mark.parametrize(("ours", "direction", "wanted"), WHO)
@pytest.mark.parametrize("family", [4, 6])
def test_direction_is_about_who_opened_the_connection(ours, direction, wanted, first, family):
    """Both directions of what others ask of us, or of what we ask of others, wherever the tap joins in."""
    ends = {"client": "2001:db8::1", "server": "2001:db8::2"} if family == 6 else {}
    frames = exchange(**ends).frames[FIRST_SEEN[first] :]
    got = taken(frames, direction=direction, ours=OURS[ours])
    everything = taken(frames)
    if wanted:
        assert got == everything
        return
    assert got.messages == []
    counters = got.counters
    assert counters["frames_decoded"] == len(frames)
    assert counters["segments_left_out"] == counters["segments_data"] == everything.counters["segments_data"] > 0
    assert counters["skipped_left_out"] == counters["bytes_payload"] == everything.counters["bytes_payload"]


@pytest.mark.parametrize(
    ("ports", "cport", "sport", "late"),
    [
        ((), 40000, 80, True),
        ((), 1024, 50000, False),  # a guess that cannot be right: the lower port is taken for the server's
        ((50000,), 1024, 50000, True),
        ((1024,), 1024, 50000, False),
        ((1024, 50000), 1024, 50000, False),
        ((1024, 50000), 50000, 1024, True),
    ],
)
@pytest.mark.parametrize("first", [CLIENT, SERVER])
def test_without_a_syn_the_watched_port_is_the_servers_or_else_the_lower_one(ports, cport, sport, late, first):
    """A run that starts later than the connections it watches knows no more than the ports; a SYN settles it."""
    settings: dict[str, Any] = {"ports": ports, "direction": "inbound", "ours": ("192.0.2.2",)}
    whole = exchange(cport=cport, sport=sport)
    assert len(taken(whole.frames, **settings).messages) == 2
    frames = whole.frames[3 if first is CLIENT else 4 :]
    assert (taken(frames, **settings).counters["segments_left_out"] == 0) == late
    other = {**settings, "direction": "outbound"}
    assert (taken(frames, **other).counters["segments_left_out"] == 0) != late


def test_a_syn_puts_a_wrong_guess_right():
    """Ports are used again within the time that a flow is kept: a guess must not outlive what it was about."""
    settings: dict[str, Any] = {"direction": "inbound", "ours": ("192.0.2.2",)}
    old = Talk(cport=1024, sport=50000).put(CLIENT, GET).put(SERVER, OK)
    new = exchange(cport=1024, sport=50000, client_isn=700_000, server_isn=800_000, now_ns=old.now_ns)
    got = taken([*old.frames, *new.frames], **settings)
    assert [(m.kind, m.complete) for m in got.messages] == [("request", True), ("response", True)]
    assert got.counters["skipped_left_out"] == len(GET + OK)


def test_what_is_left_out_is_forgotten_when_it_ends():
    """The connections that nobody wants may be most of a machine's: kept until idle they would evict the others."""
    tap = Tap(direction="outbound", ours=("192.0.2.2",))
    talks = [exchange(cport=port) for port in range(20_000, 20_100)]
    talks += [Talk(cport=port).open().put(SERVER, flags=packets.RST) for port in range(21_000, 21_100)]
    for talk in talks:
        tap.feed(talk.frames)
    assert tap.counters["flows_now"] == 200
    tap.feed([later(3, talks[-1])])
    assert (tap.counters["flows_now"], tap.counters["flows_idle"]) == (0, 0)
    assert tap.finish().messages == []


def test_half_a_close_does_not_end_what_is_left_out():
    """The answer to a client that closes early would be taken for a connection of its own, with a guess about it."""
    talk = Talk(cport=1024, sport=50000).open().put(CLIENT, GET).put(CLIENT, flags=packets.FIN)
    talk.sent[CLIENT] += 1
    talk.wait(10).put(SERVER, OK).wait(10).put(SERVER, OK)
    got = taken(talk.frames, direction="outbound", ours=("192.0.2.2",))
    assert got.messages == []
    assert got.counters["skipped_left_out"] == got.counters["bytes_payload"] == len(GET + OK + OK)


@pytest.mark.parametrize(
    ("settings", "counter"),
    [
        ({"ports": (81,)}, "refused_port"),
        ({"hosts": ("203.0.113.1",)}, "refused_host"),
        ({"exclude": (("192.0.2.2", 80),)}, "refused_own"),
        ({"sample": HARDLY_ANY}, "refused_sampled"),
        ({"direction": "outbound", "ours": ("192.0.2.2",)}, None),
    ],
    ids=str,
)
def test_a_datagram_of_several_fragments_is_decided_upon_once(settings, counter):
    """Each of its frames has its row: all but one are joined, the last is what the datagram is."""
    request = Talk().put(CLIENT, b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 300 + b"\r\n").frames[0][1]
    pieces = in_fragments(ip_packet(request), Random(1), 7)
    got = taken([(START_NS, packets.ethernet(piece)) for piece in pieces], **settings)
    assert len(pieces) > 1
    assert got.counters["frames_joined"] == len(pieces) - 1
    assert got.counters[counter or "segments_left_out"] == 1
    assert got.messages == []


ADDRESSES = ("10.0.0.1", "10.0.0.2", "10.0.1.1", "192.0.2.7", "2001:db8::1", "2001:db8::2", "2001:db8:1::1")
NETWORKS = (*ADDRESSES, "10.0.0.0/24", "10.0.0.0/15", "0.0.0.0/0", "2001:db8::/127", "2001:db8::/32", "::/0")
PORTS = (80, 443, 8080, 40000)
networks = st.lists(pick(*NETWORKS), max_size=2).map(tuple)


@st.composite
def connections(draw: st.DrawFn) -> list[Talk]:
    """Give whole connections between few addresses and ports, one after the other."""
    talks: list[Talk] = []
    for _ in range(draw(st.integers(1, 6))):
        client = draw(pick(*ADDRESSES))
        server = draw(pick(*[each for each in ADDRESSES if (":" in each) == (":" in client)]))
        cport, sport = draw(pick(*PORTS)), draw(pick(*PORTS))
        isn, now_ns = 1000 + 100_000 * len(talks), START_NS + 10**9 * len(talks)
        if (client, cport) != (server, sport):
            ends = {"client": client, "server": server, "cport": cport, "sport": sport}
            talks.append(exchange(**ends, client_isn=isn, server_isn=isn + 50_000, now_ns=now_ns))
    return talks


def asked_for(talk: Talk, settings: dict[str, Any]) -> bool:
    """Say in the plainest way whether a connection is asked for, `sample` aside."""

    def among(address: str, nets: tuple[str, ...]) -> bool:
        return any(ip_address(address) in ip_network(net) for net in nets)

    ends = [(talk.client, talk.cport), (talk.server, talk.sport)]
    from_ours, to_ours = (among(address, settings["ours"]) for address, _ in ends)
    left_out = {"both": False, "inbound": from_ours and not to_ours, "outbound": to_ours and not from_ours}
    return (
        (not settings["ports"] or any(port in settings["ports"] for _, port in ends))
        and (not settings["hosts"] or any(among(address, settings["hosts"]) for address, _ in ends))
        and not any(end in ends for end in settings["exclude"])
        and not left_out[settings["direction"]]
    )


@given(
    talks=connections(),
    settings=st.fixed_dictionaries({
        "ports": st.lists(pick(*PORTS), max_size=2).map(tuple),
        "hosts": networks,
        "exclude": st.lists(st.tuples(pick(*ADDRESSES), pick(*PORTS)), max_size=2).map(tuple),
        "direction": pick("both", "inbound", "outbound"),
        "ours": networks,
    }),
    sample=pick(100.0, 100.0, 50.0),
)  # fmt: skip
def test_what_comes_out_is_what_was_asked_for(talks, settings, sample):
    """Everything in play at once: no setting hides what another one wants, and no frame is without its row."""
    got = taken([frame for talk in talks for frame in talk.frames], **settings, sample=sample)
    wanted = [(talk.cport, talk.sport, talk.client) for talk in talks if asked_for(talk, settings)]
    came = [(m.sport, m.dport, str(m.src)) for m in got.requests]
    assert [(m.dport, m.sport, str(m.dst)) for m in got.responses] == came
    assert came == wanted if sample == 100 else set(came) <= set(wanted)
    if sample == 100 and settings["direction"] == "both":
        assert got.counters["frames_decoded"] == 8 * len(wanted)


def test_a_connection_that_is_known_outlives_a_smaller_sample():
    """Turning the share down under load must not cut every message that is under way."""
    tap = Tap()
    old = Talk().open().put(CLIENT, GET).put(SERVER, OK[:20])
    assert len(tap.feed(old.frames)) == 1
    tap.assembler.select(Settings(sample=HARDLY_ANY))
    seen = len(old.frames)
    old.put(SERVER, OK[20:]).put(CLIENT, GET).put(SERVER, OK).close()
    new = exchange(cport=40001, now_ns=old.now_ns)
    got = tap.feed(old.frames[seen:] + new.frames)
    assert [(m.kind, m.complete) for m in got] == [
        ("response", True), ("request", True), ("response", True),
    ]  # fmt: skip
    assert tap.counters["refused_sampled"] == len(new.frames)
    again = exchange(client_isn=90_000, server_isn=95_000, now_ns=later(3, new)[0])
    assert tap.feed([later(3, new), *again.frames]) == []
    assert tap.finish().counters["refused_sampled"] == len(new.frames + again.frames)


def test_a_larger_sample_takes_more_at_once():
    """Connections last for hours: who turns the share up wants to see those that there are."""
    tap = Tap(sample=HARDLY_ANY)
    talk = Talk().open().put(CLIENT, GET).put(SERVER, OK)
    assert tap.feed(talk.frames) == []
    tap.assembler.select(Settings())
    seen = len(talk.frames)
    talk.put(CLIENT, GET).put(SERVER, OK)
    tap.feed(talk.frames[seen:])
    got = tap.finish()
    assert [(m.kind, m.complete) for m in got.messages] == [("request", True), ("response", True)]
    assert got.counters["refused_sampled"] == seen


@pytest.mark.parametrize(
    ("changed", "counter"),
    [
        ({"ports": (81,)}, "refused_port"),
        ({"hosts": ("203.0.113.1",)}, "refused_host"),
        ({"exclude": (("192.0.2.2", 80),)}, "refused_own"),
    ],
    ids=str,
)
def test_ports_hosts_and_exclusions_are_changed_for_every_later_frame(changed, counter):
    """An output that is added must not feed the run, whether its connection was there before or not."""
    tap = Tap()
    talk = Talk().open().put(CLIENT, GET).put(SERVER, OK)
    assert len(tap.feed(talk.frames)) == 2
    tap.assembler.select(Settings(**changed))
    seen = len(talk.frames)
    talk.put(CLIENT, GET).put(SERVER, OK)
    assert tap.feed(talk.frames[seen:]) == []
    assert tap.counters[counter] == 2
    tap.assembler.select(Settings())
    talk.put(CLIENT, GET).put(SERVER, OK)
    tap.feed(talk.frames[seen + 2 :])
    got = tap.finish()
    assert [(m.kind, m.complete, m.missing) for m in got.messages] == [
        (kind, True, 0) for _ in range(2) for kind in ("request", "response")
    ]
    assert got.counters[counter] == 2


def test_another_direction_is_for_connections_that_are_new():
    """What is under way has been decided upon; ports that are used again are a new connection, at once."""
    settings: dict[str, Any] = {"ours": ("192.0.2.2",)}
    tap = Tap(direction="outbound", **settings)
    old = Talk().open().put(CLIENT, GET)
    kept = Talk(client="192.0.2.2", server="192.0.2.1").open().put(CLIENT, GET)
    assert [str(m.src) for m in tap.feed(old.frames + kept.frames)] == ["192.0.2.2"]
    tap.assembler.select(Settings(direction="inbound", **settings))
    seen = len(old.frames)
    old.wait(1).put(SERVER, OK)
    kept.wait(1).put(SERVER, OK)
    assert [str(m.src) for m in tap.feed(old.frames[seen:] + kept.frames[seen:])] == ["192.0.2.1"]
    new = exchange(client_isn=90_000, server_isn=95_000, now_ns=old.now_ns)
    assert [m.kind for m in tap.feed(new.frames)] == ["request", "response"]
    assert tap.finish().counters["skipped_left_out"] == len(GET + OK)
