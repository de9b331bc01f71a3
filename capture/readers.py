"""The ways to read an input: a pcap file in blocks, other files by libpcap, any stream in pieces of files.

In: a descriptor, or a stream.  Out: chunks as pcapy-ng's `next_batch` gives them.  Invariant: whole frames
come out once and in order; the first two ways raise at the first fault (Broken, pcapy.PcapError), the third
stops there and names it.
"""

import os
from dataclasses import dataclass, replace
from typing import Any, Final

import pcapy

from capture.bpf import Program
from capture.errors import ConfigError, SourceError
from capture.links import linktype
from capture.pcapfile import PcapFile
from capture.savefile import Cutter
from capture.streams import Plain, Stop, unpacked

META_BYTES: Final = 16  # one frame in the meta of next_batch
STEP_BYTES: Final = 1 << 16  # read from a stream at once
SNAP_BYTES: Final = 262144  # what a filter returns for a frame that it accepts
PIECE_BYTES: Final = 1 << 18  # a piece is handed on when it has so many bytes, or when the stream pauses


@dataclass(frozen=True, slots=True)
class Chunk:
    """Frames of one input, from `skip` on.

    `data` and `meta` are as from next_batch; a fraction in `meta` stands for `unit_ns` nanoseconds.
    """

    data: bytes
    meta: bytes
    link: int
    unit_ns: int
    skip: int = 0

    @property
    def frames(self) -> int:
        """How many frames there are after the skipped ones."""
        return len(self.meta) // META_BYTES - self.skip


def open_handle(fd: int, name: str, bpf: str | None) -> tuple[Any, int]:
    """Open a file by descriptor in libpcap, with the filter set; returns the handle and its link type."""
    path = f"/proc/self/fd/{fd}"
    try:
        handle = pcapy.open_offline(path)
    except pcapy.PcapError as error:
        if not os.path.lexists(path):
            raise SourceError(f"{name}: cannot be handed to libpcap: mount /proc") from error
        raise SourceError(f"{name}: {str(error).replace(path, 'the file')}") from error
    try:
        link = linktype(handle.datalink(), name)
        if bpf:
            handle.setfilter(bpf)
    except (pcapy.PcapError, ValueError) as error:
        handle.close()
        raise ConfigError(f"filter {bpf!r} cannot be used for {name}: {error}") from error
    except SourceError:
        handle.close()
        raise
    return handle, link


class FileReader:
    """A regular file that libpcap reads itself; raises pcapy.PcapError at the first fault."""

    def __init__(self, fd: int, name: str, bpf: str | None) -> None:
        self.frames = 0
        self._handle, self.link = open_handle(fd, name, bpf)

    @property
    def position(self) -> int:
        """Bytes of the file that libpcap has read."""
        return os.lseek(self._handle.getfd(), 0, os.SEEK_CUR)

    def read(self, count: int) -> Chunk | None:
        """Return up to `count` frames, or None at the end."""
        data, meta = self._handle.next_batch(count)
        if not meta:
            return None
        self.frames += len(meta) // META_BYTES
        return Chunk(data, meta, self.link, 1000)

    def close(self) -> None:
        """Give the handle back."""
        self._handle.close()


class BlockReader:
    """A regular pcap file without a filter, which needs no libpcap but for its link type; raises Broken at a fault."""

    def __init__(self, fd: int, name: str, header: bytes) -> None:
        self.frames = 0
        handle, self.link = open_handle(fd, name, None)
        handle.close()
        self._file = PcapFile(fd, header)

    @property
    def position(self) -> int:
        """Bytes of the file that have been read."""
        return self._file.position

    def read(self, count: int) -> Chunk | None:
        """Return up to `count` frames, or None at the end."""
        found = self._file.read(count)
        if found is None:
            return None
        self.frames += len(found[1]) // META_BYTES
        return Chunk(*found, self.link, self._file.unit_ns)

    def close(self) -> None:
        """Do nothing: the descriptor is the caller's."""


