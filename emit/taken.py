"""What a receiver leaves to its successor, should it be killed: which chunks are in the rings, or how much of one.

In: chunks as their records are written.  Out: rings, counters and sessions that agree.  Invariant: a record of a chunk
of ours is in its ring and noted, or neither.

Before rings are published it is noted up to where, with the counters of that moment and what that makes of which
chunks; the note is made beside the one that holds, and put in its place by one store.  A successor finishes what was
noted.  What others send (their chunk ids have no order) is taken again where it comes again, and so is a chunk in which
parts of messages and whole ones are mixed: ours are not.
"""

import mmap
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from capture.counters import Counters
from capture.descriptor import Descriptor
from capture.errors import MirrorError
from capture.memory import make_memory
from capture.ring import Producer
from emit.sessions import WINDOW

MOST_RINGS: Final = 64
MOST_CHUNKS: Final = 1024  # that one message in parts comes in
COUNTED: Final = ("records", "records_refused", "records_joined", "messages", "message_bytes")

# in words of 8 bytes
NOTE, PORT, NOTES = 0, 1, 2
HEADS, SEQUENCES, COUNTS = 0, MOST_RINGS, 2 * MOST_RINGS
DELTA: Final = COUNTS + len(COUNTED)  # session, what, at, how many, and as many sequence numbers
NOTE_WORDS: Final = DELTA + 4 + MOST_CHUNKS
SESSION, KNOWN, FIRST, LAST, PARTIAL, AT, BITS = range(7)
TRACK_WORDS: Final = BITS + WINDOW // 64
NOTHING, PART, WHOLE = range(3)


@dataclass(frozen=True, slots=True)
class Delta:
    """What a step makes of chunks of one session."""

    session: bytes = bytes(8)
    sequences: tuple[int, ...] = ()
    at: int = -1  # of one chunk: everything before that offset of its entries is in the rings; -1: all of them are


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of one session."""

    session: bytes
    first: int  # nothing is known of what is below
    last: int  # the highest taken
    holes: frozenset[int]  # between the two, both included, not taken
    partial: int  # a chunk that is partly taken; -1: none
    at: int


class Taken(Descriptor):
    """One receiver's; travels to a spawned child by descriptor, as it is."""

    def __init__(self, most: int, fd: int = -1) -> None:
        self.most = most
        size = 8 * (NOTES + 2 * NOTE_WORDS + most * TRACK_WORDS)
        super().__init__(make_memory("taken", size) if fd < 0 else fd)
        if os.fstat(self.fd).st_size != size:
            raise MirrorError("taken: the descriptor does not hold what a receiver has taken")
        self.words = memoryview(mmap.mmap(self.fd, size)).cast("B").cast("Q")
        self.tracks: dict[bytes, int] = {}  # by session, the one heard of longest ago first: where its words begin
        self.free: list[int] = []
        for at in reversed(range(NOTES + 2 * NOTE_WORDS, size // 8, TRACK_WORDS)):
            if self.words[at + KNOWN]:
                self.tracks[self.words[at + SESSION].to_bytes(8, "big")] = at
            else:
                self.free.append(at)

    @property
    def arguments(self) -> dict[str, Any]:
        return {"most": self.most}

    @property
    def port(self) -> int:
        """The port that was bound; 0: none yet."""
        return self.words[PORT]

    @port.setter
    def port(self, number: int) -> None:
        self.words[PORT] = number

    def note(self, producers: Sequence[Producer], counters: Counters, delta: Delta) -> None:
        """Note what is about to be published, and what that makes of chunks: `apply` that once it is."""
        words, now = self.words, self.words[NOTE] & 1
        base = NOTES + (1 - now) * NOTE_WORDS
        for at, producer in enumerate(producers):
            words[base + HEADS + at] = producer.position
            words[base + SEQUENCES + at] = producer.sequence
        for at, name in enumerate(COUNTED):
            words[base + COUNTS + at] = counters[name]
        sequences = delta.sequences[:MOST_CHUNKS]
        what = NOTHING if not sequences else PART if delta.at >= 0 else WHOLE
        begin = base + DELTA
        words[begin] = int.from_bytes(delta.session, "big")
        words[begin + 1], words[begin + 2], words[begin + 3] = what, max(delta.at, 0), len(sequences)
        for number, sequence in enumerate(sequences, begin + 4):
            words[number] = sequence
        words[NOTE] = 1 - now

    def apply(self, delta: Delta) -> None:
        """Bring what is known of the session up to date; once more does no harm."""
        if not delta.sequences:
            return
        at = self._track(delta.session, delta.sequences[0])
        if delta.at >= 0:
            self.words[at + AT] = delta.at
            self.words[at + PARTIAL] = delta.sequences[0] + 1
            return
        for sequence in delta.sequences[:MOST_CHUNKS]:
            self._mark(at, sequence)
        if self.words[at + PARTIAL] - 1 in delta.sequences:
            self.words[at + PARTIAL] = 0

    def recover(self, producers: Sequence[Producer], counters: Counters) -> None:
        """Finish what a dead process had noted."""
        words = self.words
        base = NOTES + (words[NOTE] & 1) * NOTE_WORDS
        for at, producer in enumerate(producers):
            if words[base + HEADS + at] > producer.position:
                producer.resume(words[base + HEADS + at], words[base + SEQUENCES + at])
        for at, name in enumerate(COUNTED):
            counters.set(name, words[base + COUNTS + at])
        # What was held of messages in parts comes again.
        counters.set("records", sum(counters[name] for name in ("records_refused", "records_joined", "messages")))
        begin = base + DELTA
        what, offset, count = words[begin + 1], words[begin + 2], words[begin + 3]
        sequences = tuple(words[begin + 4 : begin + 4 + count])
        if what != NOTHING:
            self.apply(Delta(words[begin].to_bytes(8, "big"), sequences, offset if what == PART else -1))

    def sessions(self) -> Iterator[Known]:
        """Yield what is known of each session."""
        for session, at in self.tracks.items():
            first, last = self.words[at + FIRST], self.words[at + LAST]
            window = range(max(first, last - WINDOW + 1), last + 1)
            holes = frozenset(each for each in window if not self._bit(at, each))
            yield Known(
                session, max(first, window.start), last, holes, self.words[at + PARTIAL] - 1, self.words[at + AT]
            )

    def _track(self, session: bytes, first: int) -> int:
        """Return where a session's words begin; that of the session heard of longest ago, if there is no more room."""
        at = self.tracks.pop(session, -1)
        if at < 0:
            at = self.free.pop() if self.free else self.tracks.pop(next(iter(self.tracks)))
            self.words[at + KNOWN] = 0
            for each in range(at, at + TRACK_WORDS):
                self.words[each] = 0
            self.words[at + FIRST], self.words[at + LAST] = first, first
            self.words[at + SESSION] = int.from_bytes(session, "big")
            self.words[at + KNOWN] = 1
        self.tracks[session] = at
        return at

    def _bit(self, at: int, sequence: int) -> int:
        return self.words[at + BITS + sequence % WINDOW // 64] >> sequence % 64 & 1

    def _mark(self, at: int, sequence: int) -> None:
        words, last = self.words, self.words[at + LAST]
        if sequence <= last - WINDOW:
            return
        for passed in range(max(last, sequence - WINDOW) + 1, sequence):
            words[at + BITS + passed % WINDOW // 64] &= ~(1 << passed % 64)
        words[at + BITS + sequence % WINDOW // 64] |= 1 << sequence % 64
        words[at + FIRST] = min(words[at + FIRST], sequence)
        words[at + LAST] = max(last, sequence)
