"""What every file of messages is to its reader: entries in the order in which they were written, and what was lost.

In: bytes of a file, a pipe or standard input, gzip and zstd unpacked on the way.  Out: `Entry` objects.
Invariant: memory is bounded by the longest message allowed, whatever the file says; everything that cannot be handed
on is counted.
"""

import abc
import logging
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Final, NamedTuple, Self

from capture.errors import SourceError
from capture.streams import Plain, Stop, Stream, unpacked
from emit.selection import LONGEST_MESSAGE

MOST_SAID: Final = 8  # faults of one file that are told in words; all are counted
READ_BYTES: Final = 256 * 1024
KEPT_BYTES: Final = 4 * READ_BYTES  # of a buffer that is used up, before it is made shorter
STANDARD_INPUT: Final = "-"

log = logging.getLogger(__name__)


class Entry(NamedTuple):
    """One message of a file; sorts by the time at which it was whole."""

    last_ns: int
    first_ns: int
    flow: int  # hash of its flow: the same for both directions
    parts: int  # records that it was stored in
    record: bytes


class Source(abc.ABC):
    """The messages of one file; `entries` can be asked for once.

    `start_ns` and `end_ns` are about `first_ns`, half-open.
    """

    def __init__(
        self, path: str, start_ns: int | None = None, end_ns: int | None = None, most_bytes: int = LONGEST_MESSAGE
    ) -> None:
        self.path = path
        self.name = "standard input" if path == STANDARD_INPUT else path
        self.start_ns = start_ns
        self.end_ns = end_ns
        self.most_message_bytes = most_bytes
        self.size = 0  # of the file; 0 if it is not known
        self.position = 0  # in the file, of what is read
        self.records = self.joined = self.refused = 0  # refused: no message, or part of one that is not whole
        self.lost_bytes = 0  # in nothing that can be read
        self.cut_at: int | None = None  # where the file ends in something that is not whole
        self.said = 0

    @abc.abstractmethod
    def entries(self) -> Iterator[Entry]:
        """Yield each message with what is needed to merge and to share out."""

    @abc.abstractmethod
    def close(self) -> None:
        """Give the file back."""

    def __iter__(self) -> Iterator[bytes]:
        """Yield each message as one record; `assemble.message.read_message` makes an object of it."""
        return (entry.record for entry in self.entries())

    def wanted(self, earliest_ns: int, latest_ns: int) -> bool:
        """Whether something between two times, both included, may be wanted."""
        return (self.end_ns is None or earliest_ns < self.end_ns) and (
            self.start_ns is None or latest_ns >= self.start_ns
        )

    def say(self, text: str) -> None:
        """Tell of a fault, unless there were many."""
        self.said += 1
        if self.said <= MOST_SAID:
            log.warning("%s: %s%s", self.name, text, "; more is only counted" if self.said == MOST_SAID else "")

    def refuse(self, text: str) -> None:
        """Count something that is no message of ours, and tell of it."""
        self.records += 1
        self.refused += 1
        self.say(text)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _type: type[BaseException] | None, _error: object, _trace: TracebackType | None) -> None:
        self.close()


class StreamSource(Source):
    """A file that is read from its beginning to its end, so that it may be a pipe, or compressed."""

    def __init__(
        self,
        path: str,
        start_ns: int | None = None,
        end_ns: int | None = None,
        most_bytes: int = LONGEST_MESSAGE,
        opened: "Opened | None" = None,
    ) -> None:
        super().__init__(path, start_ns, end_ns, most_bytes)
        self.opened = Opened(path) if opened is None else opened
        self.size = self.opened.size
        self.unpacked_bytes = 0  # handed out by `read`

    def read(self, size: int) -> bytes:
        """Return from 1 to `size` bytes; b"" at the end, also if that is early."""
        data = self.opened.stream.read(size)
        self.position = self.opened.plain.position
        self.unpacked_bytes += len(data)
        return data

    def pieces(self, separator: bytes, most_bytes: int) -> Iterator[tuple[bytes | None, int]]:
        """Yield what lies before each separator, and where in the unpacked file it begins; None: it is too long.

        What is left at the end is in `rest`, and begins at `rest_at`; if that is too long, it is a piece like others.
        """
        self.rest, self.rest_at = b"", 0
        buffer = bytearray()
        at = scanned = 0  # in the buffer: where the piece begins, up to where it holds no separator
        base = begun = 0  # where the buffer begins in the file, and the piece
        dropped = False  # of the piece, what was in the buffer is gone
        while True:
            found = buffer.find(separator, scanned)
            if found >= 0:
                piece = None if dropped or found - at > most_bytes else bytes(memoryview(buffer)[at:found])
                yield piece, begun
                at = scanned = found + len(separator)
                begun = base + at
                dropped = False
                continue
            scanned = max(at, len(buffer) - len(separator) + 1)
            if dropped or scanned - at > most_bytes:
                dropped, at = True, scanned
            if at > KEPT_BYTES:
                del buffer[:at]
                base, scanned, at = base + at, scanned - at, 0
            data = self.read(READ_BYTES)
            if not data:
                break
            buffer += data
        if self.opened.stopped:
            return  # this is not the end of the file
        if dropped or len(buffer) - at > most_bytes:
            yield None, begun
        else:
            self.rest, self.rest_at = bytes(memoryview(buffer)[at:]), begun
        if self.opened.stream.fault is not None:
            self.cut_at = begun
            self.say(self.opened.stream.fault)

    def cut(self, at: int, size: int) -> None:
        """Account for a file that ends in something that is not whole."""
        self.cut_at = at
        self.lost_bytes += size
        self.say(f"it is cut: the last {size} bytes are no whole message")

    def close(self) -> None:
        self.opened.close()


