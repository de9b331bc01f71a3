"""Decoding a frame: each link type and each header before TCP; everything else is refused with its reason."""

import packets
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st

from assemble.decode import decode
from capture.errors import MalformedTraffic

TCP = packets.Tcp(sport=1234, dport=80, seq=7, ack=9, data=b"hello")
TCP6 = packets.Tcp("2001:db8::1", 1234, "2001:db8::2", 80, 7, 9, packets.ACK, b"hello")
LINK_LOOP, LINK_IPV4, LINK_IPV6 = 108, 228, 229
LINKS = [*packets.LINKS, LINK_LOOP, LINK_IPV4, LINK_IPV6]


def data_of(packet: bytes) -> bytes:
    """Give the payload that is decoded from an IP packet on Ethernet."""
    payload: bytes = decode(packets.ethernet(packet))["payload"]
    return payload


def refusal(frame: bytes, link: int = 1) -> str:
    """Give the reason why a frame is refused."""
    with pytest.raises(MalformedTraffic) as caught:
        decode(frame, link)
    return str(caught.value)


@pytest.mark.parametrize("tcp", [TCP, TCP6], ids=["v4", "v6"])
@pytest.mark.parametrize(
    ("link", "build"),
    [*packets.LINKS.items(), (LINK_LOOP, packets.null), (LINK_IPV4, packets.raw), (LINK_IPV6, packets.raw)],
)
def test_a_segment_is_read_from_every_link_type(link, build, tcp):
    """Whoever captures on `any`, on a loopback or in a container gets another link header."""
    got = decode(build(packets.ip(tcp)), link)
    assert (got["sport"], got["dport"], got["seq"], got["ack"], got["flags"]) == (1234, 80, 7, 9, packets.ACK)
    assert (got["payload"], got["cut"], len(got["src"])) == (b"hello", 0, 4 if tcp is TCP else 16)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("family", [2, 10, 24, 28, 30])
def test_a_bsd_loopback_header_of_any_system_is_read(order, family):
    """The number of the IPv6 family and its byte order are those of the machine that captured."""
    assert decode(packets.null(packets.ip(TCP6), family=family, order=order), 0)["payload"] == b"hello"


@pytest.mark.parametrize("tag", [packets.VLAN_8021Q, packets.VLAN_8021AD, 0x9100], ids=hex)
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_vlan_tags_are_stepped_over(tag, depth):
    """Mirror ports deliver tagged frames, often with a tag more than the network has."""
    frame = packets.ethernet(packets.ip(TCP), vlans=[(tag, 5)] * depth)
    assert decode(frame)["payload"] == b"hello"
    assert refusal(frame[: 12 + 4 * depth])


EXTENSIONS = {
    "hop by hop": [packets.hop_by_hop()],
    "routing": [packets.routing()],
    "destination": [packets.destination(12)],
    "authentication": [packets.authentication()],
    "atomic fragment": [packets.fragment6()],
    "many": [packets.hop_by_hop(), packets.routing(2), packets.destination(), packets.authentication(4)],
}


@pytest.mark.parametrize("extensions", EXTENSIONS.values(), ids=EXTENSIONS)
def test_ipv6_extension_headers_are_stepped_over(extensions):
    """Each counts its length in units of its own."""
    packet = packets.ipv6(TCP6, extensions=extensions)
    assert data_of(packet) == b"hello"
    assert "IP header" in refusal(packets.ethernet(packet[:44], pad=False))


def test_header_options_are_stepped_over():
    """Timestamps are on nearly every segment."""
    tcp = packets.Tcp(data=b"hello", options=b"\1\1\x08\x0a" + bytes(8))
    assert data_of(packets.ipv4(tcp, options=b"\x07\x04\x04\x00")) == b"hello"


@pytest.mark.parametrize(
    "packet",
    [
        packets.ipv4(TCP, more_fragments=True),
        packets.ipv4(TCP, fragment=8),
        packets.ipv6(TCP6, extensions=[packets.fragment6(more=True)]),
        packets.ipv6(TCP6, extensions=[packets.fragment6(offset=8)]),
    ],
    ids=["v4 first", "v4 last", "v6 first", "v6 last"],
)
def test_a_fragment_is_refused_as_such(packet):
    """What lies in the middle of a datagram must not be read as a TCP header."""
    assert "fragment" in refusal(packets.ethernet(packet))


@pytest.mark.parametrize(
    "packet", [packets.ipv4(TCP, total_length=0), packets.ipv6(TCP6, payload_length=0)], ids=["v4", "v6"]
)
def test_a_length_of_zero_means_all_there_is(packet):
    """Segmentation offload hands over frames whose length did not fit."""
    assert decode(packets.ethernet(packet, pad=False))["payload"] == b"hello"


def test_link_padding_is_not_data_and_a_cut_capture_is_told():
    """Short frames are padded to 60 bytes; a snap length leaves bytes out, which are a hole and not an end."""
    bare = packets.Tcp(flags=packets.ACK)
    assert data_of(packets.ip(bare)) == b""
    got = decode(packets.frame(TCP)[:56])
    assert (got["payload"], got["cut"]) == (b"he", 3)


