"""Bytes of an input as they come: files, pipes, standard input, gzip and zstd unpacked on the way.

In: a descriptor.  Out: `read(size)`, which returns what there is, b"" at the end.  Invariant: memory is
bounded, whatever the input unpacks to; what could be unpacked before a fault is handed on, and `fault` says
what it was.
"""

import os
import select
import stat
import zlib
from collections.abc import Callable
from multiprocessing import reduction
from typing import Any, Final, Protocol

GZIP_MAGIC: Final = b"\x1f\x8b"
ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
ZSTD_SKIPPABLE: Final = b"\x2a\x4d\x18"  # after a byte from 0x50 to 0x5f: RFC 8878 3.1.2
LONGEST_MAGIC: Final = 4
TURN_MS: Final = 1000  # longest wait without a sign of life
GZIP_WINDOW: Final = 31  # zlib's word for: 32 KiB window, gzip header and checksum
GZIP_STEP_BYTES: Final = 65536
# zstd unpacks a step at once, and up to 128 KiB come out of 4 bytes; what a step gave before a fault in it is
# lost, so it is to be smaller than a block usually is.
ZSTD_STEP_BYTES: Final = 1024


class Stop:
    """A wish to stop that also wakes whoever waits for input; may be set from a signal handler.

    `before_waiting` is called by whoever is about to wait, `alive` about once a second while it lasts.
    """

    def __init__(self) -> None:
        self.before_waiting: Callable[[], None] | None = None
        self.alive: Callable[[], None] | None = None
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.wished = False

    def set(self) -> None:
        """Ask to stop; for good."""
        self.wished = True
        if self.fd >= 0:
            os.eventfd_write(self.fd, 1)

    def close(self) -> None:
        """Give the descriptor back."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class StandardInput:
    """A copy of our standard input, -1 if closed; travels to a spawned child, whose own is empty."""

    def __init__(self, fd: int = 0) -> None:
        try:
            self.fd = os.dup(fd)
        except OSError:
            self.fd = -1

    def __del__(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __reduce__(self) -> tuple[Any, ...]:
        return _attach, (reduction.DupFd(self.fd) if self.fd >= 0 else None,)


def _attach(travelled: Any) -> StandardInput:
    attached = StandardInput(-1)
    if travelled is not None:
        attached.fd = travelled.detach()
    return attached


class Stream(Protocol):
    """Where bytes come from."""

    fault: str | None

    def read(self, size: int) -> bytes:
        """Return from 1 to `size` bytes, waiting for the first; b"" at the end."""

    def ready(self) -> bool:
        """Whether a read would not wait."""


class Plain:
    """The bytes of the caller's descriptor, from where it stands; a wish to stop looks like the end."""

    def __init__(self, fd: int, stop: Stop) -> None:
        self.fd = fd
        self.fault: str | None = None
        self.position = 0
        self._stop = stop
        self._waits = not stat.S_ISREG(os.fstat(fd).st_mode)
        self._ahead = b""

    def peek(self, size: int) -> bytes:
        """Return the next `size` bytes without taking them; fewer only at the end."""
        while len(self._ahead) < size:
            data = self._take(size - len(self._ahead))
            if not data:
                break
            self._ahead += data
        return self._ahead[:size]

    def read(self, size: int) -> bytes:
        """Return from 1 to `size` bytes, waiting for the first; b"" at the end."""
        if self._ahead:
            data, self._ahead = self._ahead[:size], self._ahead[size:]
            return data
        return self._take(size)

    def ready(self) -> bool:
        """Whether a read would not wait."""
        return bool(self._ahead) or not self._waits or bool(self._poll([self.fd], 0))

    @staticmethod
    def _poll(fds: list[int], timeout_ms: int) -> list[tuple[int, int]]:
        waiter = select.poll()
        for fd in fds:
            waiter.register(fd, select.POLLIN)
        return waiter.poll(timeout_ms)

    def _take(self, size: int) -> bytes:
        """Read from the descriptor; a pipe that nobody has opened for writing yet is waited for too."""
        while not self._stop.wished:
            if self._waits and not self._poll([self.fd], 0):
                if self._stop.before_waiting is not None:
                    self._stop.before_waiting()
                while not self._poll([self.fd, self._stop.fd], TURN_MS):
                    if self._stop.alive is not None:
                        self._stop.alive()
                continue
            try:
                data = os.read(self.fd, size)
            except BlockingIOError:
                continue
            except OSError as error:
                self.fault = error.strerror or str(error)
                return b""
            self.position += len(data)
            return data
        return b""


