"""Target `receiving`: what several senders send, in any pieces, and what the receiver makes of it, rings and all.

In: a byte of set-up, then steps: a byte says which connection does what, and what it needs follows.  Out: an
exception when something but MalformedTraffic ends a connection, when records and counters differ, when a chunk is
acknowledged that is not safe, or when the same bytes in other pieces give other messages.
"""

import gzip
from typing import Final

import msgpack

from assemble.message import Message, read_message
from assemble.records import MESSAGE_HEADER
from capture.counters import Counters
from capture.errors import MalformedTraffic
from capture.ring import Consumer, Ring
from emit.connection import Connection
from emit.feeding import Feeder
from emit.incoming import ACK
from emit.intake import Intake
from emit.joining import Budget
from emit.records import RECEIVER_COUNTERS
from emit.sessions import Sessions
from emit.taken import Taken
from emit.wire import chunk_id
from fuzz.records import TOKENS, Program

MOST_BYTES: Final = 32 * 1024  # of a frame, inflated or not, and of a message in parts
RING_BYTES: Final = (1 << 16, 1 << 14)
MOST_STEPS: Final = 60
CONNECTIONS: Final = 3
SESSIONS: Final = 4


class Side:
    """A receiver without sockets: connections, one ring or two, and a worker that releases when it is told."""

    def __init__(self, rings: int, capacity: int) -> None:
        self.rings = [Ring.create(capacity) for _ in range(rings)]
        self.consumers = [Consumer(ring) for ring in self.rings]
        self.counters = Counters(RECEIVER_COUNTERS)
        self.feeder = Feeder(self.rings, Budget(MOST_BYTES, 2 * MOST_BYTES))
        self.taken = Taken(SESSIONS)
        self.intake = Intake(self.feeder, Sessions(SESSIONS), self.counters, self.taken)
        self.connections = [self.connect() for _ in range(CONNECTIONS)]
        self.messages: list[Message] = []
        self.parts: list[list[bytes]] = [[] for _ in self.rings]
        self.asked = self.answered = 0

    def connect(self) -> Connection:
        """Open a connection."""
        return Connection("peer", self.intake.joiner(), MOST_BYTES, MOST_BYTES)

    def receive(self, number: int, wire: bytes, piece: int) -> None:
        """Let bytes come on a connection; one that is malformed is closed, and another opened in its place."""
        connection = self.connections[number]
        for at in range(0, len(wire), piece):
            data = wire[at : at + piece]
            connection.inbox.room()[: len(data)] = data
            connection.inbox.filled(len(data))
            if not self.take(connection):
                self.close(number)
                return

    def take(self, connection: Connection) -> bool:
        """Take what a connection has brought, making room where there is none; False if it is malformed."""
        try:
            for _turn in range(1000):
                if self.intake.run(connection):
                    return True
                self.release()
        except MalformedTraffic:
            return False
        finally:
            for moved in self.intake.superseded:
                self.close(self.connections.index(moved))
            self.intake.superseded.clear()
        raise AssertionError("a connection waits though everything is released")

    def close(self, number: int) -> None:
        """Close a connection and open another in its place."""
        self.intake.close(self.connections[number])
        self.connections[number].ended = self.connections[number].gone = True
        self.connections[number] = self.connect()

    def release(self) -> None:
        """Be a worker: read what is there, and be done with it."""
        for ring, consumer in enumerate(self.consumers):
            self.read(ring, consumer)
            consumer.release(consumer.head)
        self.feeder.pump()
        self.answer()

    def read(self, ring: int, consumer: Consumer) -> None:
        """Read the records of a ring; the parts of a message follow each other."""
        at = consumer.tail
        while (record := consumer.read(at)) is not None:
            _kind, view, at = record
            fields = list(MESSAGE_HEADER.unpack_from(view))
            total, offset, part, count = fields[15], *fields[17:]
            parts = self.parts[ring]
            assert (part, offset) == (len(parts), sum(map(len, parts))), "parts out of order"
            size = min(len(view) - MESSAGE_HEADER.size, total - offset)
            if part + 1 < count:
                size = min(size, self.feeder.decoder.part_bytes)
            parts.append(bytes(view[MESSAGE_HEADER.size : MESSAGE_HEADER.size + size]))
            if part + 1 == count:
                assert sum(map(len, parts)) == total
                fields[-3:] = [0, 0, 1]
                self.messages.append(read_message(MESSAGE_HEADER.pack(*fields) + b"".join(parts)))
                parts.clear()

    def answer(self) -> None:
        """Acknowledge what is safe: nothing else is on any connection, and never more than was asked for."""
        self.intake.acknowledge()
        for connection in self.connections:
            answers = msgpack.Unpacker(raw=True, object_pairs_hook=list, strict_map_key=False)
            answers.feed(bytes(connection.outgoing))
            for answer in answers:
                assert answer[0][0] == b"ack", bytes(connection.outgoing)
                self.answered += 1
            assert connection.outgoing.count(ACK) <= self.counters["chunks"]
            connection.outgoing.clear()

    def finish(self) -> None:
        """End everything, and close the books."""
        for number in range(CONNECTIONS):
            self.close(number)
        for _turn in range(1000):
            self.release()
            if not any(self.feeder.queues):
                break
        self.release()
        self.intake.count_written()
        counted = self.counters.as_dict()
        assert self.answered <= counted["chunks"]
        assert not any(self.parts)
        assert counted["messages"] == len(self.messages)
        assert counted["message_bytes"] == sum(len(message.payload) for message in self.messages)
        assert counted["records"] == counted["records_refused"] + counted["messages"] + counted["records_joined"]
        assert self.feeder.budget.held_bytes == 0
        assert not self.intake.owners
        assert not any(chunk.waits for chunk in self.intake.pending)
        self.check_successor()

    def check_successor(self) -> None:
        """A successor takes no chunk for a repetition that is to come again here, as it was lost: it would be lost."""
        for known in self.taken.sessions():
            track = self.intake.sessions.tracks[known.session]
            both = range(max(known.first, track.first), min(known.last, track.last) + 1)
            wanted = {at for at in both if track.holes >> (track.last - at) & 1}
            assert wanted <= known.holes, (known.session, wanted - known.holes)


