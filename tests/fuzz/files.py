"""Target `files`: a file of messages of any format, as its reader takes it, and recordings whose checksums fit.

In: a byte that says what the rest is: a file, a gzip or zstd of it, or the body of a recording's block.  Out: an
exception other than SourceError, records that are no messages, or counts that do not add up.
"""

import gzip
import os
from contextlib import suppress
from typing import Final

import zstandard

from assemble.message import read_message
from capture.errors import SourceError
from emit.blocks import COMPRESSIONS, Compression, file_header, seal
from emit.formats import FORMATS, open_source

TRACED: Final = True
KEY: Final = b"12345678"
MOST_BYTES: Final = 64 * 1024
ROOM_BYTES: Final = 4096  # for what is around a message in its file, and is allowed for as roughly as that
COMPRESSION_NAMES: Final[tuple[Compression, ...]] = tuple(COMPRESSIONS)  # type: ignore[arg-type]


def recording(data: bytes) -> bytes:
    """Make a recording of blocks that are sealed rightly; what they hold, and say of it, is the input's."""
    out = file_header(KEY)
    while len(data) > 4:
        size, kind, records, times = data[:4]
        body, data = data[4 : 4 + 2 * size], data[4 + 2 * size :]
        about = (records & 15, records >> 4, (times & 15) << 58, (times >> 4) << 58)
        block = seal(body, about, COMPRESSION_NAMES[kind % 3], KEY)
        out += block[: len(block) - (kind >> 6 & 1)]  # a byte is lost now and then
    return out + data


def read(data: bytes, named: str, most_bytes: int, start_ns: int | None) -> None:
    """Read a file to its end."""
    fd = os.memfd_create("fuzz")
    try:
        os.write(fd, data)
        with suppress(SourceError), open_source(f"/proc/self/fd/{fd}", named, start_ns, None, most_bytes) as source:  # type: ignore[arg-type]
            parts = 0
            for entry in source.entries():
                message = read_message(entry.record)
                assert (message.first_ns, message.last_ns) == (entry.first_ns, entry.last_ns)
                assert len(message.payload) <= most_bytes + ROOM_BYTES
                assert start_ns is None or message.first_ns >= start_ns
                parts += max(entry.parts, 1)
            if start_ns is None:
                assert source.records + source.joined == parts + source.refused, (source.records, source.joined, parts)
            assert 0 <= source.lost_bytes <= max(source.size, getattr(source, "unpacked_bytes", 0), 1)
    finally:
        os.close(fd)


def run(data: bytes) -> None:
    """Read what the first byte says."""
    if len(data) < 2:
        return
    how, data = data[0], bytes(data[1:])
    named = ("auto", *FORMATS)[how & 7] if how & 7 <= len(FORMATS) else "recording"
    if how & 7 > 5:
        data = recording(data)
    if how & 8:
        data = gzip.compress(data, 1) if how & 16 else zstandard.ZstdCompressor().compress(data)
    read(data, named, 200 if how & 32 else MOST_BYTES, 1 << 60 if how & 64 else None)
