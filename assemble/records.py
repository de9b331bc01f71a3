"""What the assembler writes into a message ring, to the byte, and the message as the library gives it.

In: nothing.  Out: the layouts, which the compiled modules check at import against their own.
"""

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final, Literal

REQUEST: Final = 1
RESPONSE: Final = 2

FLAG_COMPLETE: Final = 1  # every byte of the message is in the payload
FLAG_INTERIM: Final = 2  # a 1xx response: the final one follows under the same id
FLAG_IPV6: Final = 4  # the addresses are IPv6; else IPv4 in the first 4 bytes, the rest 0

MESSAGE_HEADER: Final = struct.Struct("<Qqq16s16sHHBBHIIIIQQQQII")
"""Start of a KIND_MESSAGE payload; `size` bytes of the message's wire bytes follow, beginning at byte `offset` of it.

at 0,   8 bytes   id           the same on a request and its response
at 8,   8 bytes   first_ns     packet time of the first byte, nanoseconds since the epoch
at 16,  8 bytes   last_ns      packet time of the last byte
at 24,  16 bytes  src          sender, network byte order
at 40,  16 bytes  dst          receiver
at 56,  2 bytes   sport        sender's port
at 58,  2 bytes   dport        receiver's port
at 60,  1 byte    kind         1 request, 2 response
at 61,  1 byte    flags        FLAG_ bits
at 62,  2 bytes   status       of a response; 0 in a request
at 64,  4 bytes   method_len   of a request: it is message[0:method_len]; 0 in a response
at 68,  4 bytes   target_at    of a request: where the target begins in the message
at 72,  4 bytes   target_len
at 76,  4 bytes   start_len    length of the start line with its line end
at 80,  8 bytes   head_len     length of start line, headers and blank line
at 88,  8 bytes   total        bytes of the whole message that are present, over all parts
at 96,  8 bytes   missing      bytes known to be missing from it
at 104, 8 bytes   offset       of this part in the message; 0 in the first part
at 112, 4 bytes   part         number of this part, from 0; parts follow each other in one ring, nothing between
at 116, 4 bytes   parts        their number; 1 for all but large messages
"""

PART_BYTES: Final = 1_048_560
"""Most payload of one record.  Parts but the last are multiples of 24: of 3, so that base64 of the parts is the base64
of the message, and of 8, so that they fill their record without padding."""


@dataclass(frozen=True, slots=True)
class Message:
    """One HTTP message as it was on the wire."""

    id: int
    kind: Literal["request", "response"]
    src: IPv4Address | IPv6Address
    sport: int
    dst: IPv4Address | IPv6Address
    dport: int
    first_ns: int
    last_ns: int
    method: str | None
    target: str | None
    status: int | None
    head: int
    complete: bool
    missing: int
    payload: bytes

    @property
    def id_hex(self) -> str:
        """The id as it is written everywhere: 16 hexadecimal digits."""
        return f"{self.id:016x}"


def read_message(record: bytes | memoryview) -> Message:
    """Build a message from one whole (single-part) KIND_MESSAGE payload."""
    (
        ident, first_ns, last_ns, src, dst, sport, dport, kind, flags, status,
        method_len, target_at, target_len, _start_len, head_len, total, missing, _offset, _part, _parts,
    ) = MESSAGE_HEADER.unpack_from(record)  # fmt: skip
    payload = bytes(record[MESSAGE_HEADER.size : MESSAGE_HEADER.size + total])
    request = kind == REQUEST
    return Message(
        id=ident,
        kind="request" if request else "response",
        src=_address(src, flags),
        sport=sport,
        dst=_address(dst, flags),
        dport=dport,
        first_ns=first_ns,
        last_ns=last_ns,
        method=payload[:method_len].decode("latin-1") if request else None,
        target=payload[target_at : target_at + target_len].decode("latin-1") if request else None,
        status=None if request else status,
        head=head_len,
        complete=bool(flags & FLAG_COMPLETE),
        missing=missing,
        payload=payload,
    )


def _address(packed: bytes, flags: int) -> IPv4Address | IPv6Address:
    return IPv6Address(packed) if flags & FLAG_IPV6 else IPv4Address(packed[:4])


REFUSALS: Final = {
    "refused_link_header": "the frame is too short for its link layer, or the link type is unknown",
    "refused_not_ip": "neither IPv4 nor IPv6",
    "refused_ip_header": "an IP header with impossible lengths",
    "refused_ip_fragment": "an IP fragment",
    "refused_not_tcp": "not TCP, nor a tunnel that is unwrapped",
    "refused_tunnel": "a tunnel with an impossible header, or in too many others",
    "refused_checksum": "a wrong checksum: its receiver drops it too",
    "refused_tcp_header": "a TCP header with an impossible length",
    "refused_port": "neither port is watched",
}
"""Why a frame is refused, in words, by the name of its counter."""
