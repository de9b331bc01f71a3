"""From what an IP packet carries to the packet in a tunnel.

In: protocol number and bytes.  Out: the bytes of an IP packet; `Refused` where there is none.
"""

from reference.errors import Refused
from reference.links import ETHERNET, IPV4, MPLS, NSH, PPP, behind, number, to_ip

NOT_IP = 0x0806
ALL = ("vxlan", "geneve", "gre", "erspan", "ipip", "gtpu")


def inner_of(protocol: int, data: bytes) -> bytes:
    """Open the tunnel in an IP packet."""
    if protocol in (4, 41, 94):
        return data
    if protocol == 137:
        return to_ip(MPLS, data)
    if protocol == 47:
        return gre(data)
    if protocol != 17:
        raise Refused("protocol")
    port, length, payload = number(data, 2, 2), number(data, 4, 2), behind(data, 8)
    payload = payload[: length - 8] if length >= 8 else payload
    if port in (4789, 8472, 4790):
        return vxlan(payload, port == 4790)
    if port == 6081:
        return geneve(payload)
    if port == 2152:
        return gtpu(payload)
    raise Refused("protocol")


def ethertyped(kind: int, data: bytes) -> bytes:
    """Read what a tunnel gives an EtherType to."""
    if kind < 1536:
        raise Refused("not ip")
    return to_ip(kind, data)


def vxlan(data: bytes, generic: bool) -> bytes:
    """RFC 7348, and the draft of its generic extension."""
    flags, rest = number(data, 0, 1), behind(data, 8)
    if not flags & 8:
        raise Refused("tunnel")
    if generic and flags & 4:
        if flags & 1:
            raise Refused("maintenance")
        kinds = {1: IPV4, 2: IPV4, 3: ETHERNET, 4: NSH, 5: MPLS}
        return to_ip(kinds.get(data[3], NOT_IP), rest)
    return to_ip(ETHERNET, rest)


def geneve(data: bytes) -> bytes:
    """RFC 8926."""
    first = number(data, 0, 1)
    rest = behind(data, 8 + 4 * (first & 63))
    if first >> 6 or data[1] & 0x80:
        raise Refused("tunnel")
    return ethertyped(number(data, 2, 2), rest)


def gtpu(data: bytes) -> bytes:
    """3GPP TS 29.281."""
    rest = behind(data, 8)
    if data[0] >> 4 != 3 or data[1] != 255:
        raise Refused("tunnel")
    rest = rest[: number(data, 2, 2)]
    if data[0] & 7:
        more, rest = number(rest, 3, 1) if data[0] & 4 else number(rest, 3, 1) * 0, rest[4:]
        while more:
            size = 4 * number(rest, 0, 1)
            if size == 0:
                raise Refused("tunnel")
            more, rest = number(rest, size - 1, 1), rest[size:]
    return rest


def gre(data: bytes) -> bytes:
    """RFC 2784, 2890, 1701; version 1 is RFC 2637's."""
    flags, kind, at = number(data, 0, 2), number(data, 2, 2), 4
    if flags & 7 == 1:
        return pptp(flags, kind, data)
    if flags & 7:
        raise Refused("tunnel")
    at += 4 * bool(flags & 0xC000) + 4 * bool(flags & 0x2000) + 4 * bool(flags & 0x1000)
    rest = behind(data, at)
    routed = bool(flags & 0x4000)
    while routed:
        routed = rest[:2] != b"\0\0" or number(rest, 3, 1) != 0
        rest = behind(rest, 4 + number(rest, 3, 1))
    if kind == 0x88BE:
        return erspan(rest, 1) if flags & 0x1000 else to_ip(ETHERNET, rest)
    if kind == 0x22EB:
        return erspan(rest, 2)
    if kind == 0x883E:
        return rest if not rest or rest[0] >> 4 == 4 else behind(rest, 4)
    return ethertyped(kind, rest)


def pptp(flags: int, kind: int, data: bytes) -> bytes:
    """PPP in GRE of version 1."""
    if kind != PPP or not flags & 0x2000 or not flags & 0x1000:
        raise Refused("tunnel")
    rest = behind(data, 16 if flags & 0x80 else 12)
    return to_ip(PPP, rest[: number(data, 4, 2)])


def erspan(data: bytes, version: int) -> bytes:
    """Types II and III of draft-foschiano-erspan."""
    if number(data, 0, 1) >> 4 != version:
        raise Refused("tunnel")
    if version == 1:
        return to_ip(ETHERNET, behind(data, 8))
    rest = behind(data, 20 if number(data, 11, 1) & 1 else 12)
    return to_ip({0: ETHERNET, 2: IPV4}.get(number(data, 10, 1) >> 2 & 31, NOT_IP), rest)
