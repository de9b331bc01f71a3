"""Transfer and content codings: off, and on again (RFC 9112 section 7, RFC 9110 section 8.4).

In: bytes of a body, and the names of its codings.  Out: what is inside; or an `Undecodable`.  Invariant: what comes out
is at most `most` bytes, whatever the input says, and all of the input was understood.
"""

import gzip
import importlib
import re
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

MOST_BYTES: Final = 64 * 1024 * 1024
"""Of one body when it is decoded."""
MOST_PLACES: Final = 1_000_000
"""Places in one body where a rule applies: more would keep a worker busy for long, and take much memory."""
MOST_CODINGS: Final = 3
CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\n]*)?\r?\n")
LINE_END: Final = re.compile(rb"\r?\n")
TRAILERS: Final = re.compile(rb"(?:[^\r\n][^\n]*\n)*+\r?\n")


class Undecodable(Exception):
    """A body that cannot be looked into."""


@dataclass(frozen=True, slots=True)
class Chunked:
    """What is left of a chunked body when its content is taken out: trailer fields, with the blank line."""

    trailers: bytes


def spliced(text: bytes, parts: Iterable[tuple[int, int, bytes]], most: int = MOST_BYTES) -> bytes:
    """Return a text with some spans exchanged, which are in order; raises Undecodable if that is too much."""
    made = bytearray()
    at = places = 0
    for start, end, new in parts:
        made += text[at:start]
        made += new
        at = end
        places += 1
        if places > MOST_PLACES or len(made) > most:
            raise Undecodable("more than a body may have")
    return bytes(made + text[at:]) if places else text


def dechunk(raw: bytes) -> tuple[bytes, Chunked]:
    """Return the content of a chunked body, and the rest."""
    pieces: list[bytes] = []
    at = 0
    while True:
        line = CHUNK.match(raw, at)
        if line is None:
            raise Undecodable("a chunk without a size")
        size, at = int(line[1], 16), line.end()
        if size == 0:
            if not TRAILERS.fullmatch(raw, at):
                raise Undecodable("trailer fields without an end")
            return b"".join(pieces), Chunked(raw[at:])
        if size > len(raw) - at:
            raise Undecodable("a chunk that is not whole")
        pieces.append(raw[at : at + size])
        end = LINE_END.match(raw, at + size)
        if end is None:
            raise Undecodable("a chunk without an end")
        at = end.end()


def rechunk(content: bytes, rest: Chunked) -> bytes:
    """Return a body of one chunk."""
    first = b"%x\r\n%s\r\n" % (len(content), content) if content else b""
    return first + b"0\r\n" + rest.trailers


def decode(data: bytes, codings: tuple[str, ...], most: int = MOST_BYTES) -> bytes:
    """Take content codings off, the last first."""
    if len(codings) > MOST_CODINGS:
        raise Undecodable("too many codings")
    for name in reversed(codings):
        if name not in DECODERS:
            raise Undecodable(f"a coding that is not known: {name}")
        try:
            data = DECODERS[name](data, most)
        except Undecodable:
            raise
        except Exception as error:  # each library has exceptions of its own
            raise Undecodable(f"no {name}: {error}") from error
    return data


def encode(content: bytes, codings: tuple[str, ...], original: bytes) -> bytes:
    """Put content codings on, as they were on `original`."""
    for at, name in enumerate(codings):
        inner = decode(original, codings[at + 1 :]) if name == "deflate" else b""
        content = ENCODERS[name](content, inner)
    return content


def _inflate(data: bytes, most: int, window: int) -> bytes:
    """Decode members of one format until the data ends."""
    pieces: list[bytes] = []
    size = 0
    while data:
        member = zlib.decompressobj(window)
        piece = member.decompress(data, most - size + 1)
        size += len(piece)
        if size > most:
            raise Undecodable("more than a body may have")
        if not member.eof:
            raise Undecodable("it stops short")
        pieces.append(piece)
        data = member.unused_data
    return b"".join(pieces)


def _gunzip(data: bytes, most: int) -> bytes:
    return _inflate(data, most, 16 + zlib.MAX_WBITS)


def _undeflate(data: bytes, most: int) -> bytes:
    """Decode the zlib format, or what some senders take for it: bare deflate."""
    return _inflate(data, most, zlib.MAX_WBITS if _has_zlib_head(data) else -zlib.MAX_WBITS)


def _has_zlib_head(data: bytes) -> bool:
    return len(data) >= 2 and data[0] & 15 == 8 and int.from_bytes(data[:2], "big") % 31 == 0


def _deflate(content: bytes, original: bytes) -> bytes:
    writer = zlib.compressobj(6, zlib.DEFLATED, zlib.MAX_WBITS if _has_zlib_head(original) else -zlib.MAX_WBITS)
    return writer.compress(content) + writer.flush()


def _unzstd(data: bytes, most: int) -> bytes:
    import zstandard

    pieces: list[bytes] = []
    size = 0
    while data:
        frame = zstandard.ZstdDecompressor(max_window_size=most).decompressobj()
        taken = 0
        while not frame.eof:  # a little at a time, as what comes out has no limit of its own
            if taken >= len(data):
                raise Undecodable("it stops short")
            piece = frame.decompress(data[taken : taken + 512])
            taken += 512
            size += len(piece)
            if size > most:
                raise Undecodable("more than a body may have")
            pieces.append(piece)
        data = frame.unused_data + data[taken:]
    return b"".join(pieces)


def _zstd(content: bytes, _original: bytes) -> bytes:
    import zstandard

    packed: bytes = zstandard.ZstdCompressor().compress(content)
    return packed


def _brotli() -> Any:
    """Return the library, if one is there."""
    for name in ("brotli", "brotlicffi"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise Undecodable("no library for br")


def _unbrotli(data: bytes, most: int) -> bytes:
    reader = _brotli().Decompressor()
    pieces: list[bytes] = []
    size = 0
    for at in range(0, len(data), 1024):
        piece = reader.process(data[at : at + 1024])
        size += len(piece)
        if size > most:
            raise Undecodable("more than a body may have")
        pieces.append(piece)
    if not reader.is_finished():
        raise Undecodable("it stops short")
    return b"".join(pieces)


def _to_brotli(content: bytes, _original: bytes) -> bytes:
    packed: bytes = _brotli().compress(content, quality=5)
    return packed


def _gzip(content: bytes, _original: bytes) -> bytes:
    return gzip.compress(content, 6, mtime=0)


DECODERS: Final[dict[str, Callable[[bytes, int], bytes]]] = {
    "gzip": _gunzip, "x-gzip": _gunzip, "deflate": _undeflate, "zstd": _unzstd, "br": _unbrotli,
}  # fmt: skip
ENCODERS: Final[dict[str, Callable[[bytes, bytes], bytes]]] = {
    "gzip": _gzip, "x-gzip": _gzip, "deflate": _deflate, "zstd": _zstd, "br": _to_brotli,
}  # fmt: skip
