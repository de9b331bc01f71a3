"""From a frame to the IP packet in it, one header after the other.

In: a link type, or the kind of what lies there, and bytes.  Out: an IP packet; `Refused` where there is none.
"""

from typing import Final

from reference.errors import Refused

IPV4, IPV6, ETHERNET, PPP, MPLS, PPPOE, NSH = 0x0800, 0x86DD, 0x6558, 0x880B, 0x8847, 0x8864, 0x894F
TAGS: Final = (0x8100, 0x88A8, 0x9100, 0x9200, 0x9300)
LLC, SNAP = -1, -2
MOST_HEADERS: Final = 8
BSD_FAMILIES: Final = {2: IPV4, 10: IPV6, 23: IPV6, 24: IPV6, 28: IPV6, 30: IPV6}
PLAIN: Final = {0x8926: 4, 0x892F: 4, 0xF1C1: 4, 0x893F: 6, 0x8909: 6}  # bytes before the next EtherType


def number(data: bytes, at: int, size: int) -> int:
    """Read a big-endian number, or refuse the frame if it is cut short there."""
    if at < 0 or at + size > len(data):
        raise Refused("short")
    return int.from_bytes(data[at : at + size], "big")


def behind(data: bytes, size: int) -> bytes:
    """Give what is behind a header of this size, all of which must be there."""
    if size > len(data):
        raise Refused("short")
    return data[size:]


def of_type(data: bytes, size: int, at: int) -> tuple[int, bytes]:
    """Give what is behind a header that has an EtherType in it."""
    return number(data, at, 2), behind(data, size)


def packet_of(link: int, frame: bytes) -> bytes:
    """Strip everything before the IP header of a frame."""
    if link == 258:
        size, inner = int.from_bytes(frame[:4], "little"), int.from_bytes(frame[8:10], "little")
        if size < 12 or inner == 258:
            raise Refused("link")
        link, frame = 101 if inner == 12 else inner, behind(frame, size)
    return to_ip(*first_kind(link, frame))


