"""Chunks on disk, for a far side that takes nothing for hours: appended at one end, read and let go at the other.

In: framed chunks, in order.  Out: the same, in that order; in another run too.  Invariant: nothing is believed that is
not covered by a checksum; what a crash left at the end is cut off, and what cannot be read before that costs itself.

A directory of a worker's own holds segments, `00000001.chunks` and so on, and `done`: where the first chunk is that is
still to be delivered.  A segment is removed once all of it is.  Nothing is synced: it survives every process, and not
the loss of power.
"""

import contextlib
import errno
import fcntl
import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from capture.errors import MirrorError, reason
from emit.window import FOREVER, Chunk
from emit.wire import chunk_name, raw_chunk_id

MAGIC: Final = b"\xa5CHK"
RECORD: Final = struct.Struct("<4sI16sQIIIIII")
"""Before each frame, little-endian.

at 0,  4 bytes   magic      MAGIC
at 4,  4 bytes   size       bytes of the frame
at 8,  16 bytes  id         session and sequence
at 24, 8 bytes   payload    bytes of its messages' payloads
at 32, 4 bytes   kind       of its messages
at 36, 4 bytes   messages   that end in it
at 40, 4 bytes   part       of the message in parts, whose number of
at 44, 4 bytes   parts      them this is; 0: none
at 48, 4 bytes   records    in it
at 52, 4 bytes   crc        CRC-32 of the 52 bytes before, and of the frame
"""
DONE: Final = struct.Struct("<QI")
"""`done`: a position, and the CRC-32 of its 8 bytes."""
SEGMENT_BYTES: Final = 64 * 1024 * 1024
SEGMENTS: Final = 8
"""A spool has at least so many when it is full, as room comes back in whole ones."""
MOST_FRAME_BYTES: Final = 64 * 1024 * 1024
NUMBER_AT: Final = 32
"""A position has the number of a segment above this bit, and the place in it below."""
PIECE_BYTES: Final = 64 * 1024
"""Looked through at a time, for where the next chunk begins."""
SECTOR_BYTES: Final = 4096
"""Passed over at a time, where that cannot be read."""
OF_A_CHUNK: Final = (errno.EIO, errno.EBADMSG, errno.EUCLEAN, errno.ENOENT)
"""Errors that say of what is read that it is gone; others would be so with any chunk, and may pass."""


@dataclass(frozen=True, slots=True)
class SpoolSpec:
    """Where an output of a worker may put chunks, and how many bytes of them."""

    path: str
    most_bytes: int
    worker: str = "worker-0"
    number: int = 0  # of the worker,
    workers: int = 1  # of so many of its kind


