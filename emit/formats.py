"""Which format a file of messages has: by its content where it is read, by its name where it is written.

In: paths.  Out: sources.  Raises SourceError where a file cannot be read, or is of no format that is known.
"""

import re
import tempfile
from typing import IO, Final, Literal

from capture.errors import SourceError
from capture.streams import Stop
from emit.blocks import FILE_MAGIC
from emit.gor import HEADER, GorSource
from emit.jsonlines import LineSource
from emit.recording import Reader
from emit.selection import LONGEST_MESSAGE, Format
from emit.source import READ_BYTES, Opened, Source, is_regular

FORMATS: Final[tuple[Format, ...]] = ("recording", "jsonl", "gor", "har")
BY_ENDING: Final[dict[str, Format]] = {
    ".rec": "recording", ".jsonl": "jsonl", ".ndjson": "jsonl", ".gor": "gor", ".har": "har",
}  # fmt: skip
LOOKED_AT_BYTES: Final = 4096
KEY: Final = re.compile(rb"\{\s*\"[^\"\\]*\"\s*:")
LOG: Final = re.compile(rb"\{\s*\"log\"\s*:")
CAPTURES: Final = tuple(
    bytes.fromhex(magic)
    for magic in ("a1b2c3d4", "d4c3b2a1", "a1b23c4d", "4d3cb2a1", "a1b2cd34", "34cdb2a1", "0a0d0d0a")
)


def by_ending(path: str) -> Format | None:
    """Return the format that a file's name asks for."""
    return next((name for ending, name in BY_ENDING.items() if path.lower().endswith(ending)), None)


def by_content(data: bytes) -> Format | None:
    """Return the format of a file that begins so; nothing at all may be JSON Lines."""
    if data and (data.startswith(FILE_MAGIC) or FILE_MAGIC.startswith(data)):
        return "recording"
    if HEADER.fullmatch(data.partition(b"\n")[0]):
        return "gor"
    text = data.removeprefix(b"\xef\xbb\xbf").lstrip()
    if LOG.match(text):
        return "har"
    return "jsonl" if text.startswith(b"{") or not text else None


def decides(data: bytes) -> bool:
    """Whether more bytes would not change what `by_content` says; whoever writes into a pipe may have no more now."""
    text = data.removeprefix(b"\xef\xbb\xbf").lstrip()
    return len(data) >= len(FILE_MAGIC) and bool(KEY.match(text) or (b"\n" in text and not text.startswith(b"{")))


def is_capture(data: bytes) -> bool:
    """Tell whether a file that begins so holds frames, not messages."""
    return data.startswith(CAPTURES)


def look(path: str) -> bytes:
    """Return the first bytes of a file, unpacked; nothing of what is no regular file."""
    if not is_regular(path):
        return b""
    opened = Opened(path)
    try:
        return opened.begin(LOOKED_AT_BYTES, decides)
    finally:
        opened.close()


def open_source(
    path: str,
    format: Format | Literal["auto"] = "auto",  # noqa: A002  # its name everywhere
    start_ns: int | None = None,
    end_ns: int | None = None,
    most_bytes: int = LONGEST_MESSAGE,
    stop: Stop | None = None,
    stdin_fd: int = 0,
) -> Source:
    """Open one file of messages."""
    opened = Opened(path, stop, stdin_fd)
    try:
        begin = opened.begin(LOOKED_AT_BYTES, decides)
        chosen = by_content(begin) if format == "auto" else format
        if chosen is None:
            raise SourceError(_unknown(path, begin))
        if chosen == "recording":
            file = _seekable(opened)
            opened.close()
            return Reader(path, start_ns, end_ns, most_bytes, file)
    except SourceError:
        opened.close()
        raise
    if chosen == "har":
        from emit.har import HarSource  # here, as its parser is slow to import, and seldom needed

        return HarSource(path, start_ns, end_ns, most_bytes, opened)
    kind = GorSource if chosen == "gor" else LineSource
    return kind(path, start_ns, end_ns, most_bytes, opened)


def _unknown(path: str, begin: bytes) -> str:
    if is_capture(begin):
        return f'{path}: is a capture file, of frames, not messages; write type = "pcap"'
    return f"{path}: is not a recording, nor JSON Lines, .gor or HAR"


def _seekable(opened: Opened) -> IO[bytes] | None:
    """Return a file that nobody else sees with the bytes of what is not a plain file; None for one that is."""
    if opened.regular and not opened.packed and opened.path != "-":
        return None
    file = tempfile.TemporaryFile()  # noqa: SIM115  # closed by the reader
    try:
        while data := opened.stream.read(READ_BYTES):
            file.write(data)
        file.flush()
    except OSError as error:
        file.close()
        raise SourceError(f"{opened.path}: cannot be unpacked for reading: {error.strerror}") from error
    return file
