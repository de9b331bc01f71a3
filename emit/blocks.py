"""The recording format as bytes: the file header, and blocks of records; docs/recording.md is its description.

In: bodies of records.  Out: blocks; and where in a file whole blocks lie, whatever else is in it.
Invariant: nothing is believed that is not covered by a checksum, and no size is used before it is found to be small.
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

from assemble.records import MESSAGE_HEADER, PART_BYTES
from capture.errors import MalformedTraffic

VERSION: Final = 1
FILE_MAGIC: Final = b"\x89RTREC\r\n"  # the 0x89 and the line end show transfers that change either
BLOCK_MAGIC: Final = b"\xa5BLK"

FILE_HEADER: Final = struct.Struct("<8sHH8sI")
"""Start of a recording, little-endian like everything here.

at 0,  8 bytes   magic      FILE_MAGIC
at 8,  2 bytes   version    VERSION
at 10, 2 bytes   reserved   0
at 12, 8 bytes   key        random; the checksum of every block header begins with it
at 20, 4 bytes   crc        CRC-32 of the 20 bytes before
"""

BLOCK_HEADER: Final = struct.Struct("<4sBBHIIIIqqII")
"""Start of a block; `stored` bytes follow.

at 0,  4 bytes   magic         BLOCK_MAGIC
at 4,  1 byte    compression   0 none, 1 zlib (RFC 1950), 2 zstd (RFC 8878), of the body
at 5,  1 byte    reserved      0
at 6,  2 bytes   reserved      0
at 8,  4 bytes   stored        bytes of the body in the file
at 12, 4 bytes   size          bytes of the body when unpacked
at 16, 4 bytes   records       in the body
at 20, 4 bytes   messages      that end in the body; fewer than records if some are parts
at 24, 8 bytes   first_ns      earliest first_ns of its records
at 32, 8 bytes   last_ns       latest last_ns
at 40, 4 bytes   body_crc      CRC-32 of the body as it is in the file
at 44, 4 bytes   crc           CRC-32 of the file's key and the 44 bytes before
"""

RECORD_LENGTH: Final = struct.Struct("<I")
"""Before each record of a body: the bytes of MESSAGE_HEADER and payload that follow."""

BLOCK_BYTES: Final = 1024 * 1024
"""A body is ended by the writer once it has this many bytes; the last record may be longer than that alone."""
MOST_BODY_BYTES: Final = 4 * 1024 * 1024
"""No body is larger, in the file or unpacked: a reader needs no more memory for one, whatever a header says."""
SCAN_BYTES: Final = 256 * 1024

COMPRESSIONS: Final = {"none": 0, "gzip": 1, "zstd": 2}
ZLIB_LEVEL: Final = 1  # a recording has to keep up
ZSTD_LEVEL: Final = 1

assert BLOCK_BYTES + RECORD_LENGTH.size + MESSAGE_HEADER.size + PART_BYTES <= MOST_BODY_BYTES

Compression = Literal["none", "gzip", "zstd"]
ReadAt = Callable[[int, int], bytes]
"""Returns that many bytes from a position of a file, fewer only at its end."""


class DamagedBlock(MalformedTraffic):
    """A block whose body is not what its header says."""


@dataclass(frozen=True, slots=True)
class Block:
    """What a block header says."""

    compression: int
    stored: int
    size: int
    records: int
    messages: int
    first_ns: int
    last_ns: int
    body_crc: int

    @property
    def length(self) -> int:
        """Bytes that the whole block takes in the file."""
        return BLOCK_HEADER.size + self.stored


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a file, [at, end): a block that is there to its end, a file header, or bytes that are neither."""

    at: int
    end: int
    key: bytes  # of the blocks that follow
    block: Block | None = None
    lost: bool = False  # neither


def file_header(key: bytes) -> bytes:
    """Return the start of a recording whose blocks are made with this key of 8 bytes."""
    head = FILE_HEADER.pack(FILE_MAGIC, VERSION, 0, key, 0)[:-4]
    return head + zlib.crc32(head).to_bytes(4, "little")


def read_file_header(data: bytes) -> tuple[int, bytes] | None:
    """Return (version, key); None if this is not the start of a recording."""
    if len(data) < FILE_HEADER.size:
        return None
    magic, version, _reserved, key, crc = FILE_HEADER.unpack_from(data)
    return (version, key) if magic == FILE_MAGIC and crc == zlib.crc32(data[: FILE_HEADER.size - 4]) else None


def begins_header(data: bytes) -> bool:
    """Tell whether all bytes of a file are what the first bytes of a recording of ours may be."""
    return len(data) < FILE_HEADER.size and file_header(b"").startswith(data[:12])