class Opened:
    """A file, a pipe or standard input, with its first bytes looked at; raises SourceError."""

    def __init__(self, path: str, stop: Stop | None = None, stdin_fd: int = 0) -> None:
        self.path = path
        self.own_stop = stop is None
        self.stop = Stop() if stop is None else stop
        self.fd = -1
        try:
            self.fd = os.dup(stdin_fd) if path == STANDARD_INPUT else at_once(path, os.O_RDONLY | os.O_CLOEXEC)
            self.plain = Plain(self.fd, self.stop)
            self.stream: Stream = unpacked(self.plain)
            self.packed = self.stream is not self.plain
            about = os.fstat(self.fd)
            self.regular = stat.S_ISREG(about.st_mode)
            self.size = about.st_size
        except (OSError, ValueError) as error:
            self.close()
            raise cannot_read(path, error) from error
        if self.plain.fault is not None:
            self.close()
            raise SourceError(f"{path}: cannot be read: {self.plain.fault.lower()}")

    def begin(self, size: int, enough: Callable[[bytes], bool]) -> bytes:
        """Return the first bytes, unpacked, until they are enough, or `size`; they are still to be read."""
        data = b""
        while len(data) < size and not enough(data) and (more := self.stream.read(size - len(data))):
            data += more
        self.stream = Ahead(data, self.stream)
        return data

    @property
    def stopped(self) -> bool:
        """Whether bytes end because that is wanted."""
        return self.stop.wished

    def close(self) -> None:
        """Give the file back."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
        if self.own_stop:
            self.stop.close()


class Ahead:
    """A stream of which some bytes have been read, and are read again."""

    def __init__(self, data: bytes, source: Stream) -> None:
        self.data = data
        self.source = source
        self.fault: str | None = None  # why the bytes end early

    def read(self, size: int) -> bytes:
        """Return from 1 to `size` bytes; b"" at the end."""
        if self.data:
            data, self.data = self.data[:size], self.data[size:]
            return data
        data = self.source.read(size)
        self.fault = self.source.fault
        return data

    def ready(self) -> bool:
        """Whether a read would not wait."""
        return bool(self.data) or self.source.ready()


def losses(sources: Sequence[Source]) -> dict[str, int]:
    """Return what of files could not be handed on, by the names of the reader's counters."""
    return {
        "records_refused": sum(source.refused for source in sources),
        "recordings_cut": sum(source.cut_at is not None for source in sources),
        "recording_bytes_lost": sum(source.lost_bytes for source in sources),
    }


def cannot_read(path: str, error: OSError | ValueError) -> SourceError:
    """Return an error that says why a file cannot be read."""
    why = getattr(error, "strerror", None) or str(error)
    return SourceError(f"{path}: cannot be read: {why.lower()}")


def is_regular(path: str) -> bool:
    """Whether a path is that of a file, which can be opened again; what is not there is for whoever opens it."""
    try:
        return path != STANDARD_INPUT and stat.S_ISREG(os.stat(path).st_mode)
    except (OSError, ValueError):
        return True


def at_once(path: str, flags: int) -> int:
    """Open without waiting for whoever is at the other end of what is no file."""
    return os.open(path, flags | os.O_NONBLOCK)
