"""Tunnels: opened where they are named, closed where they are not, refused where they are broken."""

import struct

import packets as p
import packets_tunnels as t
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from talks import CLIENT, SERVER, Talk

import assemble
from assemble.decode import decode
from assemble.settings import TUNNELS
from capture.errors import MalformedTraffic

V4 = p.Tcp(sport=1234, data=b"hello")
V6 = p.Tcp("2001:db8::1", 1234, "2001:db8::2", data=b"hello")


def refusal(frame: bytes, **settings: object) -> str:
    """Give the reason why a frame is refused."""
    with pytest.raises(MalformedTraffic) as caught:
        decode(frame, **settings)
    return str(caught.value)


@pytest.mark.parametrize("v6", [False, True], ids=["over v4", "over v6"])
@pytest.mark.parametrize("tcp", [V4, V6], ids=["v4", "v6"])
@pytest.mark.parametrize("name", t.TUNNELS)
def test_a_segment_is_read_in_every_tunnel_that_is_named(name, tcp, v6):
    """By its name alone, and not by that of any other."""
    frame = p.ethernet(t.outer(*t.TUNNELS[name](p.ip(tcp)), v6=v6))
    key = name.split()[0]
    got = decode(frame, decapsulate=(key,))
    assert (got["sport"], got["payload"], len(got["src"])) == (1234, b"hello", 4 if tcp is V4 else 16)
    assert "not TCP" in refusal(frame, decapsulate=tuple(set(TUNNELS) - {key}))


@pytest.mark.parametrize("name", t.TUNNELS)
def test_a_tunnel_that_is_cut_short_is_refused(name):
    """Wherever its length has cut it."""
    protocol, payload = t.TUNNELS[name](p.ip(V4))
    for size in range(len(payload) - len(p.ip(V4))):
        assert refusal(p.ethernet(t.outer(protocol, payload[:size]), pad=False))


def test_tunnels_in_tunnels_are_opened_to_a_limit():
    """An attack is as deep as a frame is long."""
    packet = p.ip(V4)
    for _ in range(8):
        packet = t.outer(4, packet)
    assert decode(p.ethernet(packet))["payload"] == b"hello"
    assert "tunnel" in refusal(p.ethernet(t.outer(4, packet)))


BAD = {
    "vxlan without its flag": (17, t.udp(4789, bytes(8) + t.framed(p.ip(V4))), "tunnel"),
    "geneve of version 1": (17, t.udp(6081, b"\x40\0\x65\x58" + bytes(4) + t.framed(p.ip(V4))), "tunnel"),
    "geneve of control": (17, t.udp(6081, b"\0\x80\x65\x58" + bytes(4) + t.framed(p.ip(V4))), "not TCP"),
    "gtpu of version 2": (17, t.udp(2152, b"\x50\xff\0\x40" + bytes(4) + p.ip(V4)), "tunnel"),
    "gtpu echo": (17, t.udp(2152, b"\x32\x01\0\x04" + bytes(8)), "not TCP"),
    "gtpu extension of no length": (17, t.udp(2152, b"\x34\xff\0\x40" + bytes(7) + b"\x85\0" + bytes(60)), "tunnel"),
    "gre of version 2": (47, b"\0\2\x08\0" + p.ip(V4), "tunnel"),
    "gre keepalive": (47, b"\0\0\0\0", "neither"),
    "pptp acknowledgement": (47, struct.pack("!HHHHI", 0x2081, 0x880B, 0, 7, 5), "not TCP"),
    "erspan of another version": (47, t.gre(bytes(8) + t.framed(p.ip(V4)), 0x88BE, sequence=True), "tunnel"),
    "ARP in vxlan": (17, t.udp(4789, b"\x08" + bytes(7) + t.ethernet_of(0x0806, bytes(28))), "neither"),
    "another port": (17, t.udp(53, bytes(40)), "not TCP"),
    "ESP": (50, bytes(40), "not TCP"),
}


@pytest.mark.parametrize(("protocol", "payload", "reason"), BAD.values(), ids=BAD)
def test_what_is_no_tunnel_or_a_broken_one_is_refused_with_its_reason(protocol, payload, reason):
    """`not TCP` is nobody's fault, a broken tunnel is worth a look."""
    assert reason in refusal(p.ethernet(t.outer(protocol, payload)))


@pytest.mark.parametrize("flags", [0x4000, 0xC000, 0x6000, 0x7000], ids=hex)
def test_routes_in_gre_are_stepped_over(flags):
    """RFC 1701; checksum and offset are there if either is."""
    head = struct.pack("!HH", flags, 0x0800) + bytes(4) + bytes(4 * bin(flags & 0x3000).count("1"))
    routes = b"\x08\0\0\4" + bytes(4) + bytes(4)
    assert decode(p.ethernet(t.outer(47, head + routes + p.ip(V4))))["payload"] == b"hello"


@pytest.mark.parametrize("redirect", [b"", bytes(4)], ids=["version 1", "version 2"])
def test_wccp_is_read_with_its_redirect_header_and_without(redirect):
    """How a router hands connections to a cache."""
    assert decode(p.ethernet(t.outer(47, t.gre(redirect + p.ip(V4), 0x883E))))["payload"] == b"hello"


