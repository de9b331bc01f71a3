"""One input of a run, a capture file or a stream, as chunks of whole frames through pcapy-ng.

In: a path, or "-".  Out: chunks.  Invariant: every whole frame comes out, in its order, up to the end or to
the first place that is broken; `cut` then says what is wrong there.

A plain pcap file is read in blocks; pcapng, and any file under a filter, libpcap reads itself.  When that
meets an error it throws away the frames of that batch, so a file with a fault is read again the way that
streams are: cut into pieces of whole records, each given to libpcap as a memory file.
"""

import contextlib
import errno
import fcntl
import os
import stat
from typing import Final

import pcapy

from capture.errors import SourceError
from capture.pcapfile import Broken, is_readable
from capture.readers import BlockReader, Chunk, FileReader, PieceReader
from capture.streams import Plain, Stop

STANDARD_INPUT: Final = "-"
READ_BYTES: Final = 1 << 20  # frame bytes that one next_batch is to give, about
READ_FRAMES: Final = 8192  # most frames of one next_batch
FIRST_FRAMES: Final = 64  # of the first one, when nothing is known about their size
PIPE_BYTES: Final = 1 << 20
DIRECT_MAGICS: Final = tuple(
    bytes.fromhex(magic) for magic in ("a1b2c3d4", "d4c3b2a1", "a1b2cd34", "34cdb2a1", "0a0d0d0a")
)
"""First bytes of files that libpcap reads itself, without loss of precision: all but nanosecond pcap."""
HEADER_BYTES: Final = 24

Reader = BlockReader | FileReader | PieceReader


class Input:
    """One input: `open` it (which tells at once whether it can be read), `read` chunks, `close`.

    After `park` it costs nothing until the next `open`, which begins anew; only a regular file can do that.
    """

    def __init__(self, path: str, bpf: str | None, stop: Stop) -> None:
        self.path = path
        self.name = "standard input" if path == STANDARD_INPUT else path
        self.cut: str | None = None
        self.size = 0
        self.read_bytes = 0  # the farthest position read, for progress
        self.regular = False
        self._bpf = bpf
        self._stop = stop
        self._fd = -1
        self._reader: Reader | None = None
        self._count = FIRST_FRAMES  # to ask for; follows their size

    def open(self, stdin_fd: int = 0) -> None:
        """Open it and read as far as the link type; SourceError or ConfigError says why that cannot be."""
        self._fd = _copy(stdin_fd) if self.path == STANDARD_INPUT else _open(self.path)
        try:
            status = os.fstat(self._fd)
            if stat.S_ISDIR(status.st_mode):
                pattern = os.path.join(self.path, "*.pcap")
                raise SourceError(f"{self.name}: is a directory; write {pattern} for the files in it")
            self.regular = stat.S_ISREG(status.st_mode) and self.path != STANDARD_INPUT
            self.size = status.st_size if self.regular else 0
            self._reader = self._choose()
        except BaseException:
            self.close()
            raise

    @property
    def slow(self) -> bool:
        """Whether the next read may wait for someone to write."""
        return not self.regular

    def read(self, most: int = READ_FRAMES) -> Chunk | None:
        """Return the next frames, at most `most`; None at the end, and `cut` tells if that is a fault."""
        if self._reader is None:
            self.open()
        assert self._reader is not None
        chunk = self._read(self._reader, min(self._count, most))
        self.read_bytes = max(self.read_bytes, self._reader.position)
        if chunk is None:
            self._end(self._reader)
        elif isinstance(self._reader, BlockReader):
            self._count = READ_FRAMES  # a block is the limit
        else:
            self._count = min(READ_FRAMES, max(1, READ_BYTES * chunk.frames // (len(chunk.data) + 1)))
        return chunk

    def _read(self, reader: Reader, count: int) -> Chunk | None:
        if isinstance(reader, PieceReader):
            return reader.read(count)
        if self._stop.wished:
            return None
        try:
            return reader.read(count)
        except (pcapy.PcapError, Broken):
            return self._fall_back(reader).read(count)

    def park(self) -> None:
        """Close for now; reading begins anew with the next `read`."""
        self.close()
        self.read_bytes = 0

    def close(self) -> None:
        """Give everything back."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _choose(self) -> Reader:
        """Read plain pcap in blocks, take libpcap for what it reads well by itself, pieces for all else."""
        if not self.regular:
            _widen(self._fd)
        plain = Plain(self._fd, self._stop)
        header = plain.peek(HEADER_BYTES) if self.regular else b""
        if not self._bpf and is_readable(header):
            return BlockReader(self._fd, self.name, header)
        if header[:4] in DIRECT_MAGICS:
            return FileReader(self._fd, self.name, self._bpf)
        return PieceReader(plain, self.name, self._bpf, self._stop)

    def _fall_back(self, failed: BlockReader | FileReader) -> PieceReader:
        """Read a file anew in pieces, after a fault was met in it, and go on behind what it had given."""
        failed.close()
        os.lseek(self._fd, 0, os.SEEK_SET)
        plain = Plain(self._fd, self._stop)
        self._reader = PieceReader(plain, self.name, self._bpf, self._stop, failed.frames)
        return self._reader

    def _end(self, reader: Reader) -> None:
        if isinstance(reader, PieceReader) and reader.fault is not None and not self._stop.wished:
            self.cut = f"{self.name}: {reader.fault}; the {reader.frames} frames before that were read"
        self.close()


def _copy(stdin_fd: int) -> int:
    try:
        return os.dup(stdin_fd)
    except OSError as error:
        raise SourceError("standard input: is closed") from error


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise SourceError(f"{path}: no such file") from error
        raise SourceError(f"{path}: cannot be opened: {error.strerror}") from error
    except ValueError as error:
        raise SourceError(f"{path!r}: cannot be opened: {error}") from error


def _widen(fd: int) -> None:
    """Let a pipe hold more, for fewer and larger reads; no harm if it is none or may not grow."""
    with contextlib.suppress(OSError):
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
