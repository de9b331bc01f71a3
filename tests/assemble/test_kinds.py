"""Headers between link and IP: stepped over where they are known, refused by name where they are not."""

import packets as p
import packets_tunnels as t
import pytest

from assemble.decode import decode
from capture.errors import MalformedTraffic

V4 = p.Tcp(sport=1234, data=b"hello")
V6 = p.Tcp("2001:db8::1", 1234, "2001:db8::2", data=b"hello")


@pytest.mark.parametrize("tcp", [V4, V6], ids=["v4", "v6"])
@pytest.mark.parametrize("name", t.AROUND)
def test_a_segment_is_read_behind_every_header(name, tcp):
    """Each network has its own way to say where a packet belongs; behind a VLAN tag, too."""
    frame = t.AROUND[name](p.ip(tcp))
    assert decode(frame)["payload"] == b"hello"
    assert decode(frame[:12] + b"\x81\0\0\5" + frame[12:])["payload"] == b"hello"


@pytest.mark.parametrize("name", t.AROUND)
def test_a_header_that_is_cut_short_is_refused(name):
    """Wherever the capture has cut it."""
    frame, packet = t.AROUND[name](p.ip(V4)), p.ip(V4)
    for size in range(len(frame) - len(packet)):
        with pytest.raises(MalformedTraffic):
            decode(frame[:size])


BAD = {
    "802.2 of another protocol": (t.ethernet_of(40, b"\x42\x42\x03" + bytes(37)), "neither"),
    "SNAP of an organisation": (t.ethernet_of(60, b"\xaa\xaa\x03\0\0\x0c\x08\0" + p.ip(V4)), "neither"),
    "PPPoE discovery": (t.ethernet_of(0x8864, b"\x11\x09" + bytes(40)), "link"),
    "PPPoE of another protocol": (t.ethernet_of(0x8864, b"\x11\0\0\7\0\x20\xc0\x21" + bytes(40)), "neither"),
    "MACsec, encrypted": (t.ethernet_of(0x88E5, b"\x2c" + bytes(60)), "neither"),
    "NSH of one word": (t.ethernet_of(0x894F, b"\x0f\xc1\x01\x01" + bytes(60)), "link"),
    "a pseudowire of something else": (t.ethernet_of(0x8847, t.mpls(bytes(60), 16)), "neither"),
    "labels without an end": (t.ethernet_of(0x8847, b"\0\x01\0\x40" * 30), "link"),
    "nine headers": (t.ethernet_of(0x894F, b"\x0f\xc2\x02\x04\0\0\0\0" * 9 + p.ip(V4)), "link"),
}


@pytest.mark.parametrize(("frame", "reason"), BAD.values(), ids=BAD)
def test_what_holds_no_ip_packet_is_refused(frame, reason):
    """The reason tells broken frames from those that are none of our business."""
    with pytest.raises(MalformedTraffic, match=reason):
        decode(frame)


def test_the_length_of_a_link_layer_bounds_the_packet():
    """A TSO frame has no length of its own, and padding must not become its data."""
    packet = p.ipv4(V4, total_length=0)
    for frame in (t.ethernet_of(len(packet) + 8, t.snap(packet)), t.ethernet_of(0x8864, t.pppoe(packet))):
        assert decode(frame + b"\xa5" * 9)["payload"] == b"hello"


def test_connections_of_different_vlans_have_different_realms_when_asked():
    """Two customers of a provider use the same private addresses."""
    first, second, priority = (p.ethernet(p.ip(V4), vlans=[(0x8100, tag)]) for tag in (5, 6, 0xE000))
    assert decode(first)["realm"] == decode(second, separate=("tunnel",))["realm"] == 0
    realms = [decode(frame, separate=("vlan",))["realm"] for frame in (first, second, priority)]
    assert len(set(realms)) == 3
    assert realms[2] == 0
    louder = p.ethernet(p.ip(V4), vlans=[(0x8100, 0xE005)])
    assert decode(louder, separate=("vlan",))["realm"] == realms[0]
    stacks = [p.ethernet(p.ip(V4), vlans=[(0x88A8, a), (0x8100, b)]) for a, b in ((5, 6), (6, 5), (5, 5))]
    assert len({decode(frame, separate=("vlan",))["realm"] for frame in stacks} - {0, *realms}) == 3
