"""Messages into chunks that are kept: framed, numbered, and safe from a kill before a byte of them is sent.

In: records of a message ring.  Out: a window of chunks.  Invariant: whenever the process is killed, each message is in
a chunk of the valid state (emit/kept.py), or has an outcome in it, or lies in the ring behind its mark; in one of the
three.  So a successor sends the same chunks under the same ids, goes on at the mark, and books each message once.
"""

import os
from collections.abc import Iterable
from typing import Final

from assemble.records import REPLAYED, REQUEST, RESPONSE
from capture.counters import Counters
from capture.ring import Consumer
from emit.chunks import Chunker
from emit.kept import NONE_UNDER_WAY, Kept, State
from emit.output import Output
from emit.records import OUTCOMES, REPLAYED_TAG, REQUEST_TAG, RESPONSE_TAG, OutputSpec
from emit.walk import count_messages
from emit.window import FOREVER, Chunk, Window
from emit.wire import chunk_id, compressed_frame, frame_head, frame_tail

TAGS: Final = {REQUEST: REQUEST_TAG, RESPONSE: RESPONSE_TAG, REPLAYED: REPLAYED_TAG}
"""By kind, in the order in which chunks leave: what answers a request comes after it."""
ADDED: Final = len(OUTCOMES)
"""Where in a state's totals messages are that steps have added; the outcomes come before, in their order."""
EXACT_NAMES: Final = ("delivered_bytes", "chunks", "drained", "from_spool", "spool_refused")
EXACT: Final = {name: ADDED + 1 + at for at, name in enumerate(EXACT_NAMES)}
"""Counters whose value is in a state's totals, beside those that are booked."""


