"""Rare link types: 802.11, with or without what a driver puts before it, to the Ethernet frames that it carries.

In: a frame and its link type.  Out: Ethernet frames, their addresses 0.  Invariant: nothing in a frame raises.
The headers are read with impacket's layouts; it is imported at the first such frame, as nobody else needs it.
What is left at the end (padding, a frame check sequence) stays: the IP length bounds the packet, and whether a frame
that the snap length has cut still has its check sequence nobody knows.
"""

import logging
import struct
import warnings
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

ETHERNET: Final = 1
DOT11: Final = 105
PRISM: Final = 119
RADIOTAP: Final = 127
AVS: Final = 163
PPI: Final = 192
RARE: Final = frozenset({DOT11, PRISM, RADIOTAP, AVS, PPI})
"""The link types that `strip` knows."""

NO_DATA: Final = 0x4  # bit of a data frame's subtype (IEEE 802.11 9.2.4.1.3)
HT_CONTROL_BYTES: Final = 4  # behind the QoS control field, when the order bit is set (9.2.4.1.10)
AGGREGATED: Final = 0x80  # bit of the QoS control field: the body is an A-MSDU (9.2.4.5.9)
SUBFRAME: Final = struct.Struct("!12xH")  # of an A-MSDU: addresses, length (9.3.2.2.2)
SNAP_SAP: Final = 0xAA
UNNUMBERED: Final = 3
ETHERTYPE_OUIS: Final = (0x000000, 0x0000F8)  # RFC 1042, IEEE 802.1H: an Ethertype follows
PRISM_CODES: Final = (0x41, 0x44)
AVS_MAGIC: Final = 0x80211


class _Damaged(Exception):
    """A header that cannot be, or that its receiver found damaged."""


def strip(link: int, frame: bytes) -> list[bytes] | None:
    """Return the Ethernet frames that a frame carries; empty if it carries none to be read, None if it is malformed.

    Encrypted frames, and those that are part of one (802.11 fragments), carry nothing that can be read.
    """
    try:
        if link == PPI:
            link, frame = _ppi(frame)
            if link == ETHERNET:
                return [frame] if frame else None
            if link != DOT11:
                return []
        padded = False
        if link in (PRISM, AVS):
            frame = _prefixed(frame)
        elif link == RADIOTAP:
            frame, padded = _radiotap(frame)
        return [ethernet for msdu in _msdus(frame, padded) if (ethernet := _ethernet(msdu)) is not None]
    except Exception:  # impacket raises whatever a short buffer happens to raise
        return None


@cache
def _layouts() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # impacket's own business
        from impacket import dot11

    logging.getLogger("impacket").setLevel(logging.ERROR)
    return dot11


def _behind(frame: bytes, length: int, least: int) -> bytes:
    if not least <= length <= len(frame):
        raise _Damaged
    return frame[length:]


def _ppi(frame: bytes) -> tuple[int, bytes]:
    """Step over a PPI header: version, flags, length, link type of what follows (CACE Technologies, PPI 1.0.7)."""
    length, link = struct.unpack_from("<2xHI", frame)
    return link, _behind(frame, length, 8)


def _prefixed(frame: bytes) -> bytes:
    """Step over a Prism header, or the AVS header that may stand in its place: a number, then the length of all."""
    (magic,) = struct.unpack_from("!I", frame)
    order = ">" if magic in PRISM_CODES or magic >> 12 == AVS_MAGIC else "<"
    (length,) = struct.unpack_from(f"{order}4xI", frame)
    return _behind(frame, length, 8)


def _radiotap(frame: bytes) -> tuple[bytes, bool]:
    """Step over a radiotap header; True if there is padding behind the 802.11 header (radiotap.org)."""
    (length,) = struct.unpack_from("<2xH", frame)
    rest = _behind(frame, length, 8)
    header = _layouts().RadioTap(frame)
    flags = header.get_flags() or 0
    known = header.RTF_FLAGS
    if header.get_version() != 0 or flags & known.PROPERTY_BAD_FCS:
        raise _Damaged
    return rest, bool(flags & known.PROPERTY_PAYLOAD_PADDING)


def _msdus(frame: bytes, padded: bool) -> Iterator[bytes]:
    """Give the service data units of a data frame: one, or those of an A-MSDU."""
    dot11 = _layouts()
    control = dot11.Dot11(frame, FCS_at_end=False)
    if len(frame) < 2 or control.get_version() != 0:
        raise _Damaged
    if (
        control.get_type() != dot11.Dot11Types.DOT11_TYPE_DATA
        or control.get_subtype() & NO_DATA
        or control.get_protectedFrame()
    ):
        return
    wds, qos = control.get_fromDS() and control.get_toDS(), control.is_QoS_frame()
    if wds:
        layout = dot11.Dot11DataAddr4QoSFrame if qos else dot11.Dot11DataAddr4Frame
    else:
        layout = dot11.Dot11DataQoSFrame if qos else dot11.Dot11DataFrame
    header = layout(frame[2:])
    length = 2 + layout().get_header_size() + (HT_CONTROL_BYTES if qos and control.get_order() else 0)
    if length > len(frame):
        raise _Damaged
    if control.get_moreFrag() or header.get_fragment_number():
        return
    body = frame[length + (-length % 4 if padded else 0) :]
    if qos and header.get_QoS() & AGGREGATED:
        yield from _subframes(body)
    else:
        yield body


def _subframes(body: bytes) -> Iterator[bytes]:
    """Take an A-MSDU apart: each subframe but the last is padded to four bytes."""
    while len(body) >= SUBFRAME.size:
        (length,) = SUBFRAME.unpack_from(body)
        end = SUBFRAME.size + length
        yield body[SUBFRAME.size : end]
        body = body[end + -end % 4 :]


def _ethernet(msdu: bytes) -> bytes | None:
    """Put an Ethernet header in the place of LLC and SNAP (RFC 1042); None if it is of another kind."""
    dot11 = _layouts()
    llc = dot11.LLC(msdu)
    if len(msdu) < 8 or (llc.get_DSAP(), llc.get_SSAP(), llc.get_control()) != (SNAP_SAP, SNAP_SAP, UNNUMBERED):
        return None
    snap = dot11.SNAP(llc.get_body_as_string())
    if snap.get_OUI() not in ETHERTYPE_OUIS:
        return None
    return bytes(12) + struct.pack("!H", snap.get_protoID()) + bytes(snap.get_body_as_string())
