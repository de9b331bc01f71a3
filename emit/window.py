"""Chunks on their way: which are sent, which are acknowledged, and from where the ring is still needed; no sockets.

In: framed chunks and acknowledgements.  Out: frames to send, chunks that are delivered.  Invariant: a chunk is kept
until it is acknowledged, and the parts of one message until all of them are, so that a receiver which lost the
first has it again.
"""

from collections import deque
from dataclasses import dataclass, field


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
    frame: bytes
    first: int  # ring position from which its messages could be read again
    messages: int  # that end in it
    payload_bytes: int
    group: Group | None = None
    acked: bool = False
    sent: bool = False  # wholly, on the present connection
    tried: bool = False  # at least begun, on any connection
    sent_s: float = 0.0


class Window:
    """What is not delivered yet, in order."""

    def __init__(self, most_chunks: int, most_bytes: int) -> None:
        self.most_chunks = most_chunks
        self.most_bytes = most_bytes
        self.chunks: dict[bytes, Chunk] = {}
        self.queue: deque[Chunk] = deque()  # to be sent on this connection
        self.slots = 0  # unacknowledged; the parts of a message count as one
        self.bytes = 0  # of unacknowledged frames
        self.group: Group | None = None  # the message in parts that is being added

    @property
    def room(self) -> bool:
        """Whether another chunk may be added.  A message that has begun is never held up: it could not be finished."""
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
        if chunk.group is None or chunk.group.chunks[0] is chunk:
            self.slots += sign
        self.bytes += sign * len(chunk.frame)

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
        self.queue = deque(self.chunks.values())
        for chunk in self.queue:
            if chunk.acked:
                chunk.acked = False
                self.account(chunk, 1)
            chunk.sent = False
        return sum(chunk.tried for chunk in self.queue)

    def next(self) -> Chunk | None:
        """Take the chunk to send next."""
        while self.queue:
            chunk = self.queue.popleft()
            if chunk.name in self.chunks and not chunk.acked:
                chunk.tried = True
                return chunk
        return None

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

    def abandon(self) -> None:
        """Forget the message in parts that is being added: its last part will never come."""
        if self.group is not None:
            for chunk in self.group.chunks:
                del self.chunks[chunk.name]
                if not chunk.acked:
                    self.account(chunk, -1)
            self.group = None

    def let_go(self, position: int) -> None:
        """Need the ring only from `position` on: what is in here is lost if this process dies."""
        for chunk in self.chunks.values():
            chunk.first = position

    def clear(self) -> int:
        """Forget everything; return how many messages that gives up."""
        messages = sum(chunk.messages for chunk in self.chunks.values())
        self.chunks.clear()
        self.queue.clear()
        self.slots = self.bytes = 0
        self.group = None
        return messages