def first_kind(link: int, frame: bytes) -> tuple[int, bytes]:
    """Tell what is behind the link header (pcap-linktype(7))."""
    fixed = {1: (14, 12), 104: (4, 2), 138: (18, 16)}
    skipped = {101: (0, IPV4), 228: (0, IPV4), 229: (0, IPV4), 51: (0, PPPOE), 219: (0, MPLS), 100: (0, LLC)}
    skipped |= {109: (12, IPV4), 122: (16, LLC), 240: (4, ETHERNET)}
    if link in fixed:
        return of_type(frame, *fixed[link])
    if link in skipped:
        return skipped[link][1], behind(frame, skipped[link][0])
    if link in (113, 276):
        kind, rest = of_type(frame, *((16, 14) if link == 113 else (20, 0)))
        return {0: IPV4, 4: LLC}.get(kind, kind if kind >= 1536 else 0x0806), rest
    if link in (0, 108):
        little, big = int.from_bytes(frame[:4], "little"), number(frame, 0, 4)
        return BSD_FAMILIES.get(big, BSD_FAMILIES.get(little, 0x0806)), frame[4:]
    if link in (9, 50, 166, 204):
        return hdlc(behind(frame, 1) if link == 204 else frame)
    if link == 117:
        if number(frame, 0, 1) < 28:
            raise Refused("link")
        return IPV4, behind(frame, -(-frame[0] // 4) * 4)
    if link == 239:
        return IPV4, nflog(behind(frame, 4))
    if link == 107:
        return frame_relay(frame)
    if link == 274 and number(frame, 7, 1) == 0xD5:
        return ETHERNET, frame[8:]
    raise Refused("link")


def hdlc(data: bytes) -> tuple[int, bytes]:
    """Step over what may be before PPP, or Cisco's header."""
    if len(data) >= 4 and data[:2] in (b"\x0f\0", b"\x8f\0"):
        return of_type(data, 4, 2)
    return PPP, data[2:] if data[:2] in (b"\0\3", b"\1\3") else data


def nflog(data: bytes) -> bytes:
    """Find the payload attribute."""
    while True:
        size, kind = (int.from_bytes(data[at : at + 2], "little") for at in (0, 2))
        if len(data) < 4 or size < 4:
            raise Refused("link")
        if kind & 0x7FFF == 9:
            return data[4:size]
        data = behind(data, -(-size // 4) * 4)


def frame_relay(data: bytes) -> tuple[int, bytes]:
    """Step over address and RFC 2427's header."""
    last = next((at for at in range(4) if number(data, at, 1) & 1), 0)
    if not last:
        raise Refused("link")
    data = data[last + 1 :]
    if number(data, 0, 2) >> 8 != 3:
        return number(data, 0, 2) if number(data, 0, 2) >= 1536 else 0x0806, data[2:]
    data = data[1:].removeprefix(b"\0") if data[1] == 0 else data[1:]
    kind = number(data, 0, 1)
    return {0xCC: IPV4, 0x8E: IPV4, 0x80: SNAP}.get(kind, 0x0806), data[1:]


def to_ip(kind: int, data: bytes, left: int = MOST_HEADERS) -> bytes:
    """Step over headers until there is an IP packet."""
    if kind in (IPV4, IPV6):
        return data
    if left == 0:
        raise Refused("too many headers")
    return to_ip(*step(kind, data), left - 1)


def step(kind: int, data: bytes) -> tuple[int, bytes]:
    """Step over one header."""
    if kind in TAGS:
        return of_type(data, 4, 2)
    if kind == SNAP:
        return snap(data)
    if kind in (LLC, 0x8870) or 0 <= kind <= 1500:
        return llc(data[:kind] if 0 <= kind <= 1500 else data)
    if kind in (MPLS, 0x8848):
        return mpls(data)
    if kind == PPPOE:
        if number(data, 0, 2) != 0x1100:
            raise Refused("pppoe")
        return ppp(behind(data, 6)[: number(data, 4, 2)])
    if kind == PPP:
        return ppp(data)
    if kind == ETHERNET:
        return of_type(data, 14, 12)
    if kind in PLAIN:
        return of_type(data, PLAIN[kind] + 2, PLAIN[kind])
    return step_rare(kind, data)


def step_rare(kind: int, data: bytes) -> tuple[int, bytes]:
    """Step over a header that few networks have."""
    if kind == 0x88E7:
        return of_type(data, 18, 16)
    if kind == 0x8903:
        return ETHERNET, behind(data, 2)
    if kind == 0x22F3:
        return ETHERNET, behind(data, 6 + 4 * (number(data, 0, 2) // 64 % 32))
    if kind == 0x88E5:
        control = number(data, 0, 1)
        if control & 0x0C:
            raise Refused("encrypted")
        return of_type(behind(data, 14 if control & 0x20 else 6), 2, 0)
    if kind == NSH:
        words = number(data, 0, 2) % 64
        if data[0] >= 0x40 or words < 2:
            raise Refused("nsh")
        return {1: IPV4, 2: IPV4, 3: ETHERNET, 4: NSH, 5: MPLS}.get(number(data, 3, 1), 0x0806), behind(data, 4 * words)
    raise Refused("not ip")


def llc(data: bytes) -> tuple[int, bytes]:
    """Step over an 802.2 header."""
    head, rest = data[:3], behind(data, 3)
    if head == b"\x06\x06\x03":
        return IPV4, rest
    if head == b"\xaa\xaa\x03":
        return snap(rest)
    raise Refused("not ip")


def snap(data: bytes) -> tuple[int, bytes]:
    """Step over a SNAP header."""
    if number(data, 3, 2) < 1536 or data[:3] not in (b"\0\0\0", b"\0\0\xf8"):
        raise Refused("not ip")
    return of_type(data, 5, 3)


def ppp(data: bytes) -> tuple[int, bytes]:
    """Step over a PPP header, compressed or not."""
    data = data.removeprefix(b"\xff\x03")
    size = 1 if number(data, 0, 1) & 1 else 2
    kinds = {0x21: IPV4, 0x57: IPV4, 0x0281: MPLS, 0x0283: MPLS}
    return kinds.get(number(data, 0, size), 0x0806), data[size:]


def mpls(data: bytes) -> tuple[int, bytes]:
    """Step over the labels; tell what is behind them by what it looks like."""
    while not number(data, 2, 1) & 1:
        data = behind(data, 4)
    data = behind(data, 4)
    version = number(data, 0, 1) >> 4
    if version == 4 and len(data) >= 20 and data[0] & 15 >= 5 and 20 <= number(data, 2, 2) <= len(data):
        return IPV4, data
    if version == 6 and len(data) >= 40 and 40 + number(data, 4, 2) <= len(data):
        return IPV6, data
    for size in (4, 0) if version == 0 else (0,):
        frame = data[size:]
        if len(frame) >= 15:
            kind = number(frame, 12, 2)
            if kind in TAGS or (kind, frame[14] >> 4) in ((IPV4, 4), (IPV6, 6)):
                return ETHERNET, frame
    return IPV4 if version in (4, 6) else 0x0806, data
