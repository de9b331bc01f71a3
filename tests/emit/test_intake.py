"""Chunks, repetitions and acknowledgements, with rings but without sockets."""

import gzip

from capture.counters import Counters
from capture.ring import Consumer, Ring
from emit.connection import Connection
from emit.feeding import Feeder
from emit.intake import FRAMES_A_TURN, Intake
from emit.joining import Budget
from emit.records import RECEIVER_COUNTERS
from emit.sessions import Sessions
from emit.wire import AckReader, chunk_id
from tests.emit.builders import as_record, drain, entries, entry, packed_forward, request, response

LIMIT = 1 << 24


class Side:
    """A receiver without sockets."""

    def __init__(self, capacity: int = 1 << 20, held_bytes: int = LIMIT) -> None:
        self.ring = Ring.create(capacity)
        self.consumer = Consumer(self.ring)
        self.counters = Counters(RECEIVER_COUNTERS)
        feeder = Feeder([self.ring], Budget(LIMIT, held_bytes))
        self.intake = Intake(feeder, Sessions(16), self.counters)

    def connect(self) -> Connection:
        """Open a connection."""
        return Connection("peer", self.intake.joiner(), LIMIT, LIMIT)

    def receive(self, connection: Connection, wire: bytes) -> bool:
        """Let bytes come."""
        for at in range(0, len(wire), 10_000):
            piece = wire[at : at + 10_000]
            connection.inbox.room()[: len(piece)] = piece
            connection.inbox.filled(len(piece))
        return self.intake.run(connection)

    def release(self) -> None:
        """Have the workers be done with everything."""
        self.consumer.release(self.consumer.head)
        self.intake.feeder.pump()

    def acks(self, connection: Connection) -> list[bytes]:
        """Return the ids acknowledged on a connection since the last call."""
        self.intake.acknowledge()
        names = AckReader().feed(bytes(connection.outgoing))
        connection.outgoing.clear()
        return names


def chunk(sequence: int, body: bytes | None = None, session: bytes = b"session!") -> bytes:
    """Make a frame of ours."""
    body = entries([request(sequence)]) if body is None else body
    return packed_forward(body, chunk_id(session, sequence))


def name(sequence: int, session: bytes = b"session!") -> bytes:
    """Return a chunk's id as it is acknowledged."""
    return chunk_id(session, sequence).encode()


