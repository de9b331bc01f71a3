"""Builders of frames: TCP segment in an IP packet in a link header, down to the checksums.

In: the fields a test cares about; all others have plain defaults.  Out: bytes of one frame.  The builders
share no code with what they test, and are themselves tested against impacket and tshark.
"""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Final

FIN: Final = 0x01
SYN: Final = 0x02
RST: Final = 0x04
PSH: Final = 0x08
ACK: Final = 0x10
URG: Final = 0x20

LINK_NULL: Final = 0
LINK_ETHERNET: Final = 1
LINK_RAW: Final = 101
LINK_SLL: Final = 113
LINK_SLL2: Final = 276

ETHER_IPV4: Final = 0x0800
ETHER_IPV6: Final = 0x86DD
VLAN_8021Q: Final = 0x8100
VLAN_8021AD: Final = 0x88A8
IP_TCP: Final = 6
IP_UDP: Final = 17


@dataclass(frozen=True, slots=True)
class Tcp:
    """One TCP segment and the addresses it travels between."""

    src: str = "192.0.2.1"
    sport: int = 40000
    dst: str = "192.0.2.2"
    dport: int = 80
    seq: int = 1
    ack: int = 0
    flags: int = ACK
    data: bytes = b""
    options: bytes = b""
    window: int = 64240
    urgent: int = 0

    def back(self, **changes: object) -> "Tcp":
        """Make a segment in the other direction, with these changes."""
        turned = replace(self, src=self.dst, sport=self.dport, dst=self.src, dport=self.sport)
        return replace(turned, **changes)  # type: ignore[arg-type]


def checksum(data: bytes) -> int:
    """Compute the internet checksum (RFC 1071) of data."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def padded(options: bytes, fill: bytes = b"\0") -> bytes:
    """Pad header options to a multiple of four bytes."""
    return options + fill * (-len(options) % 4)


def tcp_header(tcp: Tcp) -> bytes:
    """Build TCP header and data with a right checksum (RFC 9293 3.1)."""
    options = padded(tcp.options)
    offset = (20 + len(options)) // 4
    head = struct.pack(
        "!HHIIBBHHH",
        tcp.sport,
        tcp.dport,
        tcp.seq & 0xFFFFFFFF,
        tcp.ack & 0xFFFFFFFF,
        offset << 4,
        tcp.flags & 0xFF,
        tcp.window,
        0,
        tcp.urgent,
    )
    segment = head + options + tcp.data
    src, dst = ip_address(tcp.src).packed, ip_address(tcp.dst).packed
    if len(src) == 4:
        pseudo = src + dst + struct.pack("!BBH", 0, IP_TCP, len(segment))
    else:
        pseudo = src + dst + struct.pack("!I3xB", len(segment), IP_TCP)
    return segment[:16] + struct.pack("!H", checksum(pseudo + segment)) + segment[18:]


def ipv4(
    tcp: Tcp,
    *,
    options: bytes = b"",
    total_length: int | None = None,
    fragment: int = 0,
    more_fragments: bool = False,
    protocol: int = IP_TCP,
    payload: bytes | None = None,
    ident: int = 0,
    ttl: int = 64,
) -> bytes:
    """Build an IPv4 packet (RFC 791); `fragment` is its offset in bytes, `payload` replaces the segment."""
    body = tcp_header(tcp) if payload is None else payload
    options = padded(options, b"\1")
    header_bytes = 20 + len(options)
    length = header_bytes + len(body) if total_length is None else total_length
    flags = (fragment // 8) | (0x2000 if more_fragments else 0)
    head = struct.pack(
        "!BBHHHBBH4s4s",
        0x40 | header_bytes // 4,
        0,
        length,
        ident,
        flags,
        ttl,
        protocol,
        0,
        ip_address(tcp.src).packed,
        ip_address(tcp.dst).packed,
    )
    head += options
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + body


def ipv6(
    tcp: Tcp,
    *,
    extensions: Sequence[tuple[int, bytes]] = (),
    payload_length: int | None = None,
    next_header: int = IP_TCP,
    payload: bytes | None = None,
) -> bytes:
    """Build an IPv6 packet (RFC 8200) with a chain of (number, extension body) before the TCP segment.

    An extension body is all of the header but its first byte (next header): see `hop_by_hop`, `routing`.
    """
    body = tcp_header(tcp) if payload is None else payload
    for number, extension in reversed(extensions):
        body = bytes([next_header]) + extension + body
        next_header = number
    length = len(body) if payload_length is None else payload_length
    head = struct.pack("!IHBB", 6 << 28, length, next_header, 64)
    return head + ip_address(tcp.src).packed + ip_address(tcp.dst).packed + body


def hop_by_hop(filler: int = 4) -> tuple[int, bytes]:
    """Make a hop-by-hop extension that holds only padding: `filler` is 4 plus a multiple of 8."""
    return 0, bytes([(filler + 4) // 8 - 1, 1, filler]) + bytes(filler)


def destination(filler: int = 4) -> tuple[int, bytes]:
    """Make a destination options extension that holds only padding."""
    return 60, hop_by_hop(filler)[1]


def routing(addresses: int = 1) -> tuple[int, bytes]:
    """Make a routing extension with nothing left to visit, holding so many addresses."""
    return 43, bytes([2 * addresses, 4, 0, 0, 0, 0, 0]) + bytes(16 * addresses)


def fragment6(offset: int = 0, more: bool = False, ident: int = 1) -> tuple[int, bytes]:
    """Make a fragment extension; offset in bytes, 0 without `more` is an atomic fragment (RFC 6946)."""
    return 44, struct.pack("!BHI", 0, offset | int(more), ident)


def authentication(words: int = 6) -> tuple[int, bytes]:
    """Make an authentication header (RFC 4302) of so many 4-byte words: it counts in another unit."""
    return 51, bytes([words - 2]) + bytes(4 * words - 2)


def ip(tcp: Tcp) -> bytes:
    """Build the plain IP packet of the family of the segment's addresses."""
    return ipv4(tcp) if ip_address(tcp.src).version == 4 else ipv6(tcp)


