"""Builders of what networks put around a packet: labels, sessions, tags and tunnels.

In: an IP packet or an Ethernet frame.  Out: the bytes around it; the outer IP packet is `outer`'s.  The builders share
no code with what they test, and are themselves tested against tshark.
"""

import struct
from collections.abc import Callable, Sequence
from typing import Final

import packets as p

GRE, UDP = 47, 17
TEB: Final = 0x6558  # a whole Ethernet frame, where an EtherType is asked for
MACS: Final = bytes.fromhex("020000000002 020000000001")


def framed(packet: bytes) -> bytes:
    """Put a bare Ethernet header before an IP packet."""
    return p.ethernet(packet, pad=False)


def type_of(packet: bytes) -> int:
    """Give the EtherType of an IP packet."""
    return p.ETHER_IPV4 if packet[0] >> 4 == 4 else p.ETHER_IPV6


def outer(protocol: int, payload: bytes, *, v6: bool = False, **fields: int) -> bytes:
    """Build the IP packet that carries a tunnel."""
    if v6:
        ends = p.Tcp(src="2001:db8:f::1", dst="2001:db8:f::2")
        return p.ipv6(ends, next_header=protocol, payload=payload)
    ends = p.Tcp(src="198.51.100.1", dst="198.51.100.2")
    return p.ipv4(ends, protocol=protocol, payload=payload, **fields)


def udp(port: int, payload: bytes, *, length: int | None = None) -> bytes:
    """Put a UDP header without checksum before a payload (RFC 768)."""
    return struct.pack("!HHHH", 50000, port, len(payload) + 8 if length is None else length, 0) + payload


def vxlan(packet: bytes, *, vni: int = 7, port: int = 4789) -> bytes:
    """RFC 7348."""
    return udp(port, struct.pack("!II", 0x08 << 24, vni << 8) + framed(packet))


def vxlan_gpe(packet: bytes, *, vni: int = 7) -> bytes:
    """The generic protocol extension: an IP packet without Ethernet."""
    return udp(4790, struct.pack("!BxxBI", 0x0C, 1 if packet[0] >> 4 == 4 else 2, vni << 8) + packet)


