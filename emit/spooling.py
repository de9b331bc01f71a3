"""An output that has a disk to put chunks on, while the far side does not take them.

In: sealed chunks.  Out: the same ones to the window, in their order.  Invariant: what is on disk comes before what is
not; once there is something, every new chunk goes there, until all is delivered.  A message is `spooled` when the
state says that its chunk is on disk, and counted again when it is delivered.
"""

import logging
from collections import deque
from collections.abc import Iterable
from typing import Final

from capture.counters import Counters
from capture.errors import MirrorError, reason
from capture.ring import Consumer
from emit.deadletters import lines
from emit.kept import State
from emit.records import OutputSpec
from emit.sealing import EXACT, SealingOutput
from emit.spool import NUMBER_AT, OF_A_CHUNK, Spool
from emit.window import FOREVER, Chunk

log = logging.getLogger(__name__)

HEAD, TAIL, BOUNDARY = 17, 18, 19
"""Where in a state's totals positions of the spool are: its ends, and behind what was there before this run."""
QUIET_S: Final = 0.5
"""A far side that acknowledges nothing for so long, with a full window, is behind."""
REST_S: Final = 5.0
"""So long after the disk has failed it is not tried again."""
MOST_LATE: Final = 4
"""So many chunks are taken while the disk has failed and something is on it."""
assert max(EXACT.values()) < HEAD


