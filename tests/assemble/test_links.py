"""Link types: every one that opens is read to the segment; what cannot be its header is refused."""

import packets as p
import packets_tunnels as t
import pytest

from assemble.decode import decode
from capture.errors import MalformedTraffic
from capture.links import SUPPORTED

V4 = p.Tcp(sport=1234, data=b"hello")
V6 = p.Tcp("2001:db8::1", 1234, "2001:db8::2", data=b"hello")
RARE = {105, 119, 127, 163, 192}  # assemble/rare.py


@pytest.mark.parametrize("tcp", [V4, V6], ids=["v4", "v6"])
@pytest.mark.parametrize("name", t.LINKS)
def test_a_segment_is_read_behind_every_link_header(name, tcp):
    """A capture that opens must not be refused frame by frame."""
    link, build = t.LINKS[name]
    assert decode(build(p.ip(tcp)), link)["payload"] == b"hello"


def test_every_link_type_that_opens_has_a_test():
    """A number in the list of those that open, which decode does not know, would lose a whole file."""
    assert set(SUPPORTED) == {*p.LINKS, *(link for link, _ in t.LINKS.values()), *RARE, 108, 228, 229}


@pytest.mark.parametrize("name", t.LINKS)
def test_a_header_that_is_cut_short_is_refused(name):
    """Wherever the capture has cut it."""
    link, build = t.LINKS[name]
    packet = p.ip(V4)
    for size in range(len(build(packet)) - len(packet)):
        with pytest.raises(MalformedTraffic):
            decode(build(packet)[:size], link)


BAD = {
    "another family": (0, p.null(p.ip(V4), family=16), "neither"),
    "a log header of 8 bytes": (117, b"\x08" + bytes(80), "link"),
    "an attribute shorter than its head": (239, b"\x02\0\0\0\x03\0\x09\0" + p.ip(V4), "link"),
    "a frame relay address of one byte": (107, b"\x01\x01\x03\xcc" + p.ip(V4), "link"),
    "part of a frame": (274, b"\x55" * 7 + b"\xe6" + t.framed(p.ip(V4)), "link"),
    "a PPP control protocol": (9, b"\xc0\x21" + bytes(30), "neither"),
    "a cooked frame of 802.3 without 802.2": (113, p.sll(p.ip(V4), protocol=1), "neither"),
}


@pytest.mark.parametrize(("link", "frame", "reason"), BAD.values(), ids=BAD)
def test_what_a_link_header_cannot_be_is_refused(link, frame, reason):
    """Guessing would read rubbish as addresses."""
    with pytest.raises(MalformedTraffic, match=reason):
        decode(frame, link)


@pytest.mark.parametrize("link", [p.LINK_SLL, p.LINK_SLL2])
@pytest.mark.parametrize("name", ["802.2", "VLAN", "MPLS", "PPPoE", "no protocol"])
def test_a_cooked_header_may_hold_what_ethernet_holds(link, name):
    """The interface `any` shows the frames of bridges and modems as well."""
    packet = p.ip(V4)
    protocol, payload = {
        "802.2": (4, t.snap(packet)),
        "VLAN": (0x8100, b"\0\5\x08\0" + packet),
        "MPLS": (0x8847, t.mpls(packet, 16)),
        "PPPoE": (0x8864, t.pppoe(packet)),
        "no protocol": (0, packet),
    }[name]
    build = p.sll if link == p.LINK_SLL else p.sll2
    assert decode(build(payload, protocol=protocol), link)["payload"] == b"hello"
