"""From connections to rings and back to acknowledgements: what is taken, what is a repetition, what is safe; no
sockets.

In: the chunks of all connections.  Out: ring records, and answers on the connections.  Invariant: a chunk is taken
once and is answered only when the workers have released every record of it, on the connection that its sender lives
on now.
"""

import logging
from collections.abc import Callable
from typing import Final

from capture.counters import Counters
from capture.errors import MalformedTraffic
from emit.connection import Connection
from emit.feeding import Feeder
from emit.joining import Joiner, Pending, Whole
from emit.sessions import Sessions
from emit.taken import Delta, Taken

log = logging.getLogger(__name__)

FRAMES_A_TURN: Final = 64
"""Of one connection, before all others have had theirs: a flood of tiny frames takes its share and no more."""
BYTES_A_FRAME: Final = 64 * 1024
"""So many bytes of entries count as one frame more: one that inflates to a thousand times its size is not tiny."""


class Intake:
    """The chunks of one receiver that are being taken or are not acknowledged yet."""

    def __init__(self, feeder: Feeder, sessions: Sessions, counters: Counters, taken: Taken | None = None) -> None:
        self.feeder = feeder
        self.taken = taken  # None: no successor will come
        self.feeder.on_written = self.note_written
        self.before: dict[int, int] = {}  # by ring: what a predecessor wrote ends there
        self.resumed: dict[tuple[bytes, int], int] = {}  # chunks that a predecessor has begun, and how far it came
        self.budget = feeder.budget
        self.sessions = sessions
        self.counters = counters
        self.owners: dict[bytes, Connection] = {}  # by session: the connection that it lives on
        self.superseded: list[Connection] = []  # whose session has moved to another
        self.pending: list[Pending] = []
        self.by_ident: dict[tuple[bytes, int], Pending] = {}

    def joiner(self) -> Joiner:
        """Return what a new connection puts messages in parts together with."""
        return Joiner(self.budget, self.feeder.decoder.part_bytes)

    def run(self, connection: Connection) -> bool:
        """Take the chunks that a connection has brought, as many as are its share; False if one waits for room.

        Where there may be more of them, the connection is `behind`.  Raises MalformedTraffic, after which the
        connection is to be closed (`close`).
        """
        connection.share = FRAMES_A_TURN
        while connection.chunk is not None or self.begin(connection):
            if not self.feed(connection):
                return False
            if connection.pending is not None and not connection.pending.decoded:
                connection.share = 0
                break
            connection.finish_chunk()
        return True

    def close(self, connection: Connection) -> None:
        """Forget a connection: what it has not brought to its end is as if it had never come."""
        if connection.pending is not None:
            self.forget(connection.pending)
        self.leave_session(connection)

    def leave_session(self, connection: Connection) -> None:
        """Have a connection be no session's, with what it has not brought to its end."""
        self.lose_parts(connection)
        if connection.session is not None and self.owners.get(connection.session) is connection:
            del self.owners[connection.session]

    def owes(self, connection: Connection) -> bool:
        """Whether a connection that the peer has half closed still waits for answers."""
        return any(chunk.owner is connection and not self.held(chunk, connection) for chunk in self.pending)

    def held(self, chunk: Pending, connection: Connection) -> bool:
        """Whether a chunk waits for a message that its connection has not brought to its end."""
        return any(chunk in message.chunks for message in connection.joiner.unfinished.values())

    def begin(self, connection: Connection) -> bool:
        """Make the next whole frame the connection's chunk; repetitions are answered and passed over."""
        while connection.share and (incoming := connection.next_chunk()) is not None:
            connection.share = max(connection.share - 1 - len(incoming.entries) // BYTES_A_FRAME, 0)
            self.counters.add("chunks")
            if incoming.ident is None or self.is_new(connection, *incoming.ident):
                connection.pending = Pending(incoming.ack, incoming.ident, connection)
                if incoming.ack is not None:
                    self.pending.append(connection.pending)
                if incoming.ident is not None:
                    self.by_ident[incoming.ident] = connection.pending
                    connection.at = self.resumed.pop(incoming.ident, 0)
                return True
            self.counters.add("chunks_repeated")
            first = self.by_ident.get(incoming.ident)
            if first is not None:
                first.owner = connection  # answered once the first copy is safe
            elif incoming.ack is not None:
                self.answer_again(connection, incoming.ack, incoming.ident)
            connection.finish_chunk()
        return False

    def answer_again(self, connection: Connection, ack: bytes, ident: tuple[bytes, int]) -> None:
        """Answer a chunk that has been taken: at once, but if a predecessor took it when what it wrote is released."""
        chunk = Pending(ack, ident, connection, dict(self.before), decoded=True)
        if self.feeder.is_safe(chunk):
            self.before.clear()
            connection.outgoing += ack
        else:
            self.pending.append(chunk)
            self.by_ident[ident] = chunk

    def recover(self) -> None:
        """Go on where a process has stopped that was killed."""
        assert self.taken is not None
        producers = self.feeder.producers
        self.taken.recover(producers, self.counters)
        self.before = {ring: producer.position for ring, producer in enumerate(producers)}
        missing = 0
        for known in self.taken.sessions():
            missing += len(known.holes)
            self.sessions.restore(known.session, known.first, known.last, known.holes)
            if known.partial >= 0:
                self.resumed[known.session, known.partial] = known.at
        self.counters.set("gaps", max(self.counters["gaps"], missing))

    def note(self, delta: Delta, show: Callable[[], None]) -> None:
        """Show the workers what was written, in one step with what that makes of chunks."""
        if self.taken is None:
            show()
            return
        self.count_written()
        self.taken.note(self.feeder.producers, self.counters, delta)
        show()
        self.taken.apply(delta)

    def note_written(self, whole: Whole) -> None:
        """Note the chunks that are taken now that a message in parts is written; its end is shown after that."""
        if self.taken is None:
            return
        done = [chunk.ident for chunk in whole.chunks if chunk.ident is not None and chunk.decoded and not chunk.waits]
        by_session = {session for session, _sequence in done}
        for session in by_session or {bytes(8)}:
            sequences = tuple(sequence for each, sequence in done if each == session)
            self.note(Delta(session, sequences), self.feeder.producers[whole.ring].show)

    def is_new(self, connection: Connection, session: bytes, sequence: int) -> bool:
        """Note one of our senders' chunks; a session lives on one connection, the newest."""
        before = self.owners.get(session)
        if before is not None and before is not connection:
            self.lose_parts(before)
            if before.pending is not None and not before.pending.ends:  # nothing of it is written: it comes again, here
                self.forget(before.pending)
                before.finish_chunk()
            before.cut_off()
            self.superseded.append(before)
        if connection.session not in (None, session):  # one at a time: a connection of many would fill `owners`
            self.leave_session(connection)
        self.owners[session] = connection
        connection.session = session
        new = self.sessions.take(session, sequence)
        if self.sessions.gaps:
            self.counters.set("gaps", max(self.counters["gaps"] + self.sessions.gaps, 0))
            if self.sessions.gaps > 0:
                log.warning("%s: %d chunks have not come, and later ones have", connection.peer, self.sessions.gaps)
            self.sessions.gaps = 0
        return new

    def feed(self, connection: Connection) -> bool:
        """Write a connection's chunk to the rings, or a slice of it; False if it has to wait for room."""
        chunk, pending, decoder = connection.chunk, connection.pending, self.feeder.decoder
        assert chunk is not None
        assert pending is not None
        stop: str | None = "large"
        while stop == "large":
            if self.budget.held_bytes > self.budget.most_bytes // 2 and any(self.feeder.queues):
                return False
            try:
                connection.at, stop, rings = decoder.run(chunk.entries, connection.at, show=False)
            except MalformedTraffic:
                self.note(Delta(), decoder.show)
                raise
            for ring in rings:
                pending.wrote(ring, self.feeder.producers[ring].position)
            pending.decoded = connection.at == len(chunk.entries)
            pending.mixed = pending.mixed or stop == "large"
            self.note(Delta() if stop == "large" else self.delta(pending, connection.at), decoder.show)
            if stop == "large" and connection.gone:  # its session is elsewhere, and has begun the message anew
                self.forget(pending)
                return True
            if stop == "large":
                whole = connection.joiner.add(*decoder.take_large(), pending)
                if whole is not None:
                    self.feeder.put(whole)
        if stop == "full":
            self.feeder.stalled(decoder.full)
            return False
        return True

    def delta(self, pending: Pending, at: int) -> Delta:
        """Return what the records that are written by now make of their chunk."""
        if pending.ident is None or (pending.mixed and not pending.decoded) or pending.waits:
            return Delta()
        session, sequence = pending.ident
        return Delta(session, (sequence,), -1 if pending.decoded else at)

    def acknowledge(self) -> list[Connection]:
        """Answer every chunk that has become safe; return the connections that have something to send for it."""
        left = []
        answered: dict[Connection, None] = {}
        for chunk in self.pending:
            if not self.feeder.is_safe(chunk):
                left.append(chunk)
                continue
            owner = chunk.owner
            assert isinstance(owner, Connection)
            assert chunk.ack is not None
            if chunk.ident is not None:
                self.by_ident.pop(chunk.ident, None)
            if not owner.gone:
                owner.outgoing += chunk.ack
                answered[owner] = None
        self.pending = left
        return list(answered)

    def lose_parts(self, connection: Connection) -> None:
        """Forget the messages in parts that a connection has begun: their chunks are as if they had never come."""
        self.forget(*connection.joiner.close())
        self.counters.add("records_refused", connection.joiner.refused)
        connection.joiner.refused = 0

    def forget(self, *chunks: Pending) -> None:
        """Make chunks new again, should they come again."""
        if not chunks:
            return
        for chunk in chunks:
            if chunk.ident is not None:
                self.sessions.forget(*chunk.ident)
                self.by_ident.pop(chunk.ident, None)
        lost = {id(chunk) for chunk in chunks}
        self.pending = [chunk for chunk in self.pending if id(chunk) not in lost]

    def count_written(self) -> None:
        """Bring the counters up to date with what the decoder and the queues have done."""
        records, refused, messages, message_bytes = self.feeder.decoder.take_counts()
        large, large_bytes, joined = self.feeder.take_counts()
        for name, amount in (
            ("records", records),
            ("records_refused", refused),
            ("records_joined", joined),
            ("messages", messages + large),
            ("message_bytes", message_bytes + large_bytes),
        ):
            if amount:
                self.counters.add(name, amount)