BAD = {
    "empty": (b"", "link"),
    "cut in the link header": (packets.frame(TCP)[:13], "link"),
    "too many tags": (packets.ethernet(packets.ip(TCP), vlans=[(0x8100, 1)] * 9), "link"),
    "ARP": (packets.ethernet(bytes(28), ethertype=0x0806), "neither"),
    "IP version 5": (packets.ethernet(b"\x55" + packets.ip(TCP)[1:], ethertype=0x0800), "neither"),
    "UDP": (packets.ethernet(packets.ipv4(TCP, protocol=17)), "not TCP"),
    "ESP": (packets.ethernet(packets.ipv6(TCP6, next_header=50)), "not TCP"),
    "IP header of 4 words": (packets.ethernet(b"\x44" + packets.ip(TCP)[1:]), "IP header"),
    "IP header beyond the frame": (packets.ethernet(b"\x4f" + packets.ip(TCP)[1:40], pad=False), "IP header"),
    "IP length below its header": (packets.ethernet(packets.ipv4(TCP, total_length=19)), "IP header"),
    "IP length within TCP header": (packets.ethernet(packets.ipv4(TCP, total_length=39)), "TCP header"),
    "TCP header of 4 words": (packets.ethernet(packets.ipv4(TCP, payload=bytes(12) + b"\x40" + bytes(30))), "TCP"),
    "TCP header beyond": (packets.ethernet(packets.ipv4(TCP, payload=bytes(12) + b"\xf0" + bytes(30))), "TCP"),
}


@pytest.mark.parametrize(("frame", "reason"), BAD.values(), ids=BAD)
def test_what_cannot_be_read_is_refused_with_its_reason(frame, reason):
    """The ledger's row is the only answer to `where are my packets`."""
    assert reason in refusal(frame)


def test_an_unknown_link_type_is_refused():
    """Guessing would read rubbish as addresses."""
    assert "link type" in refusal(packets.frame(TCP), 147)


@given(data=st.data(), link=st.sampled_from([*LINKS, 147]))
def test_any_bytes_are_decoded_or_refused(data, link):
    """Nothing in a frame can make decode read outside it, or end the process."""
    whole = packets.ip(data.draw(st.sampled_from([TCP, TCP6])))
    frame = bytearray(packets.LINKS.get(link, packets.raw)(whole))
    for _ in range(data.draw(st.integers(0, 6))):
        frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    frame = data.draw(st.one_of(st.just(bytes(frame)), st.binary(max_size=90)))
    frame = frame[: data.draw(st.integers(0, len(frame)))]
    try:
        got = decode(frame, link)
    except MalformedTraffic:
        got = None
    try:
        wanted = reference.decode(0, 0, link, frame)
    except reference.Refused:
        wanted = None
    if link in packets.LINKS and link != packets.LINK_NULL:  # whose family number only the reference looks at
        assert (got is None) == (wanted is None)
    if got and wanted:
        fields = (got["sport"], got["dport"], got["seq"], got["payload"])
        assert fields == (wanted.sport, wanted.dport, wanted.seq, wanted.data)


@pytest.mark.parametrize("tcp", [TCP, TCP6, packets.Tcp(data=b"odd")], ids=["v4", "v6", "odd size"])
def test_wrong_checksums_are_refused_when_asked(tcp):
    """A bit that flipped on the way: its receiver drops the segment and gets it again."""
    frame = packets.ethernet(packets.ip(tcp), pad=False)
    assert decode(frame, checksums=True)["payload"] == tcp.data
    damaged = frame[:-1] + bytes([frame[-1] ^ 1])
    assert decode(damaged)["payload"] != tcp.data
    with pytest.raises(MalformedTraffic, match="checksum"):
        decode(damaged, checksums=True)


def test_a_wrong_checksum_of_an_ip_header_is_refused_in_a_tunnel_too():
    """Both headers have one."""
    inner = bytearray(packets.ipv4(TCP))
    inner[8] ^= 1  # the time to live
    for packet in (bytes(inner), packets.ipv4(TCP, protocol=4, payload=bytes(inner))):
        assert decode(packets.ethernet(packet))["payload"] == b"hello"
        with pytest.raises(MalformedTraffic, match="checksum"):
            decode(packets.ethernet(packet), checksums=True)


FOR_LATER = packets.tcp_header(packets.Tcp("2001:db8::1", 1234, "2001:db8::99", data=b"hello"))
UNVERIFIED = {
    "cut by the snap length": packets.frame(TCP)[:56],
    "segmentation offload": packets.ethernet(packets.ipv4(TCP, total_length=0), pad=False)[:-1] + b"?",
    "a route with segments left": packets.ethernet(
        packets.ipv6(TCP6, extensions=[(43, bytes([2, 4, 1, 0, 0, 0, 0]) + bytes(16))], payload=FOR_LATER)
    ),
    "a home address": packets.ethernet(packets.ipv6(TCP6, extensions=[packets.destination(20)], payload=FOR_LATER)),
}


@pytest.mark.parametrize("frame", UNVERIFIED.values(), ids=UNVERIFIED)
def test_a_checksum_that_cannot_be_verified_is_not_held_against_a_segment(frame):
    """Its bytes, its length or its final addresses are not there to sum up."""
    assert decode(frame, checksums=True)["payload"][:2] == b"he"


def test_a_jumbo_payload_option_is_the_length():
    """Linux sends segments of more than 64 KiB to itself; what follows them in the frame is not data."""
    big = packets.Tcp("2001:db8::1", 1234, "2001:db8::2", data=bytes(70_000))
    size = 8 + len(packets.tcp_header(big))
    jumbo = (0, bytes([0, 0xC2, 4]) + size.to_bytes(4, "big"))
    frame = packets.ethernet(packets.ipv6(big, extensions=[jumbo], payload_length=0) + b"padding")
    got = decode(frame, checksums=True)
    assert (got["payload"], got["cut"]) == (big.data, 0)
    assert decode(frame[:60_000])["cut"] == len(frame) - len(b"padding") - 60_000