class Gunzip:
    """Unpacks gzip, any number of members after each other."""

    def __init__(self, source: Plain) -> None:
        self.fault: str | None = None
        self._source = source
        self._member: Any = None  # None: between members
        self._rest = b""  # packed bytes not used yet
        self._held = False  # unpacked bytes may wait in the member

    def read(self, size: int) -> bytes:
        """Return from 1 to `size` unpacked bytes, waiting for the first; b"" at the end."""
        while self.fault is None:
            data = self._rest
            if not data and not self._held:
                data = self._source.read(GZIP_STEP_BYTES)
                if not data:
                    self._end()
                    break
            if self._member is None:
                self._rest = data = data.lstrip(b"\0")  # padding, as gzip itself allows
                if not data:
                    continue
                self._member = zlib.decompressobj(GZIP_WINDOW)
            out = self._inflate(data, size)
            if out:
                return out
        return b""

    def ready(self) -> bool:
        """Whether a read would not wait."""
        return bool(self._rest) or self._held or self._source.ready()

    def _inflate(self, data: bytes, size: int) -> bytes:
        saved = self._member.copy()
        try:
            out: bytes = self._member.decompress(data, size)
        except zlib.error as error:
            self.fault = f"the gzip data is damaged ({error})"
            return _creep(saved, data)
        if self._member.eof:
            self._rest, self._member, self._held = self._member.unused_data, None, False
        else:
            self._rest, self._held = self._member.unconsumed_tail, len(out) == size
        return out

    def _end(self) -> None:
        if self._source.fault is not None:
            self.fault = self._source.fault
        elif self._member is not None:
            self.fault = "the gzip data ends early"


def _creep(member: Any, data: bytes) -> bytes:
    """Unpack byte by byte up to the fault: zlib throws away what it unpacked in the call that meets it."""
    out = []
    try:
        for at in range(len(data)):
            out.append(member.decompress(data[at : at + 1]))
    except zlib.error:
        pass
    return b"".join(out)


class Unzstd:
    """Unpacks zstd, any number of frames after each other."""

    def __init__(self, source: Plain) -> None:
        import zstandard  # here, so that those who have no such file do not pay for it

        self.fault: str | None = None
        self._source = source
        self._error: type[Exception] = zstandard.ZstdError
        self._maker = zstandard.ZstdDecompressor()
        self._frame: Any = None  # None: between frames
        self._rest = b""  # packed
        self._out = memoryview(b"")  # unpacked

    def read(self, size: int) -> bytes:
        """Return from 1 to `size` unpacked bytes, waiting for the first; b"" at the end."""
        while not self._out and self.fault is None:
            if not self._rest:
                self._rest = self._source.read(ZSTD_STEP_BYTES)
            if not self._rest:
                self._end()
                break
            self._out = memoryview(self._step())
        out, self._out = bytes(self._out[:size]), self._out[size:]
        return out

    def ready(self) -> bool:
        """Whether a read would not wait."""
        return bool(self._out) or bool(self._rest) or self._source.ready()

    def _step(self) -> bytes:
        if self._frame is None:
            self._frame = self._maker.decompressobj()
        data, self._rest = self._rest, b""
        try:
            out: bytes = self._frame.decompress(data)
        except self._error as error:
            self.fault = f"the zstd data is damaged ({error})"
            return b""
        if self._frame.eof:
            self._rest, self._frame = self._frame.unused_data, None
        return out

    def _end(self) -> None:
        if self._source.fault is not None:
            self.fault = self._source.fault
        elif self._frame is not None:
            self.fault = "the zstd data ends early"


def unpacked(source: Plain) -> Stream:
    """Return the stream's bytes, unpacked if it begins like gzip or zstd."""
    magic = source.peek(LONGEST_MAGIC)
    if magic.startswith(GZIP_MAGIC):
        return Gunzip(source)
    if magic == ZSTD_MAGIC or (magic[1:] == ZSTD_SKIPPABLE and 0x50 <= magic[0] < 0x60):
        return Unzstd(source)
    return source
