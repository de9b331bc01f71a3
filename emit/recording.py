"""Recordings by path: a `Reader` of whole messages, and a `Writer` that appends them.

In and out: messages as the bytes of one KIND_MESSAGE record (MESSAGE_HEADER and payload, as one part).
Invariant: memory is bounded by a block and the longest message allowed, whatever the file says; everything that a
reader cannot hand on is counted.
"""

import fcntl
import logging
import os
from collections.abc import Iterator
from types import TracebackType
from typing import IO, Self

from assemble.records import (
    AT_FIRST_NS,
    AT_LAST_NS,
    AT_OFFSET,
    AT_PART,
    AT_PARTS,
    AT_TOTAL,
    MESSAGE_HEADER,
    PART_BYTES,
)
from capture.errors import DeliveryError, MalformedTraffic, SourceError
from emit.blocks import (
    BLOCK_BYTES,
    BLOCK_HEADER,
    FILE_HEADER,
    RECORD_LENGTH,
    VERSION,
    Compression,
    Span,
    begins_header,
    read_file_header,
    seal,
    spans,
    unseal,
)
from emit.packing import split
from emit.parts import Parts
from emit.selection import LONGEST_MESSAGE
from emit.source import Entry, Source, at_once, cannot_read
from emit.tail import Tail

log = logging.getLogger(__name__)


class Reader(Source):
    """The messages of one recording, in the order in which they were written.

    `start_ns` and `end_ns` are about `first_ns`, half-open; blocks outside are stepped over.  A file that is being
    written is read as far as it was when the reader was made.  Raises SourceError if this is no recording.
    """

    def __init__(
        self,
        path: str,
        start_ns: int | None = None,
        end_ns: int | None = None,
        most_message_bytes: int = LONGEST_MESSAGE,
        file: IO[bytes] | None = None,
    ) -> None:
        super().__init__(path, start_ns, end_ns, most_message_bytes)
        self.whole = Parts(most_message_bytes)
        if file is not None:
            self.file = file
        else:
            try:
                self.file = open(path, "rb", opener=at_once)  # noqa: SIM115  # closed by `close`
            except OSError as error:
                raise cannot_read(path, error) from error
        try:
            self.size = self.read_size()
            self.key = self.read_head()
        except SourceError:
            self.file.close()
            raise

    def read_size(self) -> int:
        """Return the length of the file as it is now."""
        if not self.file.seekable():
            raise SourceError(f"{self.path}: cannot be read: it is not a regular file")
        return self.file.seek(0, os.SEEK_END)

    def read_head(self) -> bytes:
        """Return the key of the file; of one that is cut inside its header, nothing but that is read."""
        head = self.read(0, FILE_HEADER.size)
        said = read_file_header(head)
        if said is not None and said[0] == VERSION:
            return said[1]
        if said is None and begins_header(head):
            self.lose(Span(0, self.size, b"", lost=True))
            return b""
        if said is None:
            raise SourceError(f"{self.path}: is not a recording")
        raise SourceError(f"{self.path}: is a recording of version {said[0]}; this program reads version {VERSION}")

    def read(self, at: int, size: int) -> bytes:
        """Return that many bytes from a position, fewer only at the end."""
        try:
            self.file.seek(at)
            return self.file.read(size)
        except OSError as error:
            raise cannot_read(self.path, error) from error

    def entries(self) -> Iterator[Entry]:
        """Yield each message with what is needed to merge and to share out."""
        for span in spans(self.read, FILE_HEADER.size, self.size, self.key):
            self.position = span.end
            if span.lost:
                self.lose(span)
            elif span.block is not None and self.wanted(span.block.first_ns, span.block.last_ns):
                yield from self.block(span)
        self.give_up()

    def block(self, span: Span) -> Iterator[Entry]:
        """Yield the messages that end in a block."""
        assert span.block is not None
        try:
            found, refused = split(unseal(span.block, self.read(span.at + BLOCK_HEADER.size, span.block.stored)))
        except MalformedTraffic as error:
            self.lost_bytes += span.end - span.at
            if span.end == self.size:
                self.cut_at = span.at
            self.say(f"a block of {span.end - span.at} bytes at byte {span.at} is lost: {error.why}")
            return
        self.records += refused
        self.refused += refused
        if refused:
            self.say(f"{refused} records in the block at byte {span.at} are no messages")
        for last_ns, first_ns, flow, parts, record in found:
            if not self.wanted(first_ns, first_ns):
                continue
            self.records += 1
            if parts > 1:
                whole = self.join(record)
                if whole is not None:
                    yield Entry(last_ns, first_ns, flow, parts, whole)
                continue
            self.give_up()
            yield Entry(last_ns, first_ns, flow, 1, record)

    def join(self, record: bytes) -> bytes | None:
        """Take a part, and return the message if it is whole now."""
        before = self.whole.refused
        message = self.whole.add(record)
        self.refused += self.whole.refused - before
        if self.whole.why:
            self.say(self.whole.why)
        if message is not None:
            self.joined += self.whole.count - 1
        return message

    def give_up(self) -> None:
        """Forget the message under way; if parts of it have come, its others did not."""
        self.refused += self.whole.give_up()
        if self.whole.why:
            self.say(self.whole.why)

    def lose(self, span: Span) -> None:
        """Account for bytes that are in no block."""
        size = span.end - span.at
        self.lost_bytes += size
        if span.end == self.size:
            self.cut_at = span.at
            self.say(f"the recording is cut at byte {span.at}: the last {size} bytes are no whole block")
        else:
            self.say(f"{size} bytes at byte {span.at} are damaged")

    def close(self) -> None:
        """Give the file back."""
        self.file.close()


