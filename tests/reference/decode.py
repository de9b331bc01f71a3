"""One frame to one TCP segment, or the reason why not.

In: link type and bytes of a frame.  Out: a `Segment` whose data is bounded by the IP length.
"""

from dataclasses import dataclass
from typing import Final

NULL, ETHERNET, RAW, SLL, SLL2 = 0, 1, 101, 113, 276
IPV4, IPV6, TCP = 0x0800, 0x86DD, 6
TAGS: Final = (0x8100, 0x88A8, 0x9100)
BSD_FAMILIES: Final = {2: IPV4, 24: IPV6, 28: IPV6, 30: IPV6, 10: IPV6}


class Refused(Exception):
    """Says in one word why a frame holds no TCP segment for us."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One TCP segment as it was captured; addresses as 16 bytes, IPv4 mapped into IPv6."""

    index: int
    ts_ns: int
    src: bytes
    sport: int
    dst: bytes
    dport: int
    seq: int
    ack: int
    fin: bool
    syn: bool
    rst: bool
    has_ack: bool
    data: bytes


def number(data: bytes, at: int, size: int) -> int:
    """Read a big-endian number, or refuse the frame if it is cut short there."""
    if at < 0 or at + size > len(data):
        raise Refused("short")
    return int.from_bytes(data[at : at + size], "big")


def network(link: int, frame: bytes) -> tuple[int, bytes]:
    """Strip the link header: give the EtherType and the IP packet."""
    if link == ETHERNET:
        at = 12
        while (kind := number(frame, at, 2)) in TAGS:
            at += 4
        return kind, frame[at + 2 :]
    if link == SLL:
        return number(frame, 14, 2), frame[16:]
    if link == SLL2:
        return number(frame, 0, 2), frame[20:]
    if link == NULL:
        little = int.from_bytes(frame[:4], "little")
        return BSD_FAMILIES.get(little, BSD_FAMILIES.get(number(frame, 0, 4), 0)), frame[4:]
    if link == RAW:
        return {4: IPV4, 6: IPV6}.get(number(frame, 0, 1) >> 4, 0), frame
    raise Refused("link")


def ipv4(packet: bytes) -> tuple[bytes, bytes, bytes]:
    """Give source, destination and TCP bytes of an IPv4 packet (RFC 791)."""
    header = 4 * (number(packet, 0, 1) & 15)
    if number(packet, 0, 1) >> 4 != 4 or header < 20 or header > len(packet):
        raise Refused("ip")
    total = number(packet, 2, 2) or len(packet)  # 0: segmentation offload, the length did not fit
    if total < header:
        raise Refused("ip")
    if number(packet, 6, 2) & 0x3FFF:
        raise Refused("fragment")
    if packet[9] != TCP:
        raise Refused("protocol")
    mapped = bytes(10) + b"\xff\xff"
    return mapped + packet[12:16], mapped + packet[16:20], packet[header:total]


def ipv6(packet: bytes) -> tuple[bytes, bytes, bytes]:
    """Give source, destination and TCP bytes of an IPv6 packet, past its extension headers (RFC 8200)."""
    if number(packet, 0, 1) >> 4 != 6 or len(packet) < 40:
        raise Refused("ip")
    length = number(packet, 4, 2)
    end = 40 + length if length else len(packet)
    body = packet[:end]
    kind, at = packet[6], 40
    while kind != TCP:
        if kind in (0, 43, 60, 135, 139, 140):
            kind, at = number(body, at, 1), at + 8 * (number(body, at + 1, 1) + 1)
        elif kind == 51:
            kind, at = number(body, at, 1), at + 4 * (number(body, at + 1, 1) + 2)
        elif kind == 44:
            if number(body, at + 2, 2) & 0xFFF9:
                raise Refused("fragment")
            kind, at = number(body, at, 1), at + 8
        else:
            raise Refused("protocol")
    return packet[8:24], packet[24:40], body[at:]


def decode(index: int, ts_ns: int, link: int, frame: bytes) -> Segment:
    """Decode one frame; raises Refused where it has no whole TCP segment."""
    kind, packet = network(link, frame)
    if kind not in (IPV4, IPV6):
        raise Refused("not ip")
    src, dst, tcp = ipv4(packet) if kind == IPV4 else ipv6(packet)
    offset = 4 * (number(tcp, 12, 1) >> 4)
    if offset < 20 or offset > len(tcp):
        raise Refused("tcp")
    flags = tcp[13]
    return Segment(
        index=index,
        ts_ns=ts_ns,
        src=src,
        sport=number(tcp, 0, 2),
        dst=dst,
        dport=number(tcp, 2, 2),
        seq=number(tcp, 4, 4),
        ack=number(tcp, 8, 4),
        fin=bool(flags & 1),
        syn=bool(flags & 2),
        rst=bool(flags & 4),
        has_ack=bool(flags & 16),
        data=tcp[offset:],
    )
