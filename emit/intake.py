"""From connections to rings and back to acknowledgements: what is taken, what is a repetition, what is safe; no
sockets.

In: the chunks of all connections.  Out: ring records, and answers on the connections.  Invariant: a chunk is taken
once and is answered only when the workers have released every record of it, on the connection that its sender lives
on now.
"""

import logging

from capture.counters import Counters
from emit.connection import Connection
from emit.feeding import Feeder
from emit.joining import Joiner, Pending
from emit.sessions import Sessions

log = logging.getLogger(__name__)


class Intake:
    """The chunks of one receiver that are being taken or are not acknowledged yet."""

    def __init__(self, feeder: Feeder, sessions: Sessions, counters: Counters) -> None:
        self.feeder = feeder
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
        """Take the chunks that a connection has brought; False if one has to wait for room.

        Raises MalformedTraffic, after which the connection is to be closed (`close`).
        """
        while connection.chunk is not None or self.begin(connection):
            if not self.feed(connection):
                return False
            connection.finish_chunk()
        return True

    def close(self, connection: Connection) -> None:
        """Forget a connection: what it has not brought to its end is as if it had never come."""
        if connection.pending is not None:
            self.forget(connection.pending)
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
        while (incoming := connection.next_chunk()) is not None:
            self.counters.add("chunks")
            if incoming.ident is None or self.is_new(connection, *incoming.ident):
                connection.pending = Pending(incoming.ack, incoming.ident, connection)
                if incoming.ack is not None:
                    self.pending.append(connection.pending)
                if incoming.ident is not None:
                    self.by_ident[incoming.ident] = connection.pending
                return True
            self.counters.add("chunks_repeated")
            first = self.by_ident.get(incoming.ident)
            if first is not None:
                first.owner = connection  # answered once the first copy is safe
            elif incoming.ack is not None:
                connection.outgoing += incoming.ack
            connection.finish_chunk()
        return False

    def is_new(self, connection: Connection, session: bytes, sequence: int) -> bool:
        """Note one of our senders' chunks; a session lives on one connection, the newest."""
        before = self.owners.get(session)
        if before is not None and before is not connection:
            self.lose_parts(before)
            before.cut_off()
            self.superseded.append(before)
        self.owners[session] = connection
        connection.session = session
        new = self.sessions.take(session, sequence)
        if self.sessions.gaps:
            self.counters.add("gaps", self.sessions.gaps)
            log.warning("%s: %d chunks were never received", connection.peer, self.sessions.gaps)
            self.sessions.gaps = 0
        return new

    def feed(self, connection: Connection) -> bool:
        """Write a connection's chunk to the rings; False if it has to wait for room."""
        chunk, pending, decoder = connection.chunk, connection.pending, self.feeder.decoder
        assert chunk is not None
        assert pending is not None
        stop: str | None = "large"
        while stop == "large":
            if self.budget.held_bytes > self.budget.most_bytes // 2 and any(self.feeder.queues):
                return False
            connection.at, stop, rings = decoder.run(chunk.entries, connection.at)
            for ring in rings:
                pending.wrote(ring, self.feeder.producers[ring].position)
            if stop == "large":
                whole = connection.joiner.add(*decoder.take_large(), pending)
                if whole is not None:
                    self.counters.add("records_joined", whole.records - 1)
                    self.feeder.put(whole)
        if stop == "full":
            self.feeder.stalled(decoder.full)
            return False
        pending.decoded = True
        return True

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
        for chunk in connection.joiner.close():
            self.forget(chunk)
        self.counters.add("records_refused", connection.joiner.refused)
        connection.joiner.refused = 0

    def forget(self, chunk: Pending) -> None:
        """Make a chunk new again, should it come again."""
        if chunk.ident is not None:
            self.sessions.forget(*chunk.ident)
            self.by_ident.pop(chunk.ident, None)
        self.pending = [other for other in self.pending if other is not chunk]

    def count_written(self) -> None:
        """Bring the counters up to date with what the decoder and the queues have done."""
        records, refused, messages, message_bytes = self.feeder.decoder.take_counts()
        large, large_bytes = self.feeder.take_counts()
        for name, amount in (
            ("records", records),
            ("records_refused", refused),
            ("messages", messages + large),
            ("message_bytes", message_bytes + large_bytes),
        ):
            if amount:
                self.counters.add(name, amount)
