"""Chunks on their way: which are sent, which are acknowledged, and from where the ring is still needed; no sockets.

In: framed chunks and acknowledgements.  Out: frames to send, chunks that are delivered.  Invariant: a chunk is kept
until it is acknowledged, and the parts of one message until all of them are, so that a receiver which lost the
first has it again.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

FOREVER: Final = 1 << 62
"""No position of a ring: what begins there needs none, as it is kept elsewhere."""


@dataclass(slots=True, eq=False)
class Group:
    """The chunks that hold the parts of one message."""

    chunks: list["Chunk"] = field(default_factory=list)
    whole: bool = False  # the last part is among them
    sent_s: float = 0.0  # when the latest of them was


@dataclass(slots=True, eq=False)
class Chunk:
    """One framed chunk."""

    name: bytes
    frame: bytes | None  # None: where it is kept it can be had again
    first: int  # ring position from which its messages could be read again
    messages: int  # that end in it
    payload_bytes: int
    size: int = 0  # bytes of the frame
    at: int = 0  # where it is kept
    kind: int = 0
    part: int = 0
    parts: int = 0  # of the message that it holds a part of; 0 or 1: none
    records: int = 0
    tries: int = 0  # how often it was sent in vain
    place: int = -1  # where it is on disk,
    end: int = 0  # up to here; -1: nowhere
    done: bool = False  # delivered
    buried: bool = False  # or given up
    begun: int = 0  # the how manieth to be sent on the present connection, at least in part; 0: not yet
    suspected: int = 0  # how many connections have ended on it
    group: Group | None = None
    acked: bool = False
    flying: bool = False  # counted as on its way, on the present connection
    sent: bool = False  # wholly, on the present connection
    tried: bool = False  # at least begun, on any connection
    sent_s: float = 0.0

    def __post_init__(self) -> None:
        if self.frame is not None:
            self.size = len(self.frame)

    @property
    def leads(self) -> bool:
        """Whether it takes a place in the window: alone, or for all the parts of its message."""
        return self.group is None or self.group.chunks[0] is self


class Window:
    """What is not delivered yet, in order."""

    def __init__(self, most_chunks: int, most_bytes: int) -> None:
        self.most_chunks = most_chunks
        self.most_bytes = most_bytes
        self.chunks: dict[bytes, Chunk] = {}
        self.queue: deque[Chunk] = deque()  # to be sent on this connection
        self.slots = 0  # unacknowledged; the parts of a message count as one
        self.flying = 0  # of them begun on this connection
        self.begun = 0  # chunks begun on this connection
        self.bytes = 0  # of unacknowledged frames
        self.group: Group | None = None  # the message in parts that is being added

    @property
    def room(self) -> bool:
        """Whether more chunks may be added.  A message that has begun is never held up: it could not be finished."""
        return self.group is not None or (self.slots < self.most_chunks and self.bytes < self.most_bytes)

    @property
    def first(self) -> int | None:
        """Ring position from which everything in here could be read again; None if it is empty."""
        return min((chunk.first for chunk in self.chunks.values()), default=None)

    def add(self, chunk: Chunk, part: int, parts: int) -> None:
        """Add a chunk behind the others; `parts` is 0 or 1 unless it holds part `part` of a message."""
        if parts > 1:
            if part == 0 or self.group is None:
                self.abandon()
                self.group = Group()
            chunk.group = self.group
            self.group.chunks.append(chunk)
            if part + 1 == parts:
                self.group.whole = True
                self.group = None
        self.chunks[chunk.name] = chunk
        self.queue.append(chunk)
        self.account(chunk, 1)

    def account(self, chunk: Chunk, sign: int) -> None:
        """Count a chunk as unacknowledged, or no longer."""
        if chunk.leads:
            self.slots += sign
        self.bytes += sign * chunk.size
        if chunk.flying:
            chunk.flying = False
            self.flying -= 1

    def acknowledge(self, name: bytes) -> list[Chunk]:
        """Note an acknowledgement; return the chunks that are delivered by it, which are forgotten."""
        chunk = self.chunks.get(name)
        if chunk is None or chunk.acked:
            return []
        chunk.acked = True
        self.account(chunk, -1)
        if chunk.group is None:
            delivered = [chunk]
        elif chunk.group.whole and all(other.acked for other in chunk.group.chunks):
            delivered = chunk.group.chunks
        else:
            return []
        for done in delivered:
            del self.chunks[done.name]
        return delivered

    def rewind(self) -> int:
        """Make everything ready to be sent on a new connection; return how many chunks that repeats."""
        self.queue = deque(sorted(self.chunks.values(), key=_deferred))
        for chunk in self.queue:
            if chunk.acked:
                chunk.acked = False
                self.account(chunk, 1)
            chunk.sent = chunk.flying = False
            chunk.begun = 0
        self.flying = self.begun = 0
        return sum(chunk.tried for chunk in self.queue)

    @property
    def sendable(self) -> bool:
        """Whether there is a chunk to be sent now; no more are on their way than the window is wide."""
        while self.queue and (self.queue[0].name not in self.chunks or self.queue[0].acked):
            self.queue.popleft()
        if not self.queue:
            return False
        first = self.queue[0]
        return not first.leads or self.flying < (1 if _deferred(first) else self.most_chunks)

    def next(self) -> Chunk | None:
        """Take the chunk to send next."""
        if not self.sendable:
            return None
        chunk = self.queue.popleft()
        chunk.tried = True
        self.begun += 1
        chunk.begun = self.begun
        if chunk.leads:
            chunk.flying = True
            self.flying += 1
        return chunk

    def suspect(self) -> list[Chunk]:
        """Return the chunk that the connection has ended on, the oldest unanswered, with all parts of its message.

        From the second time on it is sent behind the others and when these are answered, so as not to hold them up.
        """
        begun = [chunk for chunk in self.chunks.values() if chunk.begun and not chunk.acked]
        if not begun:
            return []
        chunk = min(begun, key=lambda each: each.begun)
        if chunk.group is not None and not chunk.group.whole:
            return []
        chunks = [chunk] if chunk.group is None else chunk.group.chunks
        for each in chunks:
            each.suspected += 1
        return chunks

    def discard(self, chunks: list[Chunk]) -> None:
        """Forget chunks."""
        for chunk in chunks:
            del self.chunks[chunk.name]
            if not chunk.acked:
                self.account(chunk, -1)

    def was_sent(self, chunk: Chunk, now_s: float) -> None:
        """Note that a chunk has been handed over wholly."""
        chunk.sent = True
        chunk.sent_s = now_s
        if chunk.group is not None:
            chunk.group.sent_s = now_s

    def waiting_since(self) -> float | None:
        """Return since when the oldest chunk waits for its acknowledgement; a message in parts from its last on."""
        for chunk in self.chunks.values():
            if chunk.sent and not chunk.acked and (chunk.group is None or chunk.group.whole):
                return chunk.sent_s if chunk.group is None else chunk.group.sent_s
        return None

    def abandon(self) -> list[Chunk]:
        """Forget the message in parts that is being added, as its last part will never come; return its chunks."""
        gone = [] if self.group is None else self.group.chunks
        self.discard(gone)
        self.group = None
        return gone

    def clear(self) -> int:
        """Forget everything; return how many messages that gives up."""
        messages = sum(chunk.messages for chunk in self.chunks.values())
        self.chunks.clear()
        self.queue.clear()
        self.slots = self.bytes = self.flying = 0
        self.group = None
        return messages


def _deferred(chunk: Chunk) -> bool:
    return chunk.suspected > 1
