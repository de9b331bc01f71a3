"""What an output keeps for whoever goes on where its process was killed: its chunks, and how far it has come.

In: states and frames, of one process at a time.  Out: the latest state that was committed, and the frames it speaks of.
Invariant: a state is there as a whole or not at all, as one write of 16 bytes makes it the valid one; and a frame is
not touched before a state without it is.

The memory is an anonymous file that is written and read by calls: what a process has written is there when it is
killed.  Nothing takes room that was never written, so the places may lie far apart.
"""

import ctypes
import os
import struct
from dataclasses import dataclass, field
from typing import Any, Final

from capture.descriptor import Descriptor
from capture.memory import make_memory
from emit.window import Chunk
from emit.wire import chunk_name, raw_chunk_id

HEAD: Final = struct.Struct("<QQ")
"""At 0, little-endian, as all that follows.

at 0, 8 bytes   number   of the valid state, from 1; it lies at BANKS[number % 2]
at 8, 8 bytes   size     its bytes
"""
BANKS: Final = (1 << 12, 1 << 32)
FRAMES_AT: Final = 1 << 33

TOTALS: Final = 20
STATE: Final = struct.Struct(f"<8s4QQIB3xI{TOTALS}Q")
"""A state; its chunks follow, in the order in which they are sent.

at 0,  8 bytes   session    of the chunk ids
at 8,  8 bytes   sequence   of the next chunk
at 16, 8 bytes   mark       position in the worker's ring; all before it is in a chunk, or has an outcome
at 24, 8 bytes   page       inode of the counters that the totals go with; 0: of any that are new
at 32, 8 bytes   id         of the message in parts that is under way at the mark
at 40, 8 bytes   start      ring position before its first part
at 48, 4 bytes   next       number of its next part; 0: none is under way
at 52, 1 byte    kind       of it
at 56, 4 bytes   chunks     how many
at 60, 160 bytes totals     numbers whose meaning is the output's
"""
CHUNK: Final = struct.Struct("<16sQQQQIIIIII")
"""A chunk.

at 0,  16 bytes  id         session and sequence
at 16, 8 bytes   at         place of its frame
at 24, 8 bytes   size       bytes of its frame
at 32, 8 bytes   first      ring position from which its messages could be read again
at 40, 8 bytes   payload    bytes of its messages' payloads
at 48, 4 bytes   kind       of its messages
at 52, 4 bytes   messages   that end in it
at 56, 4 bytes   part       of the message in parts, whose number of
at 60, 4 bytes   parts      them this is; 0: none
at 64, 4 bytes   records    in it
at 68, 4 bytes   tries      how often it was sent in vain
"""

NONE_UNDER_WAY: Final = (0, 0, 0, 0)
PAGE_BYTES: Final = 4096
SPARE_BYTES: Final = 16 * 1024 * 1024
"""Room of frames that are gone is used again up to here, and given back beyond."""
PUNCH: Final = 1 | 2  # FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE; fallocate(2)


@dataclass(slots=True)
class State:
    """How far an output has come."""

    session: bytes
    sequence: int = 0
    mark: int = 0
    page: int = 0
    joint: tuple[int, int, int, int] = NONE_UNDER_WAY
    totals: list[int] = field(default_factory=lambda: [0] * TOTALS)
    chunks: list[Chunk] = field(default_factory=list)

    def pack(self) -> bytes:
        """Return it as bytes."""
        head = STATE.pack(
            self.session, self.sequence, self.mark, self.page, *self.joint, len(self.chunks), *self.totals
        )  # fmt: skip
        return head + b"".join([_pack(chunk) for chunk in self.chunks])


def unpack(data: bytes) -> State:
    """Return the state that these bytes are."""
    session, sequence, mark, page, *more = STATE.unpack_from(data)
    joint, count, totals = (more[0], more[1], more[2], more[3]), more[4], more[5:]
    chunks = [_unpack(CHUNK.unpack_from(data, STATE.size + at * CHUNK.size)) for at in range(count)]
    return State(session, sequence, mark, page, joint, totals, chunks)


def _pack(chunk: Chunk) -> bytes:
    return CHUNK.pack(
        raw_chunk_id(chunk.name), chunk.at, chunk.size, max(chunk.first, 0), chunk.payload_bytes, chunk.kind,
        chunk.messages, chunk.part, chunk.parts, chunk.records, chunk.tries,
    )  # fmt: skip


def _unpack(fields: tuple[Any, ...]) -> Chunk:
    raw, at, size, first, payload_bytes, kind, messages, part, parts, records, tries = fields
    return Chunk(
        chunk_name(raw), None, first, messages, payload_bytes,
        size=size, at=at, kind=kind, part=part, parts=parts, records=records, tries=tries, tried=True,
    )  # fmt: skip


class Kept(Descriptor):
    """The memory of one output of one worker, made by `Kept.create`; travels to a spawned child by descriptor."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        self.number = 0  # of the valid state
        self.end = FRAMES_AT  # where nothing was ever written
        self.spare: dict[int, list[tuple[int, bool]]] = {}  # places of frames that are gone, by room; is it in memory?
        self.spare_bytes = 0  # of them in memory

    @classmethod
    def create(cls) -> "Kept":
        """Make an empty one, under a session number of its own."""
        kept = cls(make_memory("kept", PAGE_BYTES))
        kept.commit(State(os.urandom(8)))
        return kept

    def load(self) -> State:
        """Return the latest state, and go on from there; room of frames that it does not speak of is given back."""
        self.number, size = HEAD.unpack(os.pread(self.fd, HEAD.size, 0))
        state = unpack(os.pread(self.fd, size, BANKS[self.number % 2]))
        self.end, self.spare, self.spare_bytes = FRAMES_AT, {}, 0
        for chunk in sorted(state.chunks, key=lambda chunk: chunk.at):
            if chunk.at >= FRAMES_AT:
                self.punch(self.end, chunk.at - self.end)
                self.end = chunk.at + room(chunk.size)
        self.punch(self.end, max(os.fstat(self.fd).st_size - self.end, 0))
        return state

    def commit(self, state: State) -> None:
        """Make this the state that is valid."""
        packed = state.pack()
        os.pwrite(self.fd, packed, BANKS[(self.number + 1) % 2])
        os.pwrite(self.fd, HEAD.pack(self.number + 1, len(packed)), 0)  # within a page: done, or not begun
        self.number += 1

    def put(self, frame: bytes) -> int:
        """Keep a frame; return its place, which is to be in the next state."""
        size = room(len(frame))
        places = self.spare.get(size)
        if places:
            at, warm = places.pop()
            self.spare_bytes -= size if warm else 0
        else:
            at = self.end
            self.end += size
        os.pwrite(self.fd, frame, at)
        return at

    def get(self, at: int, size: int) -> bytes:
        """Return a frame."""
        return os.pread(self.fd, size, at)

    def free(self, at: int, size: int) -> None:
        """Use a frame's room for others: the state that is valid does not speak of it any more."""
        size = room(size)
        warm = self.spare_bytes + size <= SPARE_BYTES
        if warm:
            self.spare_bytes += size
        else:
            self.punch(at, size)
        self.spare.setdefault(size, []).append((at, warm))

    def punch(self, at: int, size: int) -> None:
        """Give memory back."""
        if size:
            libc = ctypes.CDLL(None)
            libc.fallocate(self.fd, PUNCH, ctypes.c_long(at), ctypes.c_long(size))


def room(size: int) -> int:
    """Return how much room a frame has: a power of two, so that others fit in when it is gone."""
    return max(PAGE_BYTES, 1 << (size - 1).bit_length())