def _ethertype(packet: bytes) -> int:
    return ETHER_IPV4 if packet[:1] < b"\x50" else ETHER_IPV6


def ethernet(
    packet: bytes, *, vlans: Sequence[tuple[int, int]] = (), ethertype: int | None = None, pad: bool = True
) -> bytes:
    """Put an Ethernet header and (tag protocol, vlan) tags before a packet; pad to 60 bytes."""
    head = bytes.fromhex("020000000002 020000000001")
    for protocol, vlan in vlans:
        head += struct.pack("!HH", protocol, vlan)
    head += struct.pack("!H", _ethertype(packet) if ethertype is None else ethertype)
    frame = head + packet
    return frame + b"\xa5" * (60 - len(frame)) if pad else frame


def sll(packet: bytes, *, protocol: int | None = None) -> bytes:
    """Put a Linux cooked v1 header before a packet (LINKTYPE_LINUX_SLL)."""
    ethertype = _ethertype(packet) if protocol is None else protocol
    return struct.pack("!HHH8sH", 0, 1, 6, bytes.fromhex("0200000000010000"), ethertype) + packet


def sll2(packet: bytes, *, protocol: int | None = None) -> bytes:
    """Put a Linux cooked v2 header before a packet (LINKTYPE_LINUX_SLL2)."""
    ethertype = _ethertype(packet) if protocol is None else protocol
    return struct.pack("!HHIHBB8s", ethertype, 0, 2, 1, 0, 6, bytes.fromhex("0200000000010000")) + packet


def null(packet: bytes, *, family: int | None = None, order: str = "<") -> bytes:
    """Put a BSD loopback header before a packet: the address family in the byte order of who captured it."""
    if family is None:
        family = 2 if _ethertype(packet) == ETHER_IPV4 else 30
    return struct.pack(f"{order}I", family) + packet


def raw(packet: bytes) -> bytes:
    """Give the packet as it is: raw IP has no link header."""
    return packet


LINKS: Final[dict[int, Callable[[bytes], bytes]]] = {
    LINK_ETHERNET: ethernet,
    LINK_NULL: null,
    LINK_RAW: raw,
    LINK_SLL: sll,
    LINK_SLL2: sll2,
}
"""The link header of each link type, with its defaults."""


def frame(tcp: Tcp, link: int = LINK_ETHERNET) -> bytes:
    """Build the plain frame of a segment on a link of this type."""
    return LINKS[link](ip(tcp))