class Writer:
    """Appends messages to a recording, which is begun if it is not there; one writer holds the file at a time.

    What `flush` has returned from survives this process, not the machine.  Raises DeliveryError.
    """

    def __init__(self, path: str, compression: Compression = "none") -> None:
        self.path = path
        self.compression = compression
        self.body = bytearray()
        self.records = self.messages = self.first_ns = self.last_ns = 0
        self.fd = -1
        try:
            self.fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.tail = Tail(self.fd)
            said_cut(path, self.tail.mend())
        except BlockingIOError as error:
            self.abandon()
            raise DeliveryError(f"{path}: somebody else is writing it") from error
        except OSError as error:
            self.abandon()
            raise self.failed(error) from error

    def write(self, record: bytes) -> None:
        """Add a message, as one record; long ones are stored in parts."""
        fields = list(MESSAGE_HEADER.unpack_from(record))
        payload = memoryview(record)[MESSAGE_HEADER.size :]
        parts = max(1, -(-len(payload) // PART_BYTES))
        fields[AT_TOTAL], fields[AT_PARTS] = len(payload), parts
        for part in range(parts):
            offset = part * PART_BYTES
            fields[AT_OFFSET], fields[AT_PART] = offset, part
            piece = payload[offset : offset + PART_BYTES]
            self.add(MESSAGE_HEADER.pack(*fields), piece, fields[AT_FIRST_NS], fields[AT_LAST_NS])
            self.messages += part + 1 == parts
            if len(self.body) >= BLOCK_BYTES:
                self.flush()

    def add(self, header: bytes, piece: memoryview, first_ns: int, last_ns: int) -> None:
        """Add one record to the block under way."""
        self.body += RECORD_LENGTH.pack(len(header) + len(piece))
        self.body += header
        self.body += piece
        self.first_ns = min(first_ns, self.first_ns) if self.records else first_ns
        self.last_ns = max(last_ns, self.last_ns) if self.records else last_ns
        self.records += 1

    def flush(self) -> None:
        """Write the block under way; one that cannot be written is taken back as a whole."""
        if not self.records:
            return
        about = (self.records, self.messages, self.first_ns, self.last_ns)
        block = seal(bytes(self.body), about, self.compression, self.tail.key)
        self.body.clear()
        self.records = self.messages = 0
        try:
            self.tail.write(block)
        except OSError as error:
            os.ftruncate(self.fd, self.tail.end)
            raise self.failed(error) from error
        self.tail.end += len(block)

    def failed(self, error: OSError) -> DeliveryError:
        """Return an error that says what could not be written."""
        return DeliveryError(f"{self.path}: cannot be written: {(error.strerror or str(error)).lower()}")

    def abandon(self) -> None:
        """Close without writing what is left."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def close(self) -> None:
        """Write what is left, and give the file back."""
        if self.fd >= 0:
            try:
                self.flush()
            finally:
                self.abandon()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _type: type[BaseException] | None, _error: object, _trace: TracebackType | None) -> None:
        self.close()


def said_cut(path: str, cut_bytes: int) -> None:
    """Say that a broken end was cut off, if it was."""
    if cut_bytes:
        log.warning("%s ended in %d bytes that were no whole block, of a writer that was killed: cut", path, cut_bytes)