class Spool:
    """The directory of one worker."""

    def __init__(self, spec: SpoolSpec) -> None:
        self.spec = spec
        self.directory = Path(spec.path) / spec.worker
        self.segment_bytes = max(min(SEGMENT_BYTES, spec.most_bytes // SEGMENTS), 1)
        self.sizes: dict[int, int] = {}  # of segments, by number
        self.head = 0  # position of the first chunk that is not delivered
        self.at = 0  # of the first that was not read
        self.tail = 0  # behind the last
        self.trouble = ""  # why the latest chunk that could not be read could not
        self.writing = self.reading = -1
        self.written = self.read_from = 0  # the segments that these are of
        self.locks: list[int] = []

    def open(self, tail: int = 0, head: int = 0) -> None:
        """Take the directory, and find what is there; a predecessor in this run has noted how far that goes.

        Raises MirrorError.
        """
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.lock(self.directory)
            if not tail:
                self.inherit()
            self.sizes = {int(each.stem): each.stat().st_size for each in self.directory.glob("[0-9]*.chunks")}
            self.find(tail, head)
        except OSError as error:
            raise MirrorError(f"spool {self.directory}: {reason(error)}") from error

    def check(self) -> None:
        """Raise MirrorError if it is another's now; nothing is made."""
        try:
            if (self.directory / "lock").exists():
                self.lock(self.directory)
        except OSError as error:
            raise MirrorError(f"spool {self.directory}: {reason(error)}") from error
        finally:
            self.close()

    def lock(self, directory: Path) -> None:
        """Have a directory for oneself; raises MirrorError if it is another's."""
        fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.locks.append(fd)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise MirrorError(f"spool {directory}: another output or pipeline uses it; give each its own") from error

    def inherit(self) -> None:
        """Take the segments of workers that there are no longer, in front of our own."""
        kind, _, _number = self.spec.worker.rpartition("-")
        for other in sorted(Path(self.spec.path).glob(f"{kind}-[0-9]*")):
            number = int(other.name.rpartition("-")[2])
            if number < self.spec.workers or number % self.spec.workers != self.spec.number:
                continue
            self.lock(other)
            first = max((int(each.stem) for each in self.directory.glob("[0-9]*.chunks")), default=0)
            done = _read_done(other) >> NUMBER_AT
            for segment in sorted(other.glob("[0-9]*.chunks")):
                if int(segment.stem) >= done:
                    first += 1
                    segment.rename(self.directory / f"{first:08}.chunks")
                else:
                    segment.unlink()
            (other / "done").unlink(missing_ok=True)

    def find(self, tail: int, head: int) -> None:
        """Set the ends: as noted, or as far as the segments can be read."""
        self.head = self.at = head or max(_read_done(self.directory), min(self.sizes, default=1) << NUMBER_AT)
        for number in [each for each in self.sizes if each < self.head >> NUMBER_AT]:
            self.remove(number)
        last = max(self.sizes, default=self.head >> NUMBER_AT)
        if tail:
            self.tail = tail
            for number in [each for each in self.sizes if each > tail >> NUMBER_AT]:
                self.remove(number)
            self.cut()
            return
        self.at = max(self.head, last << NUMBER_AT)  # what is before it is looked at when it is sent
        self.tail = (last << NUMBER_AT) + self.sizes.get(last, 0)
        end = self.at
        while (chunk := self.next()) is not None:
            end = end if chunk.buried else chunk.end
        self.tail, self.at = end, self.head
        self.cut()

    def cut(self) -> None:
        """Cut off what is behind the tail."""
        number, at = self.tail >> NUMBER_AT, self.tail & ((1 << NUMBER_AT) - 1)
        if self.sizes.get(number, 0) > at:
            os.truncate(self.file(number), at)
            self.sizes[number] = at

    def file(self, number: int) -> Path:
        """Return the path of a segment."""
        return self.directory / f"{number:08}.chunks"

    @property
    def empty(self) -> bool:
        """Whether everything is delivered."""
        return self.head >= self.tail

    @property
    def used_bytes(self) -> int:
        """Bytes on disk."""
        return sum(self.sizes.values())

    @property
    def room(self) -> bool:
        """Whether another chunk may be put in."""
        return self.used_bytes < self.spec.most_bytes

    def put(self, chunk: Chunk, frame: bytes) -> None:
        """Append a chunk, and note its place in it; raises OSError, with nothing appended."""
        number, at = self.tail >> NUMBER_AT, self.tail & ((1 << NUMBER_AT) - 1)
        if at >= self.segment_bytes:
            number, at = number + 1, 0
        if self.written != number or self.writing < 0:
            self.close_file("writing")
            self.writing = os.open(self.file(number), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self.written = number
        head = RECORD.pack(
            MAGIC, len(frame), raw_chunk_id(chunk.name), chunk.payload_bytes, chunk.kind, chunk.messages,
            chunk.part, chunk.parts, chunk.records, 0,
        )[:-4]  # fmt: skip
        head += zlib.crc32(frame, zlib.crc32(head)).to_bytes(4, "little")
        try:
            _write_all(self.writing, head + frame, at)
        except OSError:
            _cut_back(self.writing, at)
            raise
        self.sizes[number] = at + len(head) + len(frame)
        chunk.place = (number << NUMBER_AT) + at
        self.tail = chunk.end = (number << NUMBER_AT) + self.sizes[number]

    def next(self) -> Chunk | None:
        """Read the next chunk; None at the end.  In the place of what cannot be read there is one that is `buried`.

        Raises OSError if nothing can be read for now.
        """
        while self.at < self.tail:
            number, at = self.at >> NUMBER_AT, self.at & ((1 << NUMBER_AT) - 1)
            if at < self.limit(number):
                try:
                    chunk = self.chunk(number, at)
                except OSError as error:
                    chunk = self.broken(number, at, error)
                self.at = chunk.end
                return chunk
            if number >= self.tail >> NUMBER_AT:
                return None
            self.at = (number + 1) << NUMBER_AT
        return None

    def limit(self, number: int) -> int:
        """Return where the last chunk of a segment ends."""
        size = self.sizes.get(number, 0)
        return min(size, self.tail & ((1 << NUMBER_AT) - 1)) if number == self.tail >> NUMBER_AT else size

    def chunk(self, number: int, at: int) -> Chunk:
        """Return the chunk that is there; raises OSError, also if it is damaged."""
        head = self.pread(number, RECORD.size, at)
        magic, size, raw, payload_bytes, kind, messages, part, parts, records, crc = RECORD.unpack(head)
        frame = b""
        if magic == MAGIC and size <= MOST_FRAME_BYTES:
            frame = self.pread(number, size, at + RECORD.size)
        if magic != MAGIC or len(frame) != size or zlib.crc32(frame, zlib.crc32(head[:-4])) != crc:
            raise OSError(errno.EBADMSG, "it is damaged", str(self.file(number)))
        position = (number << NUMBER_AT) + at
        return Chunk(
            chunk_name(raw), frame, FOREVER, messages, payload_bytes, kind=kind, part=part, parts=parts,
            records=records, place=position, end=position + RECORD.size + size,
        )  # fmt: skip

    def broken(self, number: int, at: int, error: OSError) -> Chunk:
        """Return what stands for a chunk that cannot be read, and for all that follows up to one that can.

        How many messages it had is believed where its head leads to the next chunk.  Raises the error if it is no
        chunk's own, or nothing of the segment can be read.
        """
        limit = self.limit(number)
        gone = error.errno == errno.EIO and not any(
            self.look(number, 1, each) for each in range(0, limit, SECTOR_BYTES)
        )
        if gone or error.errno not in OF_A_CHUNK:
            raise error
        self.trouble = reason(error)
        head = self.look(number, RECORD.size, at) or bytes(RECORD.size)
        magic, size, _raw, _payload, _kind, messages, _part, _parts, records, _crc = RECORD.unpack(head)
        end = at + RECORD.size + size
        leads = magic == MAGIC and (end == limit or self.look(number, len(MAGIC), end) == MAGIC)
        if not leads or messages > records:
            end, messages = self.search(number, at + 1, limit), 0
        base = number << NUMBER_AT
        return Chunk(b"", None, FOREVER, messages, 0, place=base + at, end=base + end, done=True, buried=True)

    def search(self, number: int, at: int, limit: int) -> int:
        """Return where the next chunk is that can be read, in this segment; its end if there is none."""
        while at < limit:
            data = self.look(number, min(PIECE_BYTES, limit - at), at)
            found = data.find(MAGIC)
            if found < 0:
                at += max(len(data) - len(MAGIC) + 1, 1) if data else SECTOR_BYTES
                continue
            at += found
            try:
                self.chunk(number, at)
            except OSError as error:
                if error.errno not in OF_A_CHUNK:
                    raise
                at += 1
            else:
                return at
        return limit

    def look(self, number: int, size: int, at: int) -> bytes:
        """Read from a segment; nothing, where that cannot be read."""
        try:
            return self.pread(number, size, at)
        except OSError as error:
            if error.errno not in OF_A_CHUNK:
                raise
            return b""

    def get(self, chunk: Chunk) -> bytes:
        """Return a chunk's frame; raises OSError, also if it is damaged by now."""
        found = self.chunk(chunk.place >> NUMBER_AT, chunk.place & ((1 << NUMBER_AT) - 1))
        if found.name != chunk.name or found.frame is None:
            raise OSError(errno.EBADMSG, "it is another", str(self.file(chunk.place >> NUMBER_AT)))
        return found.frame

    def pread(self, number: int, size: int, at: int) -> bytes:
        """Read from a segment; raises OSError, also if not all of it is there."""
        if self.read_from != number or self.reading < 0:
            self.close_file("reading")
            self.reading = os.open(self.file(number), os.O_RDONLY | os.O_CLOEXEC)
            self.read_from = number
        data = os.pread(self.reading, size, at)
        if len(data) < size:
            raise OSError(errno.EBADMSG, "it is shorter than it was", str(self.file(number)))
        return data

    def bury(self, lines: bytes) -> Path:
        """Append lines to the file of what no receiver takes; return its path; raises OSError, with none appended."""
        path = self.directory / "dead-letters.jsonl"
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        begin = os.fstat(fd).st_size
        try:
            left = memoryview(lines)
            while left:
                left = left[os.write(fd, left) :]
        except OSError:
            _cut_back(fd, begin)
            raise
        finally:
            os.close(fd)
        return path

    def release(self, position: int) -> None:
        """Let go of what is before a position; raises OSError: then the next run may find it once more."""
        self.head = position
        if self.empty:  # begin anew: what is read is not worth its room
            self.head = self.at = self.tail = ((self.tail >> NUMBER_AT) + 1) << NUMBER_AT
        for number in [each for each in self.sizes if each < self.head >> NUMBER_AT]:
            self.remove(number)  # first, as a disk that is full has no room for anything else
        packed = position.to_bytes(8, "little")
        fd = os.open(self.directory / "done", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.pwrite(fd, packed + zlib.crc32(packed).to_bytes(4, "little"), 0)
        finally:
            os.close(fd)

    def remove(self, number: int) -> None:
        """Remove a segment."""
        for name, of in (("writing", self.written), ("reading", self.read_from)):
            if of == number:
                self.close_file(name)
        self.file(number).unlink(missing_ok=True)
        self.sizes.pop(number, None)

    def close_file(self, name: str) -> None:
        """Close one of the two files that are open."""
        fd = getattr(self, name)
        if fd >= 0:
            os.close(fd)
            setattr(self, name, -1)

    def close(self) -> None:
        """Let others have the directory."""
        for name in ("writing", "reading"):
            self.close_file(name)
        while self.locks:
            os.close(self.locks.pop())

    def __del__(self, close: Callable[["Spool"], None] = close) -> None:
        close(self)


def _write_all(fd: int, data: bytes, at: int) -> None:
    left = memoryview(data)
    while left:
        written = os.pwrite(fd, left, at)
        left, at = left[written:], at + written


def _cut_back(fd: int, size: int) -> None:
    """Undo a write that failed, if that does not fail, too."""
    with contextlib.suppress(OSError):
        os.ftruncate(fd, size)


def _read_done(directory: Path) -> int:
    try:
        data = (directory / "done").read_bytes()
    except FileNotFoundError:
        return 0
    if len(data) < DONE.size:
        return 0
    position, crc = DONE.unpack_from(data)
    return int(position) if crc == zlib.crc32(data[:8]) else 0
