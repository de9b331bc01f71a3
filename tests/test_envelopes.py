"""Disturbed conversations inside tags, labels, sessions, tunnels and fragments: the same messages as without."""

import struct
from collections.abc import Callable, Sequence
from random import Random
from typing import Final

import packets
import pytest
from engines import by_compiled, by_reference
from generator.cases import Case, make_case
from packets_files import Frame
from packets_tunnels import TUNNELS, ethernet_of, mpls, outer, pppoe
from strategies_packets import summary

IPV4_HEADER: Final = 20
IPV6_HEADER: Final = 40
Packet = bytes
LINK_HEADERS: Final[list[Callable[[Packet], bytes]]] = [
    packets.ethernet,
    lambda packet: packets.ethernet(packet, vlans=[(packets.VLAN_8021Q, 9)]),
    lambda packet: packets.ethernet(packet, vlans=[(packets.VLAN_8021AD, 5), (packets.VLAN_8021Q, 9)]),
    lambda packet: ethernet_of(0x8847, mpls(packet, 16, 17)),
    lambda packet: ethernet_of(0x8864, pppoe(packet)),
]


def ip_packet(frame: bytes) -> Packet:
    """Take the IP packet out of an Ethernet frame, without padding."""
    packet = frame[14:]
    size = (
        struct.unpack_from("!H", packet, 2)[0] if packet[0] >> 4 == 4 else 40 + struct.unpack_from("!H", packet, 4)[0]
    )
    return packet[:size]


def in_fragments(packet: Packet, rng: Random, ident: int) -> list[Packet]:
    """Cut an IP packet without options or extensions into fragments (RFC 791 3.2, RFC 8200 4.5)."""
    v4 = packet[0] >> 4 == 4
    header = IPV4_HEADER if v4 else IPV6_HEADER
    payload = packet[header:]
    units = (len(payload) - 1) // 8
    cuts = sorted(8 * each for each in rng.sample(range(1, units + 1), min(units, rng.randrange(1, 5))))
    ends = [*cuts, len(payload)]
    pieces = []
    for start, end in zip([0, *cuts], ends, strict=True):
        more = end < len(payload)
        if v4:
            head = bytearray(packet[:header])
            struct.pack_into(
                "!HHH", head, 2, header + end - start, ident & 0xFFFF, start // 8 | (0x2000 if more else 0)
            )
            pieces.append(bytes(head) + payload[start:end])
        else:
            extension = bytes([packet[6], 0]) + struct.pack("!HI", start | more, ident)
            head = packet[:4] + struct.pack("!H", 8 + end - start) + b"\x2c" + packet[7:header]
            pieces.append(head + extension + payload[start:end])
    return pieces


def shuffled(pieces: list[Packet], rng: Random) -> list[Packet]:
    """Let fragments come in any order, some of them twice."""
    out = pieces + rng.sample(pieces, rng.randrange(len(pieces)))
    rng.shuffle(out)
    return out


def enveloped(frames: Sequence[Frame], rng: Random) -> list[Frame]:
    """Put each frame into the same envelopes, cut now and then on each level."""
    tunnels = [TUNNELS[name] for name in rng.sample(sorted(TUNNELS), rng.randrange(4))]
    link = rng.choice(LINK_HEADERS)
    v6 = rng.random() < 0.3
    rate = rng.choice([0.0, 0.2, 1.0])
    ident = 0
    out = []
    for ts_ns, frame in frames:
        level = [ip_packet(frame)]
        for put_around in [*tunnels, None]:
            cut = []
            for packet in level:
                ident += 1
                big = len(packet) > ((packet[0] >> 4 == 4 and IPV4_HEADER) or IPV6_HEADER) + 8
                cut += shuffled(in_fragments(packet, rng, ident), rng) if big and rng.random() < rate else [packet]
            level = cut if put_around is None else [outer(*put_around(packet), v6=v6) for packet in cut]
        out += [(ts_ns, link(packet)) for packet in level]
    return out


def plain_case(seed: int) -> Case:
    """Make a disturbed conversation that was captured whole, on Ethernet, of frames that leave room for headers."""
    for each in range(seed * 1000, seed * 1000 + 1000):
        case = make_case("whole", each)
        frames = case.bytes_of()
        if case.link == packets.LINK_ETHERNET and frames and max(len(frame) for _, frame in frames) < 60_000:
            return case
    raise AssertionError("no such case")


@pytest.mark.parametrize("seed", range(12))
def test_envelopes_do_not_show(seed):
    """Mirror ports, overlays and cloud traffic mirroring wrap packets; what was said in them is the same."""
    rng = Random(seed)
    frames = plain_case(seed).bytes_of()
    wrapped = enveloped(frames, rng)
    wanted = sorted(map(repr, map(summary, by_compiled(frames))))
    assert wanted
    assert sorted(map(repr, map(summary, by_compiled(wrapped, batch=1 + seed * 7)))) == wanted


@pytest.mark.parametrize("seed", range(100, 104))
def test_the_reference_sees_through_the_same_envelopes(seed):
    """Two readers of every header, neither by the other's code."""
    wrapped = enveloped(plain_case(seed).bytes_of(), Random(seed))
    assert sorted(map(repr, map(summary, by_compiled(wrapped)))) == sorted(
        map(repr, map(summary, by_reference(wrapped)))
    )
