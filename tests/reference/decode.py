"""One frame to one TCP segment, or the reason why not.

In: link type and bytes of a frame.  Out: a `Segment` whose data is bounded by the IP length.
"""

from dataclasses import dataclass
from typing import Final

from reference.errors import Refused
from reference.fragments import Joiner, Piece
from reference.links import number, packet_of
from reference.tunnels import inner_of

TCP: Final = 6
MOST_TUNNELS: Final = 8
MOST_EXTENSIONS: Final = 15
EXTENSIONS: Final = (0, 43, 60, 135, 139, 140)


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
    cut: int  # bytes that it had behind those, and that were not captured


@dataclass(frozen=True, slots=True)
class Inside:
    """What an IP packet carries; the addresses as 16 bytes."""

    src: bytes
    dst: bytes
    protocol: int
    data: bytes
    cut: int


def ipv4(packet: bytes, now_ns: int, joiner: Joiner | None) -> Inside:
    """Open an IPv4 packet (RFC 791)."""
    header = 4 * (number(packet, 0, 1) & 15)
    total = number(packet, 2, 2) or len(packet)  # 0: segmentation offload, the length did not fit
    if header < 20 or header > len(packet) or total < header:
        raise Refused("ip")
    mapped = bytes(10) + b"\xff\xff"
    src, dst, protocol, data = packet[12:16], packet[16:20], packet[9], packet[header:total]
    place, cut = number(packet, 6, 2), max(total - len(packet), 0)
    if place & 0x3FFF:
        ident, offset, more = number(packet, 4, 2), 8 * (place & 0x1FFF), bool(place & 0x2000)
        protocol, data = joined(joiner, (now_ns, src, dst, ident, protocol, offset, more, data, cut))
        cut = 0
    return Inside(mapped + src, mapped + dst, protocol, data, cut)


def ipv6(packet: bytes, now_ns: int, joiner: Joiner | None) -> Inside:
    """Open an IPv6 packet, past its extension headers (RFC 8200)."""
    if len(packet) < 40:
        raise Refused("ip")
    length = number(packet, 4, 2) or jumbo(packet)
    body = packet[40 : 40 + length] if length else packet[40:]
    cut = max(length - len(body), 0)
    src, dst, kind = packet[8:24], packet[24:40], packet[6]
    most = MOST_EXTENSIONS
    while kind in (*EXTENSIONS, 44, 51):
        most -= 1
        if most < 0:
            raise Refused("ip")
        if kind == 44:
            place = number(body, 2, 2)
            kind, ident, body = body[0], number(body, 4, 4), body[8:]
            if place & 0xFFF9:
                piece = (now_ns, src, dst, ident, kind, place & 0xFFF8, bool(place & 1), body, cut)
                kind, body = joined(joiner, piece)
                cut = 0
            continue
        size = 4 * (number(body, 1, 1) + 2) if kind == 51 else 8 * (number(body, 1, 1) + 1)
        if size > len(body):
            raise Refused("ip")
        kind, body = body[0], body[size:]
    return Inside(src, dst, kind, body, cut)


def jumbo(packet: bytes) -> int:
    """Give the length in a jumbo payload option (RFC 2675), 0 if there is none."""
    options = packet[40 : 40 + 8 * (packet[41] + 1)][2:] if packet[6] == 0 and len(packet) > 41 else b""
    while len(options) >= 6:
        if options[:2] == b"\xc2\x04":
            return number(options, 2, 4)
        options = options[1:] if options[0] == 0 else options[2 + options[1] :]
    return 0


def joined(joiner: Joiner | None, piece: Piece) -> tuple[int, bytes]:
    """Give protocol and payload of the datagram that a fragment completes."""
    whole = joiner.take(piece) if joiner is not None else None
    if whole is None:
        raise Refused("fragment")
    return whole[0], whole[1]


def segment_of(packet: bytes, now_ns: int, joiner: Joiner | None) -> Inside:
    """Open IP packets and tunnels down to the one with TCP in it."""
    for _ in range(MOST_TUNNELS + 1):
        version = number(packet, 0, 1) >> 4
        if version not in (4, 6):
            raise Refused("not ip")
        inside = ipv4(packet, now_ns, joiner) if version == 4 else ipv6(packet, now_ns, joiner)
        if inside.protocol == TCP:
            return inside
        packet = inner_of(inside.protocol, inside.data)
    raise Refused("too many tunnels")


def decode(
    index: int, ts_ns: int, link: int, frame: bytes, joiner: Joiner | None = None, now_ns: int | None = None
) -> Segment:
    """Decode one frame; raises Refused where it has no whole TCP segment.  `now_ns` is the time for timers."""
    inside = segment_of(packet_of(link, frame), ts_ns if now_ns is None else now_ns, joiner)
    src, dst, tcp = inside.src, inside.dst, inside.data
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
        cut=inside.cut,
    )