def seal(body: bytes | memoryview, about: tuple[int, int, int, int], compression: Compression, key: bytes) -> bytes:
    """Return a body as a block; `about` is (records, messages, first_ns, last_ns)."""
    stored = _packed(body, compression)
    kind = COMPRESSIONS[compression]
    head = BLOCK_HEADER.pack(BLOCK_MAGIC, kind, 0, 0, len(stored), len(body), *about, zlib.crc32(stored), 0)[:-4]
    return b"".join((head, zlib.crc32(head, zlib.crc32(key)).to_bytes(4, "little"), stored))


def _packed(body: bytes | memoryview, compression: Compression) -> bytes | memoryview:
    if compression == "gzip":
        return zlib.compress(body, ZLIB_LEVEL)
    if compression == "zstd":
        import zstandard  # here, so that those who want none do not pay for it

        packed: bytes = zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress(body)
        return packed
    return body


def read_block_header(data: bytes, key: bytes) -> Block | None:
    """Return what a block header says; None if this is none of a file with that key."""
    if len(data) < BLOCK_HEADER.size:
        return None
    magic, compression, _r, _s, stored, size, records, messages, first_ns, last_ns, body_crc, crc = (
        BLOCK_HEADER.unpack_from(data)
    )
    if magic != BLOCK_MAGIC or crc != zlib.crc32(data[: BLOCK_HEADER.size - 4], zlib.crc32(key)):
        return None
    if max(stored, size) > MOST_BODY_BYTES:
        return None
    return Block(compression, stored, size, records, messages, first_ns, last_ns, body_crc)


def unseal(block: Block, stored: bytes) -> bytes:
    """Return the body; DamagedBlock if it is not what the header says."""
    if len(stored) != block.stored or zlib.crc32(stored) != block.body_crc:
        raise DamagedBlock("a body whose checksum is wrong", at=0)
    if block.compression == COMPRESSIONS["none"]:
        body = stored
    elif block.compression == COMPRESSIONS["gzip"]:
        try:
            body = zlib.decompressobj().decompress(stored, block.size + 1)
        except zlib.error as error:
            raise DamagedBlock("a body that cannot be unpacked", at=0) from error
    elif block.compression == COMPRESSIONS["zstd"]:
        body = _unzstd(stored, block.size + 1)
    else:
        raise DamagedBlock(f"a compression that is not known, {block.compression}", at=4)
    if len(body) != block.size:
        raise DamagedBlock("a body of another size than its header says", at=0)
    return body


def _unzstd(stored: bytes, most: int) -> bytes:
    """Unpack up to `most` bytes: a stream, as a frame's own word for its size is not to be allocated."""
    import zstandard

    stream: Any = zstandard.ZstdDecompressor(max_window_size=2 * MOST_BODY_BYTES).stream_reader(stored)
    try:
        body: bytes = stream.read(most)
    except (zstandard.ZstdError, MemoryError) as error:
        raise DamagedBlock("a body that cannot be unpacked", at=0) from error
    return body


def spans(read: ReadAt, at: int, size: int, key: bytes) -> Iterator[Span]:
    """Step from block to block over [at, size) of a file; what is no block is looked through for the next one.

    Recordings may follow each other in one file (cat): a file header between blocks brings another key.
    """
    while at < size:
        head = read(at, BLOCK_HEADER.size)
        block = read_block_header(head, key)
        if block is not None:
            end = at + block.length
            if end > size:  # cut; nothing is looked for inside: payloads may hold anything
                yield Span(at, size, key, lost=True)
                return
            yield Span(at, end, key, block)
        elif (another := read_file_header(head)) is not None and another[0] == VERSION:
            end, key = at + FILE_HEADER.size, another[1]
            yield Span(at, end, key)
        else:
            end = _find(read, at + 1, size, key)
            yield Span(at, end, key, lost=True)
        at = end


def _find(read: ReadAt, at: int, size: int, key: bytes) -> int:
    """Return where the next block header of a file with this key is; `size` if there is none."""
    step = SCAN_BYTES // 256  # damage is usually short, and there may be much of it
    while at < size:
        data = read(at, step + BLOCK_HEADER.size)
        found = data.find(BLOCK_MAGIC)
        while 0 <= found < step:
            if read_block_header(data[found : found + BLOCK_HEADER.size], key) is not None:
                return at + found
            found = data.find(BLOCK_MAGIC, found + 1)
        at += step
        step = min(4 * step, SCAN_BYTES)
    return size
