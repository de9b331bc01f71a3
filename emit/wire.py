"""Forward v1 as our sender speaks it (WIRE.md): frames out, acknowledgements in; bytes only, no sockets.

In: entries, and what the receiver sends back.  Out: frames, and the chunk ids that it acknowledges.
Invariant: a chunk id is the base64 of an 8-byte session number and an 8-byte big-endian sequence number.
"""

import base64
import binascii
import zlib
from typing import Any, Final

import msgpack

from capture.errors import MalformedTraffic

ID_BYTES: Final = 16
MOST_SEQUENCE: Final = 1 << 40
"""Sequence numbers stay below: an id of 16 random bytes, as others make them, is above but once in 2**24 cases."""
GZIP_LEVEL: Final = 1
ACK_BYTES: Final = 64 * 1024
"""Most that a receiver may send without completing an object."""


def chunk_id(session: bytes, sequence: int) -> str:
    """Return the id of a session's chunk."""
    return base64.b64encode(session + sequence.to_bytes(8, "big")).decode("ascii")


def chunk_name(raw: bytes) -> bytes:
    """Return the chunk id of its 16 bytes."""
    return base64.b64encode(raw)


def raw_chunk_id(name: bytes) -> bytes:
    """Return the 16 bytes of a chunk id of ours."""
    return base64.b64decode(name)


def read_chunk_id(name: bytes) -> tuple[bytes, int] | None:
    """Return (session, sequence) of one of our chunk ids, None for anybody else's."""
    try:
        raw = base64.b64decode(name, validate=True)
    except binascii.Error:
        return None
    sequence = int.from_bytes(raw[8:], "big")
    if len(raw) != ID_BYTES or sequence >= MOST_SEQUENCE:
        return None
    return raw[:8], sequence


def frame_head(tag: str) -> bytes:
    """Return what comes before the length of the entries in a PackedForward frame: array, tag, bin32."""
    packed: bytes = msgpack.packb(tag)
    return b"\x93" + packed + b"\xc6"


def frame_tail(name: str, records: int, *, compressed: bool) -> bytes:
    """Return what comes after the entries: the options."""
    options: dict[str, object] = {"chunk": name, "size": records}
    if compressed:
        options["compressed"] = "gzip"
    packed: bytes = msgpack.packb(options)
    return packed


def compressed_frame(head: bytes, entries: bytes, tail: bytes) -> bytes:
    """Return a CompressedPackedForward frame."""
    packer = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    squeezed = packer.compress(entries) + packer.flush()
    return b"".join((head, len(squeezed).to_bytes(4, "big"), squeezed, tail))


class AckReader:
    """Reads what a receiver sends back; one per connection."""

    def __init__(self) -> None:
        self.read_bytes = 0
        self.unpacker = msgpack.Unpacker(
            raw=True, object_pairs_hook=tuple, strict_map_key=False, max_buffer_size=ACK_BYTES
        )

    def feed(self, data: bytes) -> list[bytes]:
        """Return the chunk ids acknowledged by `data`; raises MalformedTraffic if it is not Forward."""
        names: list[bytes] = []
        try:
            self.unpacker.feed(data)
            for item in self.unpacker:
                names.extend(self.names(item))
        except (ValueError, msgpack.UnpackException) as error:
            raise MalformedTraffic("the receiver's answer is not msgpack", at=self.read_bytes) from error
        self.read_bytes += len(data)
        return names

    def names(self, item: Any) -> list[bytes]:
        """Return the ids of one object: none, unless it is an acknowledgement."""
        if isinstance(item, list) and item[:1] == [b"HELO"]:
            raise MalformedTraffic("the receiver asks for a shared key: write shared_key_file", at=self.read_bytes)
        if not isinstance(item, tuple):  # a map
            raise MalformedTraffic("the receiver's answer is not an acknowledgement", at=self.read_bytes)
        return [value for key, value in item if key == b"ack" and isinstance(value, bytes)]