def geneve(packet: bytes, *, vni: int = 7, options: bytes = b"", plain: bool = False) -> bytes:
    """RFC 8926; `plain` carries the packet without Ethernet."""
    kind, payload = (type_of(packet), packet) if plain else (TEB, framed(packet))
    return udp(6081, struct.pack("!BBHI", len(options) // 4, 0, kind, vni << 8) + options + payload)


def gtpu(
    packet: bytes, *, teid: int = 7, extensions: Sequence[tuple[int, bytes]] = (), sequence: bool = False
) -> bytes:
    """3GPP TS 29.281; an extension is (type, content of 4 n - 2 bytes)."""
    flags, optional = 0x30 | (4 if extensions else 0) | (2 if sequence else 0), b""
    if flags & 7:
        kinds = [kind for kind, _ in extensions] + [0]
        optional = struct.pack("!HBB", 9, 0, kinds[0])
        for (_, content), following in zip(extensions, kinds[1:], strict=True):
            optional += bytes([(len(content) + 2) // 4]) + content + bytes([following])
    return udp(2152, struct.pack("!BBHI", flags, 255, len(optional) + len(packet), teid) + optional + packet)


def gre(payload: bytes, kind: int, *, key: int | None = None, sequence: bool = False, checksum: bool = False) -> bytes:
    """RFC 2784 and 2890."""
    flags = (0x8000 if checksum else 0) | (0 if key is None else 0x2000) | (0x1000 if sequence else 0)
    rest = (b"" if key is None else struct.pack("!I", key)) + (b"\0\0\0\5" if sequence else b"") + payload
    head = struct.pack("!HH", flags, kind)
    if checksum:
        head += struct.pack("!Hxx", p.checksum(head + bytes(4) + rest))
    return head + rest


def pptp(packet: bytes, *, call: int = 7, ack: bool = False) -> bytes:
    """PPP in GRE of version 1 (RFC 2637)."""
    payload = b"\xff\x03" + ppp(packet)
    head = struct.pack("!HHHHI", 0x3081 if ack else 0x3001, 0x880B, len(payload), call, 5)
    return head + (b"\0\0\0\4" if ack else b"") + payload


def erspan2(packet: bytes, *, session: int = 7, vlan: int = 0) -> bytes:
    """Type II of draft-foschiano-erspan."""
    return gre(struct.pack("!HHI", 0x1000 | vlan, session, 0) + framed(packet), 0x88BE, sequence=True)


def erspan3(packet: bytes, *, session: int = 7, subheader: bool = False) -> bytes:
    """Type III of draft-foschiano-erspan."""
    head = struct.pack("!HHIHH", 0x2000, session, 0, 0, 0x8001 if subheader else 0x8000)
    return gre(head + (bytes(8) if subheader else b"") + framed(packet), 0x22EB, sequence=True)


def ppp(packet: bytes, *, compressed: bool = False) -> bytes:
    """Put a PPP protocol number before an IP packet (RFC 1661)."""
    number = 0x21 if packet[0] >> 4 == 4 else 0x57
    return (bytes([number]) if compressed else struct.pack("!H", number)) + packet


def pppoe(packet: bytes, *, session: int = 7, compressed: bool = False) -> bytes:
    """RFC 2516, behind EtherType 0x8864."""
    payload = ppp(packet, compressed=compressed)
    return struct.pack("!BBHH", 0x11, 0, session, len(payload)) + payload


def mpls(payload: bytes, *labels: int) -> bytes:
    """RFC 3032: a stack of labels, the last of them marked."""
    stack = [(label << 12) | (0x100 if at == len(labels) - 1 else 0) | 64 for at, label in enumerate(labels)]
    return struct.pack(f"!{len(stack)}I", *stack) + payload


def snap(packet: bytes) -> bytes:
    """An 802.2 header with SNAP (RFC 1042)."""
    return b"\xaa\xaa\x03\0\0\0" + struct.pack("!H", type_of(packet)) + packet


def ethernet_of(kind: int, payload: bytes) -> bytes:
    """Build an Ethernet frame of any type."""
    return MACS + struct.pack("!H", kind) + payload


def nsh(packet: bytes, *, words: int = 6) -> bytes:
    """RFC 8300: metadata of type 1, or none of type 2."""
    kind = 1 if packet[0] >> 4 == 4 else 2
    head = struct.pack("!HBBI", 0x0FC0 | words, 1 if words == 6 else 2, kind, (9 << 8) | 255)
    return head + bytes(4 * words - 8) + packet


TUNNELS: Final[dict[str, Callable[[bytes], tuple[int, bytes]]]] = {
    "vxlan": lambda packet: (UDP, vxlan(packet)),
    "vxlan of Linux": lambda packet: (UDP, vxlan(packet, port=8472)),
    "vxlan gpe": lambda packet: (UDP, vxlan_gpe(packet)),
    "geneve": lambda packet: (UDP, geneve(packet, options=bytes(8))),
    "geneve without Ethernet": lambda packet: (UDP, geneve(packet, plain=True)),
    "gtpu": lambda packet: (UDP, gtpu(packet)),
    "gtpu with extensions": lambda packet: (UDP, gtpu(packet, extensions=[(0x85, b"\0\0"), (0x85, bytes(6))])),
    "gtpu with sequence": lambda packet: (UDP, gtpu(packet, sequence=True)),
    "gre": lambda packet: (GRE, gre(packet, type_of(packet))),
    "gre with all": lambda packet: (GRE, gre(packet, type_of(packet), key=7, sequence=True, checksum=True)),
    "gre of Ethernet": lambda packet: (GRE, gre(framed(packet), TEB, key=0x700)),
    "gre of MPLS": lambda packet: (GRE, gre(mpls(packet, 16), 0x8847)),
    "gre of PPTP": lambda packet: (GRE, pptp(packet)),
    "gre of PPTP with ack": lambda packet: (GRE, pptp(packet, ack=True)),
    "erspan I": lambda packet: (GRE, gre(framed(packet), 0x88BE)),
    "erspan II": lambda packet: (GRE, erspan2(packet)),
    "erspan III": lambda packet: (GRE, erspan3(packet)),
    "erspan III with subheader": lambda packet: (GRE, erspan3(packet, subheader=True)),
    "ipip": lambda packet: (4 if packet[0] >> 4 == 4 else 41, packet),
    "ipip of MPLS": lambda packet: (137, mpls(packet, 16)),
}
"""The tunnels, the first word of each its name in `decapsulate`: (IP protocol, payload) around an IP packet."""

AROUND: Final[dict[str, Callable[[bytes], bytes]]] = {
    "802.3 with SNAP": lambda packet: ethernet_of(len(packet) + 8, snap(packet)),
    "802.3 with SAP 6": lambda packet: ethernet_of(len(packet) + 3, b"\x06\x06\x03" + packet),
    "MPLS": lambda packet: ethernet_of(0x8847, mpls(packet, 16, 17)),
    "MPLS multicast": lambda packet: ethernet_of(0x8848, mpls(packet, 16)),
    "MPLS pseudowire": lambda packet: ethernet_of(0x8847, mpls(bytes(4) + framed(packet), 16, 17)),
    "MPLS pseudowire, no control word": lambda packet: ethernet_of(0x8847, mpls(framed(packet), 16)),
    "PPPoE": lambda packet: ethernet_of(0x8864, pppoe(packet)),
    "PPPoE, compressed": lambda packet: ethernet_of(0x8864, pppoe(packet, compressed=True)),
    "VN-Tag": lambda packet: ethernet_of(0x8926, struct.pack("!IH", 0x00010002, type_of(packet)) + packet),
    "E-Tag": lambda packet: ethernet_of(0x893F, struct.pack("!IHH", 0, 0, type_of(packet)) + packet),
    "I-Tag": lambda packet: ethernet_of(0x88E7, struct.pack("!I", 7) + framed(packet)),
    "HSR": lambda packet: ethernet_of(0x892F, struct.pack("!HHH", 60, 1, type_of(packet)) + packet),
    "MetaData": lambda packet: ethernet_of(0x8909, struct.pack("!BBHHH", 1, 1, 1, 5, type_of(packet)) + packet),
    "FabricPath": lambda packet: ethernet_of(0x8903, struct.pack("!H", 0x0060) + framed(packet)),
    "TRILL": lambda packet: ethernet_of(0x22F3, struct.pack("!HHH", 0x0010, 1, 2) + framed(packet)),
    "NSH": lambda packet: ethernet_of(0x894F, nsh(packet)),
    "NSH without metadata": lambda packet: ethernet_of(0x894F, nsh(packet, words=2)),
    "MACsec": lambda packet: ethernet_of(0x88E5, struct.pack("!BBIQH", 0x20, 0, 1, 2, type_of(packet)) + packet),
}
"""What stands between Ethernet and IP: a frame around an IP packet."""


def pflog(packet: bytes) -> bytes:
    """OpenBSD's log header: 61 bytes long, aligned to 64."""
    return bytes([61, 2 if packet[0] >> 4 == 4 else 30]) + bytes(62) + packet


def nflog(packet: bytes) -> bytes:
    """A netfilter log record: a prefix of 5 bytes, padded, and the payload."""
    attributes = struct.pack("<HH", 9, 10) + b"drop\0" + bytes(3) + struct.pack("<HH", len(packet) + 4, 9) + packet
    return struct.pack("!BBH", 2 if packet[0] >> 4 == 4 else 10, 0, 5) + attributes


LINKS: Final[dict[str, tuple[int, Callable[[bytes], bytes]]]] = {
    "PPP": (9, ppp),
    "PPP with address": (9, lambda packet: b"\xff\x03" + ppp(packet)),
    "PPP_HDLC": (50, lambda packet: b"\xff\x03" + ppp(packet)),
    "PPP_HDLC of Cisco": (50, lambda packet: b"\x0f\0" + struct.pack("!H", type_of(packet)) + packet),
    "PPP_ETHER": (51, pppoe),
    "ATM_RFC1483": (100, snap),
    "C_HDLC": (104, lambda packet: b"\x0f\0" + struct.pack("!H", type_of(packet)) + packet),
    "FRELAY": (107, lambda packet: b"\x18\x41\x03" + (b"\xcc" if packet[0] >> 4 == 4 else b"\x8e") + packet),
    "FRELAY with SNAP": (107, lambda packet: b"\x18\x41\x03\0\x80" + snap(packet)[3:]),
    "FRELAY of Cisco": (107, lambda packet: b"\x18\x41" + struct.pack("!H", type_of(packet)) + packet),
    "ENC": (109, lambda packet: struct.pack("<III", 2 if packet[0] >> 4 == 4 else 24, 7, 0) + packet),
    "PFLOG": (117, pflog),
    "IP_OVER_FC": (122, lambda packet: bytes(16) + snap(packet)),
    "APPLE_IP_OVER_IEEE1394": (138, lambda packet: bytes(16) + struct.pack("!H", type_of(packet)) + packet),
    "PPP_PPPD": (166, lambda packet: b"\x01\x03" + ppp(packet)),
    "PPP_WITH_DIR": (204, lambda packet: b"\x01\xff\x03" + ppp(packet)),
    "MPLS frame": (219, lambda packet: mpls(packet, 16)),
    "NFLOG": (239, nflog),
    "NETANALYZER": (240, lambda packet: bytes(4) + framed(packet)),
    "PKTAP": (258, lambda packet: struct.pack("<III", 108, 1, 1) + bytes(96) + framed(packet)),
    "ETHERNET_MPACKET": (274, lambda packet: b"\x55" * 7 + b"\xd5" + framed(packet)),
}
"""Link types that few captures have, beside those of packets.LINKS."""
