"""Forward v1 as our receiver understands it (WIRE.md): frames of all four modes become chunks of entries; no
sockets.

In: the bytes of one whole frame, and where its elements are.  Out: a chunk: entries as one event stream, and what
to answer.  Invariant: nothing inflates beyond its limit, and whatever is malformed raises MalformedTraffic.
"""

import zlib
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import msgpack

from capture.errors import MalformedTraffic
from emit.frames import split_body
from emit.wire import read_chunk_id

MOST_OPTIONS_BYTES: Final = 64 * 1024
MOST_MEMBERS: Final = 65_536  # fluentd makes one per append to a chunk
PIECE_BYTES: Final = 4096
"""Fed to zlib at a time: it copies what lies behind a member, so that tiny ones would cost their number's square."""
ENTRY_OF_TWO: Final = b"\x92"
ACK: Final = b"\x81\xa3ack"


@dataclass(slots=True)
class Incoming:
    """One chunk as it came."""

    entries: bytes | memoryview  # concatenated msgpack [time, record]
    ack: bytes | None  # what to answer once it is safe
    ident: tuple[bytes, int] | None  # session and sequence, if the sender is one of ours


def read_frame(frame: memoryview, offsets: tuple[int, ...], inflated_bytes: int) -> Incoming | None:
    """Read one frame; None for a heartbeat.  `frame` is borrowed: the entries may point into it."""
    if len(offsets) == 1:
        return None
    spans = [frame[start:end] for start, end in pairwise(offsets)]
    if not 0xA0 <= spans[0][0] < 0xC0 and spans[0][0] not in (0xC4, 0xC5, 0xC6, 0xD9, 0xDA, 0xDB):
        raise MalformedTraffic("a frame's tag is not a string", at=offsets[0])
    mode, inside = split_body(spans[1])
    entries: bytes | memoryview
    if mode == "message":
        if len(spans) < 3:
            raise MalformedTraffic("a frame without a record", at=offsets[1])
        entries = ENTRY_OF_TWO + bytes(spans[1]) + bytes(spans[2])
        options = spans[3:]
    else:
        if len(spans) > 3:
            raise MalformedTraffic("a frame of too many elements", at=offsets[3])
        entries = spans[1][inside:]
        options = spans[2:]
    ack, compressed = read_options(options[0] if options else None, at=offsets[-2])
    if mode == "packed" and compressed == b"gzip":
        entries = inflate(entries, inflated_bytes, at=offsets[1])
    elif mode == "packed" and compressed not in (None, b"text"):
        raise MalformedTraffic(f"a compression that is not known, {compressed!r}", at=offsets[1])
    if ack is None:
        return Incoming(entries, None, None)
    name = msgpack.unpackb(ack, raw=True)
    return Incoming(entries, ACK + ack, read_chunk_id(name) if isinstance(name, bytes) else None)


def read_options(span: memoryview | None, at: int) -> tuple[bytes | None, bytes | None]:
    """Return the chunk id as it is encoded, and the compression; None for what the options do not have."""
    if span is None or span[0] == 0xC0:
        return None, None
    if len(span) > MOST_OPTIONS_BYTES:
        raise MalformedTraffic("options of too many bytes", at)
    unpacker = msgpack.Unpacker(
        raw=True, object_pairs_hook=list, strict_map_key=False, max_buffer_size=MOST_OPTIONS_BYTES
    )
    unpacker.feed(span)
    ack = compressed = None
    try:
        for _pair in range(unpacker.read_map_header()):
            key = unpacker.unpack()
            start = unpacker.tell()
            value = unpacker.unpack()
            if key == b"chunk" and isinstance(value, bytes):
                ack = bytes(span[start : unpacker.tell()])
            elif key == b"compressed" and isinstance(value, bytes):
                compressed = value
    except (ValueError, msgpack.UnpackException) as error:
        raise MalformedTraffic("options that are not a map", at) from error
    return ack, compressed


def inflate(squeezed: bytes | memoryview, most_bytes: int, at: int) -> bytes:
    """Return what any number of gzip members in a row hold, at most `most_bytes` together."""
    pieces = []
    left = most_bytes
    unpacker = None
    members = used = 0
    while used < len(squeezed):
        if unpacker is None:
            unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS)
            members += 1
        piece = squeezed[used : used + PIECE_BYTES]
        try:
            text = unpacker.decompress(piece, left + 1)
        except zlib.error as error:
            raise MalformedTraffic("entries that are not gzip", at) from error
        left -= len(text)
        if left < 0 or members > MOST_MEMBERS:
            raise MalformedTraffic(f"entries of more than {most_bytes} bytes once inflated", at)
        pieces.append(text)
        used += len(piece) - len(unpacker.unused_data)
        if unpacker.eof:
            unpacker = None
    if unpacker is not None:
        raise MalformedTraffic("gzip that ends too early", at)
    return b"".join(pieces)