def test_what_a_mirror_port_has_cut_off_is_a_known_hole():
    """ERSPAN may truncate: the outer packet is whole, the inner one is not."""
    protocol, payload = t.TUNNELS["erspan II"](p.ip(V4))
    got = decode(p.ethernet(t.outer(protocol, payload[:-3]), pad=False))
    assert (got["payload"], got["cut"]) == (b"he", 3)


IDS = {
    "vxlan": lambda n: (17, t.vxlan(p.ip(V4), vni=n)),
    "geneve": lambda n: (17, t.geneve(p.ip(V4), vni=n)),
    "gre key": lambda n: (47, t.gre(p.ip(V4), 0x0800, key=n)),
    "erspan session": lambda n: (47, t.erspan2(p.ip(V4), session=n)),
}


@pytest.mark.parametrize("build", IDS.values(), ids=IDS)
def test_connections_of_different_tunnels_have_different_realms_when_asked(build):
    """The tenants of a cloud all have 10.0.0.1."""
    frames = [p.ethernet(t.outer(*build(n))) for n in (7, 8)]
    assert [decode(frame)["realm"] for frame in frames] == [0, 0]
    assert [decode(frame, separate=("vlan",))["realm"] for frame in frames] == [0, 0]
    assert len({decode(frame, separate=("tunnel",))["realm"] for frame in frames} - {0}) == 2


@pytest.mark.parametrize("build", [t.gtpu, t.pptp], ids=["gtpu", "pptp"])
def test_ids_that_differ_by_direction_keep_nothing_apart(build):
    """Each side of GTP-U and PPTP chooses what the other one writes: a request would lose its response."""
    protocol, inner = (17, {"teid": 7}) if build is t.gtpu else (47, {"call": 7})
    assert decode(p.ethernet(t.outer(protocol, build(p.ip(V4), **inner))), separate=("tunnel",))["realm"] == 0


def test_the_same_connection_in_two_tunnels_is_two_connections_when_asked():
    """With ids of their own: mixed, one of them would be lost as a repetition."""
    talk = Talk().open().put(CLIENT, b"GET / HTTP/1.1\r\n\r\n").put(SERVER, b"HTTP/1.1 204 No\r\n\r\n").put(CLIENT)
    frames = [
        (ts_ns + n, p.ethernet(t.outer(17, t.udp(4789, struct.pack("!II", 8 << 24, n << 8) + frame))))
        for ts_ns, frame in talk.frames
        for n in (7, 8)
    ]
    for separate, number in (((), 2), (("tunnel",), 4)):
        stream = assemble.MessageStream(separate=separate)
        got = stream.feed(frames) + stream.finish()
        assert len(got) == number
        assert len({m.id for m in got}) == number // 2
        assert all(m.complete for m in got)


def test_a_tunnel_in_fragments_is_opened():
    """A tunnel makes full packets longer than the network allows: fragments are its daily bread."""
    tcp = p.Tcp(sport=1234, data=bytes(range(100)))
    payload = t.vxlan(p.ip(tcp))
    first = p.ethernet(t.outer(17, payload[:80], more_fragments=True, ident=5))
    last = p.ethernet(t.outer(17, payload[80:], fragment=80, ident=5))
    stream = assemble.MessageStream()
    stream.feed([(1, last), (2, first)])
    stream.finish()
    counts = stream.counters
    assert (counts["frames_decoded"], counts["frames_joined"], counts["fragments_held"]) == (1, 1, 0)
    assert counts["bytes_payload"] == 100


def test_fragments_that_no_tunnel_asks_for_are_not_held():
    """DNSSEC's answers would fill the memory for nothing."""
    frame = p.ethernet(t.outer(17, bytes(80), more_fragments=True))
    assert "not TCP" in refusal(frame, decapsulate=("ipip",))
    assert "held" in refusal(frame)


@given(data=st.data())
def test_damaged_tunnels_are_read_as_the_reference_reads_them_or_refused_by_both(data):
    """Nested as they come, with some bytes of the headers changed."""
    packet = p.ip(data.draw(st.sampled_from([V4, V6])))
    for name in data.draw(st.lists(st.sampled_from(sorted(t.TUNNELS)), max_size=3)):
        packet = t.outer(*t.TUNNELS[name](packet), v6=data.draw(st.booleans()))
    links = [(1, build) for build in t.AROUND.values()] + list(t.LINKS.values()) + list(p.LINKS.items())
    link, build = data.draw(st.sampled_from(links))
    frame = bytearray(build(packet))
    for _ in range(data.draw(st.integers(0, 4))):
        frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    whole = bytes(frame[: data.draw(st.integers(0, len(frame)) | st.just(len(frame)))])
    try:
        got = decode(whole, link)
    except MalformedTraffic:
        got = None
    try:
        wanted = reference.decode(0, 0, link, whole)
    except reference.Refused:
        wanted = None
    assert (got is None) == (wanted is None)
    if got and wanted:
        fields = (got["sport"], got["dport"], got["seq"], got["payload"])
        assert fields == (wanted.sport, wanted.dport, wanted.seq, wanted.data)