def frame(program: Program) -> bytes:
    """Read one frame of the program: any mode, any session, any entries."""
    mode, session, sequence = program.byte() & 7, program.byte(), program.byte()
    entries = b"".join(program.entry() for _ in range(1 + (session >> 6)))
    options: dict[str, object] = {}
    if session & 4:
        options["chunk"] = chunk_id(b"session%d" % (session & 3), sequence) if session & 8 else f"{sequence}\n"
    if mode == 0:
        return msgpack.packb("tag").join([b"\x93", entries[1:]])
    if mode == 1:
        count = 1 + (session >> 6)
        return b"\x93\xa1t" + bytes([0x90 | count]) + entries + msgpack.packb(options)
    if mode == 2:
        options["compressed"] = "gzip"
        half = len(entries) // 2 * (session >> 5 & 1)
        entries = gzip.compress(entries[:half], 1) * bool(half) + gzip.compress(entries[half:], 1)
    if mode == 3:
        options["compressed"] = "text"
    packed: bytes = msgpack.packb(["t", entries, options], use_bin_type=mode != 4)
    return packed


def steps(program: Program) -> list[tuple[int, str, bytes]]:
    """Read the program: (connection, what, bytes)."""
    found: list[tuple[int, str, bytes]] = []
    while program.left and len(found) < MOST_STEPS:
        how = program.byte()
        number, what = how % CONNECTIONS, how >> 4
        if what == 0:
            found.append((number, "close", b""))
        elif what == 1:
            found.append((number, "release", b""))
        elif what < 5:
            found.append((number, "bytes", program.take(program.byte())))
        elif what == 5:
            found.append((number, "bytes", TOKENS[program.byte() % len(TOKENS)]))
        else:
            wire = bytearray(frame(program))
            if what > 13:  # damaged at one place
                wire[program.byte() * len(wire) >> 8] ^= program.byte()
            found.append((number, "bytes", bytes(wire)))
    return found


def received(made: list[tuple[int, str, bytes]], rings: int, capacity: int, piece: int) -> Side:
    """Have a receiver receive it all."""
    side = Side(rings, capacity)
    for number, what, wire in made:
        if what == "close":
            side.close(number)
        elif what == "release":
            side.release()
        else:
            side.receive(number, wire, piece)
    side.finish()
    return side


def run(data: bytes) -> None:
    """Receive it all in whole pieces, and again in small ones."""
    if len(data) < 2:
        return
    program = Program(bytes(data))
    setup = program.byte()
    made = steps(program)
    rings, capacity = 1 + (setup & 1), RING_BYTES[setup >> 1 & 1]
    whole = received(made, rings, capacity, 1 << 20)
    pieces = received(made, rings, capacity, 1 + (setup >> 2))
    kept = ("records", "records_refused", "records_joined", "messages", "message_bytes", "chunks", "chunks_repeated")
    assert [whole.counters[name] for name in kept] == [pieces.counters[name] for name in kept], "pieces show"
    order = (lambda m: (m.id, m.payload, m.sport, m.first_ns, m.kind)) if rings > 1 else (lambda _m: 0)
    assert sorted(whole.messages, key=order) == sorted(pieces.messages, key=order), "pieces show"