def parts(count: int, number: int = 900) -> list[bytes]:
    """Return the entries of one message in parts, each on its own."""
    message = response(number, bytes(5000))
    size = -(-len(message.payload) // count)
    made = []
    for part in range(count):
        payload = message.payload[part * size : (part + 1) * size]
        made.append(entry(message, **(as_record(message) | {"payload": payload, "part": part, "parts": count})))
    return made


def test_a_chunk_is_acknowledged_when_it_is_released_and_not_before():
    """An acknowledgement means: safe here."""
    side = Side()
    peer = side.connect()
    assert side.receive(peer, chunk(0) + chunk(1))
    assert side.acks(peer) == []
    side.release()
    assert side.acks(peer) == [name(0), name(1)]
    assert side.acks(peer) == []


def test_a_repetition_is_dropped_and_answered_once_the_first_copy_is_safe():
    """Answered at once, the sender would forget what a killed worker still has to repeat."""
    side = Side()
    first, second = side.connect(), side.connect()
    side.receive(first, chunk(0))
    side.receive(second, chunk(0) + chunk(1))
    assert side.acks(second) == []
    assert len(drain(side.ring)) == 2
    side.release()
    assert side.acks(second) == [name(0), name(1)]
    assert side.acks(first) == []
    side.receive(second, chunk(0))
    assert side.acks(second) == [name(0)]
    assert side.counters["chunks_repeated"] == 2
    side.intake.count_written()
    assert side.counters["messages"] == 2


def test_chunks_of_others_are_never_repetitions():
    """Their ids are random, and the same one twice is their business."""
    side = Side()
    peer = side.connect()
    side.receive(peer, packed_forward(entries([request(1)]), "some id") * 2)
    assert len(drain(side.ring)) == 2
    side.release()
    assert side.acks(peer) == [b"some id"] * 2


def test_parts_of_a_message_are_safe_together():
    """The first part is nowhere but in our memory until the last has come."""
    side = Side()
    peer = side.connect()
    for at, part in enumerate(parts(3)):
        assert side.acks(peer) == []
        assert drain(side.ring) == []
        side.receive(peer, chunk(at, part))
    assert len(drain(side.ring)) == 1
    side.release()
    assert side.acks(peer) == [name(0), name(1), name(2)]


def test_parts_that_a_broken_connection_brought_are_taken_again():
    """They are lost with the connection's memory: their repetition is the first copy."""
    side = Side()
    first, second = side.connect(), side.connect()
    made = parts(3)
    side.receive(first, chunk(0) + chunk(1, made[0]) + chunk(2, made[1]))
    side.intake.close(first)
    for at, part in enumerate(made):
        side.receive(second, chunk(at + 1, part))
    assert [len(message.payload) for message in drain(side.ring)][1:] == [len(response(900, bytes(5000)).payload)]
    side.release()
    assert side.acks(second) == [name(1), name(2), name(3)]
    assert side.counters["chunks_repeated"] == 0


def test_a_session_lives_on_its_newest_connection():
    """The old one may linger half open: what it holds must not make the new copies repetitions."""
    side = Side()
    first, second = side.connect(), side.connect()
    made = parts(2)
    side.receive(first, chunk(0, made[0]))
    side.receive(second, chunk(0, made[0]) + chunk(1, made[1]))
    assert side.intake.superseded == [first]
    assert first.ended
    side.release()
    assert side.acks(second) == [name(0), name(1)]


def fill(side: Side, sequence: int) -> Connection:
    """Leave no room in the ring; return the connection that waits for it, whose session is another."""
    peer = side.connect()
    made = [request(number) for number in range(300)]
    assert not side.receive(peer, chunk(sequence, entries(made), session=b"a flood!"))
    return peer


def make_room(side: Side, *peers: Connection) -> list[int]:
    """Have the workers take everything, turn by turn; return the numbers of the messages in the order they came."""
    found = []
    for _turn in range(100):
        found += [message.id for message in drain(side.ring, side.consumer.tail)]
        side.release()
        done = [side.intake.run(peer) for peer in peers]
        if all(done) and side.consumer.tail == side.consumer.head:
            return found
    raise AssertionError("it never came to an end")


def test_a_chunk_that_waits_on_a_connection_left_behind_is_taken_on_the_new_one():
    """Nothing of it was written: were it a repetition there, its parts would be refused, which come after it here."""
    side = Side(16 * 1024)
    flood, first, second = fill(side, 0), side.connect(), side.connect()
    made = parts(2)
    assert not side.receive(first, chunk(0, entries([request(800)])))
    side.receive(
        second, chunk(0, entries([request(800)])) + b"".join(chunk(1 + at, each) for at, each in enumerate(made))
    )
    assert [number for number in make_room(side, flood, first, second) if number >= 300] == [800, 900]
    assert side.acks(second) == [name(0), name(1), name(2)]
    assert side.acks(first) == []
    assert side.counters["chunks_repeated"] == 0
    assert side.intake.budget.held_bytes == 0


def test_a_chunk_of_parts_left_in_its_middle_is_taken_from_its_start_on_the_new_connection():
    """Its parts before the middle were forgotten with the old one, where nothing more of it may be taken."""
    side = Side(16 * 1024, held_bytes=44 * 1024)
    flood, first, second = fill(side, 0), side.connect(), side.connect()
    whole = parts(2, number=801)
    side.receive(side.connect(), b"".join(chunk(at, each, session=b"another!") for at, each in enumerate(whole)))
    made = parts(3)
    body = made[0] + made[1]
    assert not side.receive(first, chunk(0, body))
    assert first.at > 0
    wire = chunk(0, body) + chunk(1, made[2])
    side.receive(second, wire)
    assert [number for number in make_room(side, flood, first, second) if number >= 300] == [801, 900]
    assert side.acks(second) == [name(0), name(1)]
    assert side.counters["records_refused"] == 1, "the part that was forgotten"
    third = side.connect()
    side.receive(third, wire)
    assert side.counters["chunks_repeated"] == 2


def test_a_connection_is_one_session_at_a_time():
    """Found by fuzzing: each of any number of sessions on one connection was remembered for ever."""
    side = Side()
    peer = side.connect()
    for at in range(3):
        side.receive(peer, chunk(0, session=b"sender %d" % at))
    side.receive(peer, chunk(1, parts(2)[0], session=b"sender 0"))
    assert list(side.intake.owners) == [b"sender 0"]
    side.receive(peer, chunk(1, session=b"sender 1"))
    side.intake.close(peer)
    assert not side.intake.owners
    assert side.intake.budget.held_bytes == 0
    other = side.connect()
    side.receive(other, b"".join(chunk(1 + at, part, session=b"sender 0") for at, part in enumerate(parts(2))))
    side.release()
    assert side.acks(other) == [name(1, b"sender 0"), name(2, b"sender 0")]


def test_a_full_ring_makes_a_connection_wait_in_mid_chunk():
    """It goes on where it stopped, also if the connection is gone by then."""
    side = Side(16 * 1024)
    peer = side.connect()
    made = [request(number) for number in range(300)]
    assert not side.receive(peer, chunk(0, entries(made)))
    peer.cut_off()
    found = 0
    for _turn in range(100):
        found += len(drain(side.ring, side.consumer.tail))
        side.release()
        if side.intake.run(peer):
            break
    found += len(drain(side.ring, side.consumer.tail))
    assert found == 300
    side.release()
    other = side.connect()
    side.receive(other, chunk(0, entries(made)))
    assert side.acks(other) == [name(0)]
    assert side.counters["chunks_repeated"] == 1


def test_gaps_are_reported():
    """A chunk that never came is a loss that must not be silent."""
    side = Side()
    side.receive(side.connect(), chunk(3) + chunk(7))
    assert side.counters["gaps"] == 3


def test_a_flood_of_frames_takes_its_share_and_no_more():
    """Thousands of tiny chunks in one read: the others have their turn between, and none is lost."""
    side = Side()
    peer = side.connect()
    wire = b"".join(chunk(number, b"") for number in range(2 * FRAMES_A_TURN + 1))
    assert side.receive(peer, wire)
    turns = 1
    while peer.behind:
        assert side.counters["chunks"] == turns * FRAMES_A_TURN
        assert side.intake.run(peer)
        turns += 1
    assert turns == 3
    assert side.acks(peer) == [name(number) for number in range(2 * FRAMES_A_TURN + 1)]
    again = side.connect()
    assert side.receive(again, wire)
    assert again.behind, "repetitions are frames, too"


def test_a_chunk_that_inflates_to_millions_of_entries_takes_turns():
    """A few kilobytes on the wire can be seconds of work; nobody waits for all of it, and it is taken whole."""
    side = Side(1 << 24)
    peer = side.connect()
    body = b"\xc0" * 9_000_000 + entries([request(1)])
    assert side.receive(peer, packed_forward(gzip.compress(body), chunk_id(b"session!", 1), compressed="gzip"))
    turns = 1
    while peer.behind:
        assert side.counters["messages"] == 0
        assert side.acks(peer) == []
        assert side.intake.run(peer)
        side.intake.count_written()
        turns += 1
    assert turns == 3
    side.release()
    assert side.acks(peer) == [name(1)]
    assert side.counters["records_refused"] == 9_000_000
    assert side.counters["messages"] == 1