class PieceReader:
    """Any stream, cut into pieces; `skip` frames (after the filter) are left out at its beginning."""

    def __init__(self, plain: Plain, name: str, bpf: str | None, stop: Stop, skip: int = 0) -> None:
        self.link: int | None = None
        self.fault: str | None = None
        self.frames = 0  # that passed the filter
        self._plain = plain
        self._name = name
        self._bpf = bpf
        self._stop = stop
        self._skip = skip
        self._stream = unpacked(plain)
        self._cutter = Cutter()
        self._ended = False
        self._handle: Any = None
        self._whole = 0  # frames in the piece
        self._done = 0  # of these, frames read
        self._singly = False  # a fault lies ahead in this piece: frame by frame up to it
        self._memory = os.memfd_create("ringtap-piece", os.MFD_CLOEXEC)
        try:
            self._begin()
        except BaseException:
            self.close()
            raise

    @property
    def position(self) -> int:
        """Bytes of the input read so far, as they are stored."""
        return self._plain.position

    def read(self, count: int) -> Chunk | None:
        """Return up to `count` frames, or None at the end."""
        while self._handle is not None or self._next_piece():
            chunk = self._read_piece(count)
            if chunk is None:
                self._handle.close()
                self._handle = None
                continue
            self.frames += chunk.frames
            if self._skip < chunk.frames:
                skip, self._skip = self._skip, 0
                return replace(chunk, skip=skip)
            self._skip -= chunk.frames
        return None

    def close(self) -> None:
        """Give handle and memory back."""
        if self._handle is not None:
            self._handle.close()
            self._handle = None
        if self._memory >= 0:
            os.close(self._memory)
            self._memory = -1

    def _begin(self) -> None:
        """Read as far as the link type; anything wrong so far is a SourceError."""
        while not self._cutter.known and self._feed():
            pass
        if self._cutter.known:
            self._store(self._cutter.header)  # libpcap judges link type and filter by the header alone
            handle, self.link = open_handle(self._memory, self._name, self._bpf)
            program = None
            if self._bpf:
                compiled = pcapy.compile(handle.datalink(), SNAP_BYTES, self._bpf, 1, 0)
                program = Program(compiled.get_bpf())
            handle.close()
            self._cutter.start(program)
        elif not self._stop.wished:
            raise SourceError(f"{self._name}: {self._trouble() or 'is empty'}")

    def _feed(self) -> bool:
        """Give the cutter more of the stream; false at the end of what can be used."""
        if self._cutter.broken is None and not self._ended:
            data = self._stream.read(STEP_BYTES)
            self._cutter.feed(data)
            self._ended = not data
        return self._cutter.broken is None and not self._ended

    def _trouble(self) -> str | None:
        """Say what is wrong at the end of what could be used, or None if nothing is."""
        if self._cutter.broken is not None:
            return str(self._cutter.broken)
        if self._stream.fault is not None:
            return self._stream.fault
        if not self._cutter.known:
            return "cut in its first bytes" if self._cutter.position + self._cutter.left else None
        if self._cutter.left:
            return f"ends in the middle of a record, which begins at byte {self._cutter.position}"
        return None

    def _next_piece(self) -> bool:
        """Open the next piece; false if there is none."""
        if self.fault is not None:
            return False
        begin = self._cutter.position
        while self._feed_more(begin):
            pass
        if not self._cutter.frames:
            self.fault = self._trouble()
            return False
        self._whole, self._done = self._cutter.frames, 0
        self._store(self._cutter.take())
        return self._reopen()

    def _feed_more(self, begin: int) -> bool:
        """Feed until a piece is worth handing on; a slow stream's frames are not kept waiting."""
        if self._cutter.frames and (self._cutter.position - begin >= PIECE_BYTES or not self._stream.ready()):
            return False
        return self._feed()

    def _store(self, piece: bytes) -> None:
        written = os.pwrite(self._memory, piece, 0)
        if written != len(piece):
            raise SourceError(f"{self._name}: no memory for a piece of {len(piece)} bytes")
        os.ftruncate(self._memory, written)

    def _reopen(self) -> bool:
        try:
            self._handle, self.link = open_handle(self._memory, self._name, None)
        except SourceError as error:
            self.fault = str(error).removeprefix(f"{self._name}: ")
        return self.fault is None

    def _read_piece(self, count: int) -> Chunk | None:
        """Return up to `count` frames of the piece, or None at its end or fault."""
        try:
            data, meta = self._handle.next_batch(1 if self._singly else count)
        except pcapy.PcapError as error:
            if self._singly:
                self.fault = str(error)
                return None
            return self._rescue(count)
        if not meta:
            if self._done != self._whole:
                self.fault = f"libpcap gave {self._done} frames of {self._whole}"
            return None
        self._done += len(meta) // META_BYTES
        assert self.link is not None
        return Chunk(data, meta, self.link, self._cutter.unit_ns)

    def _rescue(self, count: int) -> Chunk | None:
        """Go back to the frames that libpcap threw away with its error, and on from there one by one."""
        self._handle.close()
        self._handle, self.link = open_handle(self._memory, self._name, None)
        self._singly = True
        left = self._done
        while left:
            _data, meta = self._handle.next_batch(min(left, count))
            left -= len(meta) // META_BYTES
        return self._read_piece(1)
