"""Builders of 802.11 frames around IP packets, and of what drivers put before them.

In: packets.  Out: bytes of one frame.
"""

import struct
import zlib
from collections.abc import Sequence
from typing import Final

import packets

LINK_DOT11: Final = 105
LINK_PRISM: Final = 119
LINK_RADIOTAP: Final = 127
LINK_AVS: Final = 163
LINK_PPI: Final = 192

TO_DS: Final = 0x01
FROM_DS: Final = 0x02
MORE_FRAGMENTS: Final = 0x04
RETRY: Final = 0x08
PROTECTED: Final = 0x40
ORDER: Final = 0x80

DATA: Final = 0x08
NULL_DATA: Final = 0x48
QOS_DATA: Final = 0x88
QOS_NULL: Final = 0xC8
BEACON: Final = 0x80
ACK: Final = 0xD4

MAC: Final = bytes.fromhex("020000000001")
FCS: Final = 0x10
PADDED: Final = 0x20
BAD_FCS: Final = 0x40


def snap(packet: bytes, *, ethertype: int | None = None, oui: int = 0) -> bytes:
    """Put LLC and SNAP before a packet (RFC 1042)."""
    if ethertype is None:
        ethertype = packets.ETHER_IPV4 if packet[:1] < b"\x50" else packets.ETHER_IPV6
    return b"\xaa\xaa\x03" + oui.to_bytes(3) + struct.pack("!H", ethertype) + packet


def amsdu(msdus: Sequence[bytes]) -> bytes:
    """Join service data units to an A-MSDU: each but the last padded to four bytes."""
    out = b""
    for msdu in msdus:
        out += bytes(-len(out) % 4) + MAC + MAC + struct.pack("!H", len(msdu)) + msdu
    return out


def dot11(
    body: bytes, *, kind: int = DATA, flags: int = TO_DS, qos: int = 0, fragment: int = 0, padded: bool = False,
    check: bool = False,
) -> bytes:  # fmt: skip
    """Build a frame of any kind, with the fields that its kind and flags call for (IEEE 802.11 9.3.2.1)."""
    head = struct.pack("<BBH", kind, flags, 0) + MAC * 3 + struct.pack("<H", 0x10 | fragment)
    if flags & TO_DS and flags & FROM_DS:
        head += MAC
    if kind & 0x80:
        head += struct.pack("<H", qos) + (b"\0\0\0\0" if flags & ORDER else b"")
    if padded:
        head += bytes(-len(head) % 4)
    frame = head + body
    return frame + struct.pack("<I", zlib.crc32(frame)) if check else frame


def radiotap(frame: bytes, *, flags: int = 0, extended: bool = False) -> bytes:
    """Put a radiotap header before a frame: time, flags, rate; perhaps a second word of what is present."""
    present = 0b111 | (1 << 31 if extended else 0)
    words = struct.pack("<I", present) + (struct.pack("<I", 0) if extended else b"")
    fields = bytes(-(4 + len(words)) % 8) + struct.pack("<QBB", 5, flags, 12)
    return struct.pack("<BBH", 0, 0, 4 + len(words) + len(fields)) + words + fields + frame


def prism(frame: bytes, *, order: str = "<") -> bytes:
    """Put a Prism header before a frame, in the byte order of who captured it."""
    return struct.pack(f"{order}II16s", 0x44, 144, b"wlan0") + bytes(120) + frame


def avs(frame: bytes) -> bytes:
    """Put an AVS header before a frame."""
    return struct.pack("!II", 0x80211001, 64) + bytes(56) + frame


def ppi(frame: bytes, *, link: int = LINK_DOT11) -> bytes:
    """Put a PPI header before a frame, with one field that readers must step over."""
    return struct.pack("<BBHI", 0, 0, 32, link) + struct.pack("<HH", 2, 20) + bytes(20) + frame