class SealingOutput(Output):
    """Fills chunks, and keeps those that are full until they are delivered.  Subclasses send them."""

    def __init__(self, spec: OutputSpec, consumer: Consumer, counters: Counters) -> None:
        super().__init__(spec, consumer, counters)
        self.window = Window(spec.window_chunks, spec.window_bytes)
        self.chunker = Chunker(consumer, spec.chunk_bytes, spec.chunk_records, self.sieve, spec.payload)
        self.heads = {kind: frame_head(f"{spec.tag}.{tag}") for kind, tag in TAGS.items()}
        self.kept = spec.kept or Kept.create()
        self.state = self.kept.load()
        self.page = os.fstat(counters.fd).st_ino
        self.begun_s: dict[int, float] = {}  # when the first record of each open chunk was taken
        self.let_go_to = self.cursor  # ring position before which the ring is not kept for us

    @property
    def safe(self) -> int:
        if self.failure is not None:
            return self.cursor
        positions = [self.cursor, self.first_kept, *(self.chunker.first(kind) for kind in TAGS)]
        return max(min(at for at in positions if at is not None), self.let_go_to)

    @property
    def first_kept(self) -> int | None:
        """Ring position from which the chunks could be read again; None if there are none."""
        return self.window.first

    @property
    def working(self) -> bool:
        """Whether something is taken and not delivered."""
        return bool(self.window.chunks) or self.opened_chunks

    @property
    def room(self) -> bool:
        """Whether chunks may be sealed."""
        return self.window.room

    @property
    def opened_chunks(self) -> bool:
        """Whether messages are taken that are in no sealed chunk."""
        return any(self.chunker.records(kind) for kind in TAGS)

    # -- a predecessor's

    def adopt(self) -> int:
        """Take over what a predecessor has kept; return the position in the worker's ring from which to go on."""
        state, ring = self.state, self.outer or self.consumer
        mark = max(state.mark, ring.tail)
        self.inherit(state)
        if self.outer is None:
            self.cursor = mark
            self.chunker.joint = state.joint
        else:  # steps are given whole messages only, in a ring that begins with what is behind these chunks
            self.window.abandon()
            if state.joint[2]:
                mark = max(state.joint[1], ring.tail)
            self.let_go_to = -1
            for chunk in state.chunks:
                chunk.first = -1
        known = self.recall()
        released = self.counters["messages_taken"] + self.counters[f"output{self.spec.index}_added"]
        booked = sum(self.counters[f"output{self.spec.index}_{name}"] for name in OUTCOMES)
        self.tally.owed = max(released - booked, 0)
        sealed = sum(chunk.messages for chunk in state.chunks)
        lost = "dropped" if self.spec.policy == "drop" else "undelivered"
        self.tally.balance(count_messages(ring, ring.tail, mark)[0] - sealed, lost if known else "delivered")
        return mark

    def inherit(self, state: State) -> None:
        """Take over chunks."""
        for chunk in state.chunks:
            self.window.add(chunk, chunk.part, chunk.parts)

    def recall(self) -> bool:
        """Take over what is known and not booked; false if the totals do not go with our counters."""
        if self.state.page not in (0, self.page):
            self.state.totals[: ADDED + 1 + len(EXACT)] = [0] * (ADDED + 1 + len(EXACT))
            return False
        for at, name in enumerate((*OUTCOMES, "added")):
            booked = self.counters[f"output{self.spec.index}_{name}"]
            unbooked = self.state.totals[at] - booked
            self.tally.know(name, unbooked if name == "added" else max(unbooked, 0))
        self.show_exact()
        return True

    # -- the state

    def commit(self) -> None:
        """Keep how far we have come: the chunks as they are now, and outcomes as far as they go with the mark."""
        state = self.state
        state.page = self.page
        state.chunks = self.held()
        if self.opened_chunks:
            known = ["delivered", "spooled"]  # outcomes of others may lie beyond the mark
        else:
            self.note_outcomes()
            known = [*OUTCOMES, "added"]
            state.mark = self.place(self.cursor)
            state.joint = self.chunker.joint if self.outer is None else NONE_UNDER_WAY
        for at, name in enumerate((*OUTCOMES, "added")):
            if name in known:
                booked = self.counters[f"output{self.spec.index}_{name}"]
                state.totals[at] = booked + int(getattr(self.tally, name))
        self.kept.commit(state)

    def held(self) -> list[Chunk]:
        """Return the chunks whose frames are kept in memory."""
        return list(self.window.chunks.values())

    def deliver(self, chunks: list[Chunk]) -> None:
        """Book chunks as delivered; they are no longer kept."""
        for chunk in chunks:
            self.book(chunk)
            self.state.totals[EXACT["delivered_bytes"]] += chunk.payload_bytes
            self.state.totals[EXACT["chunks"]] += 1
        self.forget(chunks)
        self.show_exact()

    def show_exact(self) -> None:
        """Bring the counters up to date whose values are in the state."""
        for name, at in EXACT.items():
            self.counters.set(f"output{self.spec.index}_{name}", self.state.totals[at])

    def book(self, chunk: Chunk) -> None:
        """Note that a chunk's messages are delivered."""
        self.tally.delivered += chunk.messages

    def bury(self, chunks: list[Chunk]) -> None:
        """Give up chunks that the window holds."""
        self.window.discard(chunks)
        self.tally.undelivered += sum(chunk.messages for chunk in chunks if chunk.place < 0)
        self.forget(chunks)

    def forget(self, chunks: Iterable[Chunk]) -> None:
        """Keep chunks no longer that the window does not hold any more."""
        self.commit()
        for chunk in chunks:
            self.kept.free(chunk.at, chunk.size)
            chunk.at = 0  # it may go on from a disk; its room is another's from now on

    def frame(self, chunk: Chunk) -> bytes:
        """Return what is to be sent."""
        return self.kept.get(chunk.at, chunk.size) if chunk.frame is None else chunk.frame

    def bequeath(self) -> None:
        """Leave what is kept, with totals for counters that begin at nothing.

        Not if some of it has left the ring: those messages are dropped here, and nowhere in a successor's sums.
        """
        state = self.state
        if self.tally.owed:
            self.window.clear()
            state.chunks, state.mark, state.joint = [], 0, NONE_UNDER_WAY
            state.totals = [0] * len(state.totals)
        for at, name in enumerate((*OUTCOMES, "added")):
            state.totals[at] = max(state.totals[at] - self.counters[f"output{self.spec.index}_{name}"], 0)
        for at in EXACT.values():
            state.totals[at] = 0
        state.page = 0
        self.kept.commit(state)

    # -- chunks

    def fill(self, head: int) -> None:
        """Take records and seal what is full, as long as the window has room."""
        while self.room and self.failure is None:
            if not self.chunker.ready:
                self.cursor = self.chunker.fill(self.cursor, head, self.final)
                self.stray(self.chunker.take_strays())
                if not self.chunker.ready and not self.chunker.under_way:
                    self.abandon()
            if not self.chunker.ready:
                break
            self.seal_open()

    def seal_open(self) -> None:
        """Seal what is open: all of it, so that everything before the cursor is in chunks, and requests first.

        A part of a message is the last: what is open besides came before that message.
        """
        ready, parts, part = self.chunker.ready, self.chunker.parts, self.chunker.part
        kinds = [kind for kind in TAGS if self.chunker.records(kind)]
        if parts:
            kinds.remove(ready)
            kinds.append(ready)
        for kind in kinds:
            self.seal(kind, *((part, parts) if parts and kind == ready else (0, 0)))
        self.begun_s.clear()
        if kinds:
            self.commit()

    def seal(self, kind: int, part: int, parts: int) -> None:
        """Frame one chunk and put it into the window; it is to be committed before it is sent."""
        chunker = self.chunker
        name = chunk_id(self.state.session, self.state.sequence)
        self.state.sequence += 1
        compressed = self.spec.compression == "gzip"
        records = chunker.records(kind)
        tail = frame_tail(name, records, compressed=compressed)
        if compressed:
            frame = compressed_frame(self.heads[kind], chunker.entries(kind), tail)
        else:
            frame = chunker.frame(kind, self.heads[kind], tail)
        first = chunker.first(kind)
        assert first is not None
        if chunker.large and part + 1 < parts:  # the ring has no room for all of it; with its last part it is released
            first = FOREVER
        chunk = Chunk(
            name.encode(), frame, first, chunker.messages(kind), chunker.payload_bytes(kind),
            kind=kind, part=part, parts=parts, records=records,
        )  # fmt: skip
        self.keep(chunk, frame)
        chunker.clear(kind)

    def keep(self, chunk: Chunk, frame: bytes) -> None:
        """Put a chunk where it is safe, behind the others."""
        chunk.at = self.kept.put(frame)
        self.window.add(chunk, chunk.part, chunk.parts)

    def let_go(self) -> None:
        self.seal_open()
        self.let_go_to = self.cursor

    def abandon(self) -> None:
        if gone := self.window.abandon():
            self.forget(gone)
