"""One sender's connection as the receiver has it: bytes in, frames out of them, answers back; no sockets.

In: bytes.  Out: chunks in order, bytes to send.  Invariant: what is buffered is bounded by the largest frame and
one read.
"""

from typing import Final

from capture.errors import MalformedTraffic
from emit.frames import FrameScanner, count_nils
from emit.incoming import Incoming, read_frame
from emit.joining import Joiner, Pending

FIRST_BYTES: Final = 64 * 1024
READ_BYTES: Final = 1024 * 1024
LEAST_BYTES_PER_S: Final = 16 * 1024
"""A frame that comes more slowly is not waited for longer than for one that has stopped."""


class Inbox:
    """Bytes that have come and are not used up, in one piece of memory that grows with the frame in it."""

    def __init__(self) -> None:
        self.memory = bytearray()  # none before anything comes: most connections of a flood never say a word
        self.start = 0
        self.end = 0

    def room(self) -> memoryview:
        """Return where to read more into; at least half of the memory is free, or it is moved or doubled."""
        if not self.memory:
            self.memory = bytearray(FIRST_BYTES)
        size = len(self.memory)
        if self.start == self.end:
            self.start = self.end = 0
        if size - self.end < size // 2:
            held = self.end - self.start
            memory = self.memory if held <= size // 4 else bytearray(max(2 * size, held + READ_BYTES // 4))
            memory[:held] = self.memory[self.start : self.end]
            self.memory, self.start, self.end = memory, 0, held
        return memoryview(self.memory)[self.end :]

    def filled(self, count: int) -> None:
        """Note that `count` bytes were read into `room`."""
        self.end += count

    def view(self) -> memoryview:
        """Return the bytes; borrowed: valid until the next `room`."""
        return memoryview(self.memory)[self.start : self.end]

    def drop(self, count: int) -> None:
        """Give up the first `count` bytes."""
        self.start += count

    def rest(self) -> None:
        """Give the memory back, if there is nothing in it."""
        if self.start == self.end:
            self.memory, self.start, self.end = bytearray(), 0, 0


class Connection:
    """The state of one connection."""

    def __init__(self, peer: str, joiner: Joiner, frame_bytes: int, inflated_bytes: int) -> None:
        self.peer = peer
        self.joiner = joiner
        self.inbox = Inbox()
        self.scanner = FrameScanner(frame_bytes)
        self.inflated_bytes = inflated_bytes
        self.outgoing = bytearray()
        self.session: bytes | None = None
        self.chunk: Incoming | None = None  # being written to the rings
        self.frame_end = 0  # bytes of the inbox that it takes up
        self.at = 0  # offset of its entries up to which they are written
        self.pending: Pending | None = None  # of `chunk`
        self.ended = False  # nothing more will be read
        self.gone = False  # nothing can be sent any more
        self.share = 1  # frames that it may still bring before others have their turn
        self.weight = 0  # bytes that it was last seen to hold
        self.heard_s = 0.0
        self.began_s: float | None = None  # when the frame began that is not whole
        self.brought_s = 0.0  # when the last chunk was done with

    def next_chunk(self) -> Incoming | None:
        """Return the next chunk that is there as a whole; heartbeats are passed over."""
        while self.inbox.end > self.inbox.start:
            view = self.inbox.view()
            offsets = self.scanner.scan(view)
            if offsets is None:
                if self.began_s is None:
                    self.began_s = self.heard_s
                return None
            self.scanner.reset()
            self.began_s = None
            incoming = read_frame(view[: offsets[-1]], offsets, self.inflated_bytes)
            if incoming is not None:
                self.chunk, self.frame_end, self.at = incoming, offsets[-1], 0
                return incoming
            self.inbox.drop(count_nils(view))
        return None

    def finish_chunk(self) -> None:
        """Let go of the chunk and of its bytes."""
        self.inbox.drop(self.frame_end)
        self.chunk = self.pending = None
        self.brought_s = self.heard_s

    def cut_off(self) -> None:
        """Take nothing more than the chunk that is being written, if there is one: the sender has gone elsewhere."""
        self.ended = self.gone = True
        self.inbox.end = self.inbox.start + (self.frame_end if self.chunk is not None else 0)

    @property
    def in_frame(self) -> bool:
        """Whether a frame has begun and is not whole."""
        return self.chunk is None and self.inbox.end > self.inbox.start

    @property
    def behind(self) -> bool:
        """Whether it has brought so much that others have their turn before the rest of it, and nothing is read."""
        return self.share == 0 and (self.chunk is not None or self.in_frame)

    @property
    def held_bytes(self) -> int:
        """The memory that it takes up beyond what every connection may have."""
        inflated = len(self.chunk.entries) if self.chunk is not None and isinstance(self.chunk.entries, bytes) else 0
        return max(len(self.inbox.memory) - FIRST_BYTES, 0) + inflated

    def check_stall(self, now_s: float, stall_s: float) -> None:
        """Raise MalformedTraffic if a frame has begun and nothing more of it comes, or next to nothing."""
        if not self.in_frame:
            return
        come = self.inbox.end - self.inbox.start
        if now_s - self.heard_s > stall_s:
            raise MalformedTraffic(f"a frame that stops for {stall_s:g} s", at=come)
        if self.crawls(now_s, stall_s):
            raise MalformedTraffic("a frame that comes too slowly", at=come)

    def crawls(self, now_s: float, grace_s: float) -> bool:
        """Whether the frame that has begun comes at less than the least rate, after so much time for nothing."""
        if self.began_s is None:
            return False
        come = self.inbox.end - self.inbox.start
        return now_s - self.began_s > grace_s + come / LEAST_BYTES_PER_S

    def is_idle(self, now_s: float, idle_s: float) -> bool:
        """Whether it has brought nothing for long, and nothing is under way that counts; heartbeats do not."""
        busy = self.chunk is not None or self.outgoing or self.joiner.unfinished or self.behind
        coming = self.in_frame and not self.crawls(now_s, 0.0)
        return not busy and not coming and now_s - self.brought_s >= idle_s