class SpoolingOutput(SealingOutput):
    """Puts chunks on disk when the window is full and the far side is behind, and takes them from there."""

    def __init__(self, spec: OutputSpec, consumer: Consumer, counters: Counters) -> None:
        super().__init__(spec, consumer, counters)
        self.spool = None if spec.spool is None else Spool(spec.spool)
        self.disk: deque[Chunk] = deque()  # read from the spool and not let go there
        self.late: deque[Chunk] = deque()  # behind what is on disk, but in memory: the disk has failed
        self.unusable: str | None = None  # why the spool cannot be used at all
        self.forgetful = False  # the disk does not take how far it is delivered
        self.rests_until_s = 0.0
        self.acked_s = 0.0  # when something was acknowledged, or there was nothing to be

    def adopt(self) -> int:
        if self.spool is not None:
            try:
                self.spool.open(self.state.totals[TAIL], self.state.totals[HEAD])
            except MirrorError as error:
                self.spool.close()
                self.spool, self.unusable = None, str(error)
        if self.spool is not None:
            if not self.spool.empty and self.state.chunks:
                self.late.extend(self.state.chunks)
            if not self.state.totals[TAIL]:
                self.state.totals[BOUNDARY] = self.spool.tail
                if not self.spool.empty:
                    log.info("%s: sends what is left in the spool %s first", self.spec.name, self.spool.directory)
        return super().adopt()

    def inherit(self, state: State) -> None:
        if not self.late:
            super().inherit(state)

    # -- which way

    @property
    def spooling(self) -> bool:
        """Whether new chunks go to the disk."""
        return self.spool is not None and not self.spool.empty

    @property
    def spoolable(self) -> bool:
        """Whether the disk takes chunks."""
        return self.spool is not None and self.spool.room and self.now_s >= self.rests_until_s

    @property
    def room(self) -> bool:
        if self.late:
            return len(self.late) < MOST_LATE or self.chunker.under_way
        if self.spooling:
            return self.spoolable or self.chunker.under_way  # a message that has begun could not be finished
        return self.window.room

    @property
    def working(self) -> bool:
        return super().working or self.spooling or bool(self.late)

    @property
    def first_kept(self) -> int | None:
        firsts = [chunk.first for chunk in self.late]
        window = super().first_kept
        return min([*firsts, *([] if window is None else [window])], default=None)

    def behind(self, head: int, *, connected: bool) -> bool:
        """Whether the far side is to have what it takes from the disk from now on."""
        if self.spool is None or self.spooling or not self.spoolable or not self.full(head):
            return False
        most = 3 * self.capacity // 4 if self.window.room else self.capacity // 4
        return not connected or self.now_s >= self.acked_s + QUIET_S or head - self.safe > most

    def full(self, head: int) -> bool:
        """Whether what is not acknowledged is all that the window may hold, or so much that the ring soon is full."""
        return not self.window.room or head - self.safe > self.capacity // 2

    # -- to the disk

    def keep(self, chunk: Chunk, frame: bytes) -> None:
        if not self.late and not self.spooling:
            super().keep(chunk, frame)
        elif self.late or self.now_s < self.rests_until_s or not self.to_disk([chunk]):
            chunk.at = self.kept.put(frame)
            self.late.append(chunk)
        else:
            chunk.frame = None

    def spill(self) -> None:
        """Put all that is in the window on the disk."""
        chunks = list(self.window.chunks.values())
        group = self.window.group
        if not chunks or not self.to_disk(chunks):
            return
        for chunk in chunks:
            chunk.frame = None
        self.window.group = group
        self.disk.extend(chunks)
        assert self.spool is not None
        self.spool.at = self.spool.tail
        log.warning("%s: the receiver is behind: chunks go to the spool %s", self.spec.name, self.spool.directory)
        self.forget([chunk for chunk in chunks if chunk.at])

    def relieve(self) -> None:
        """Put on the disk what it would not take before, if it does now."""
        chunks = list(self.late)
        if chunks and self.spoolable and self.to_disk(chunks):
            self.late.clear()
            self.forget(chunks)

    def to_disk(self, chunks: list[Chunk]) -> bool:
        """Append chunks, all or none."""
        assert self.spool is not None
        tail = self.spool.tail
        try:
            for chunk in chunks:
                self.spool.put(chunk, self.frame(chunk))
        except OSError as error:
            self.spool.tail = tail
            for chunk in chunks:
                chunk.place = -1
            self.rests_until_s = self.now_s + REST_S
            self.complain(f"{reason(error)}; going on without it")
            return False
        for chunk in chunks:
            chunk.first = FOREVER
            self.tally.spooled += chunk.messages
        return True

    def complain(self, what: str) -> None:
        """Say and count what the disk has refused."""
        assert self.spool is not None
        self.count("spool_failed")
        log.error("%s: spool %s: %s", self.spec.name, self.spool.directory, what)

    # -- from the disk

    def read_again(self) -> None:
        """Begin anew with what is on the disk: the window has forgotten what it had of it."""
        if self.spool is not None:
            self.disk.clear()
            self.spool.at = self.spool.head

    def refill(self) -> None:
        """Give the window what is next, as far as it has room; raises OSError if the disk gives nothing back."""
        while self.spool is not None and self.window.room and (chunk := self.spool.next()) is not None:
            self.disk.append(chunk)
            if chunk.buried:
                for gone in self.window.abandon():
                    gone.done = True
                self.lose(chunk, [chunk], f"cannot be read: {self.spool.trouble}")
            elif self.lacks_beginning(chunk):
                self.lose(chunk, [chunk], "are the rest of a message whose beginning is not there")
            else:
                self.put_back(chunk)
        while self.late and self.window.room and (self.spool is None or self.spool.at >= self.spool.tail):
            late = self.late.popleft()
            if self.lacks_beginning(late):
                self.tally.undelivered += late.messages
                self.forget([late])
            else:
                self.put_back(late)
        over = self.window.group is not None and self.spooling and not self.chunker.under_way and not self.late
        if over and self.spool is not None and self.spool.at >= self.spool.tail:  # the rest of it will not come
            for gone in self.window.abandon():
                gone.done = True
            self.deliver([])

    def lacks_beginning(self, chunk: Chunk) -> bool:
        """Whether it is a part of a message of which what came before is not there."""
        return chunk.parts > 1 and chunk.part > 0 and self.window.group is None

    def put_back(self, chunk: Chunk) -> None:
        """Add a chunk to the window; a message in parts whose rest is not there has none."""
        if chunk.parts <= 1 or chunk.part == 0:
            for gone in self.window.abandon():
                gone.done = True
        self.window.add(chunk, chunk.part, chunk.parts)

    def frame(self, chunk: Chunk) -> bytes:
        if chunk.frame is None and chunk.place >= 0 and self.spool is not None:
            return self.spool.get(chunk)
        return super().frame(chunk)

    def fetch(self, chunk: Chunk) -> bytes | None:
        """Return what is to be sent; None if the disk does not give it back, and it is given up.

        Raises OSError if that is not about this chunk.
        """
        try:
            return self.frame(chunk)
        except OSError as error:
            if error.errno not in OF_A_CHUNK:
                raise
            chunks = [chunk] if chunk.group is None else chunk.group.chunks
            if chunk.group is self.window.group:  # what is still to come of the message is of no use
                self.window.group = None
            self.lose(chunk, chunks, f"cannot be read: {reason(error)}")
            return None

    def lose(self, lost: Chunk, chunks: list[Chunk], why: str) -> None:
        """Give up one that is on disk, with all that there is of its message."""
        assert self.spool is not None
        messages = sum(chunk.messages for chunk in chunks)
        where = f"{self.spool.file(lost.place >> NUMBER_AT).name}, offset {lost.place & ((1 << NUMBER_AT) - 1)}"
        self.complain(f"{where}: {lost.end - lost.place} bytes {why}; {messages or 'its'} messages are not delivered")
        if lost.place < self.state.totals[BOUNDARY]:  # in no row of this run
            self.count("spool_lost", messages)
        self.put_aside(chunks)

    def held(self) -> list[Chunk]:
        return [*(chunk for chunk in super().held() if chunk.place < 0), *self.late]

    def commit(self) -> None:
        if self.spool is not None:
            self.state.totals[HEAD], self.state.totals[TAIL] = self.spool.head, self.spool.tail
        super().commit()

    def book(self, chunk: Chunk) -> None:
        if chunk.place < 0:
            super().book(chunk)
        chunk.done = True

    def deliver(self, chunks: list[Chunk]) -> None:
        self.acked_s = self.now_s
        position = self.let_go_of(chunks)
        super().deliver(chunks)
        self.released(position)

    def let_go_of(self, chunks: list[Chunk]) -> int | None:
        """Return up to where the disk is not needed any more, once these are done with; None: nothing new."""
        position = None
        while self.disk and (self.disk[0].done or self.disk[0] in chunks):
            chunk = self.disk.popleft()
            position = chunk.end
            if chunk.place >= self.state.totals[BOUNDARY]:
                name = "spool_refused" if chunk.buried else "drained"
                self.state.totals[EXACT[name]] += chunk.messages
            elif not chunk.buried:
                self.state.totals[EXACT["from_spool"]] += chunk.messages
        if position is not None and self.spool is not None:
            self.spool.head = position
        return position

    def released(self, position: int | None) -> None:
        """Give back room on the disk, after the state says so."""
        if position is not None and self.spool is not None:
            try:
                self.spool.release(position)
                self.forgetful = False
            except OSError as error:
                if not self.forgetful:
                    self.complain(f"{reason(error)}; the next run may send again what is delivered")
                self.forgetful = True
            if self.spool.empty:
                if self.left > 0:  # of chunks whose heads could not be read
                    self.complain(f"{self.left} messages that it had could not be read, and are not delivered")
                    self.state.totals[EXACT["spool_refused"]] += self.left
                    self.show_exact()
                log.info("%s: all that was in the spool is delivered", self.spec.name)
                self.commit()

    def bury(self, chunks: list[Chunk]) -> None:
        messages = sum(chunk.messages for chunk in chunks)
        where = ""
        if self.spool is not None:
            try:
                where = f": they are in {self.spool.bury(lines([self.frame(chunk) for chunk in chunks]))}"
            except OSError as error:
                where = f", and could not be kept: {reason(error)}"
        log.error(
            "%s: %d messages are given up, as the receiver took others %d times and never these%s",
            self.spec.name, messages, chunks[0].tries, where,
        )  # fmt: skip
        self.put_aside(chunks)
        self.count("dead_letters", messages)

    def put_aside(self, chunks: list[Chunk]) -> None:
        """Give up chunks, whether or not the window holds them."""
        for chunk in chunks:
            chunk.done = chunk.buried = True
        position = self.let_go_of(chunks)
        super().bury([chunk for chunk in chunks if chunk.name in self.window.chunks])
        self.show_exact()
        self.released(position)

    def forget(self, chunks: Iterable[Chunk]) -> None:
        super().forget([chunk for chunk in chunks if chunk.at])

    def abandon(self) -> None:
        if not self.spooling:
            super().abandon()

    def bequeath(self) -> None:
        self.state.totals[BOUNDARY] = self.state.totals[TAIL]
        super().bequeath()

    def close(self) -> None:
        if self.spool is None:
            return
        if self.spooling:
            log.warning(
                "%s: %d messages of this run are left in the spool %s, which has %d bytes: the next run sends them",
                self.spec.name, self.left, self.spool.directory, self.spool.used_bytes,
            )  # fmt: skip
        self.spool.close()

    @property
    def left(self) -> int:
        """How many messages of this run are on disk."""
        spooled = self.counters[f"output{self.spec.index}_spooled"] + self.tally.spooled
        return spooled - self.state.totals[EXACT["drained"]] - self.state.totals[EXACT["spool_refused"]]
