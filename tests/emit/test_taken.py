"""A receiver that is killed at any store: behind its successors every message is there once, and the sums close."""

import os
import random
import select
import socket
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import emit.receiver
from assemble.records import AT_ID, AT_KIND, AT_PART, AT_PARTS, MESSAGE_HEADER
from capture.child import EventQueue
from capture.counters import Counters
from capture.errors import MirrorError
from capture.ring import Consumer, Ring
from emit.connection import Connection
from emit.feeding import Feeder
from emit.intake import Intake
from emit.joining import Budget
from emit.records import RECEIVER_COUNTERS, ReceiverSpec
from emit.sessions import Sessions
from emit.taken import WINDOW, Delta, Taken
from emit.wire import AckReader, chunk_id
from tests.emit.builders import as_record, entries, entry, packed_forward, request, response
from tests.emit.processes import Processes, wait_until

LIMIT = 1 << 24
SESSION = b"session!"


class Killed(BaseException):
    """SIGKILL, as far as one process can play it."""


class Mortal:
    """The words of a `Taken`, of which a store, some time, is the last thing that happens."""

    def __init__(self, words: Any, stores: int, after: bool) -> None:
        self.words, self.left, self.after = words, stores, after

    def __getitem__(self, at: Any) -> Any:
        return self.words[at]

    def __setitem__(self, at: int, value: int) -> None:
        self.left -= 1
        if self.left == 0 and not self.after:
            raise Killed
        self.words[at] = value
        if self.left == 0:
            raise Killed


class Receiver:
    """One life of a receiver without sockets, on rings and pages that outlive it."""

    def __init__(self, rings: list[Ring], counters: Counters, taken: Taken, stores: int, after: bool) -> None:
        mine = Taken(taken.most, os.dup(taken.fd))
        self.intake = Intake(Feeder(rings, Budget(LIMIT, LIMIT)), Sessions(mine.most), counters, mine)
        self.peer = Connection("peer", self.intake.joiner(), LIMIT, LIMIT)
        mine.words = Mortal(mine.words, stores, after)  # type: ignore[assignment]

    def take(self, wire: bytes) -> None:
        """Let bytes come."""
        for at in range(0, len(wire), 10_000):
            piece = wire[at : at + 10_000]
            self.peer.inbox.room()[: len(piece)] = piece
            self.peer.inbox.filled(len(piece))

    def turn(self) -> list[bytes]:
        """Do what can be done, and return the chunks that are acknowledged."""
        self.intake.feeder.pump()
        self.intake.run(self.peer)
        self.intake.acknowledge()
        names = AckReader().feed(bytes(self.peer.outgoing))
        self.peer.outgoing.clear()
        return names


class Worker:
    """Reads a ring to where it is now, and counts the messages that it finds whole."""

    def __init__(self, ring: Ring) -> None:
        self.consumer = Consumer(ring)
        self.parts = 0
        self.found: Counter[tuple[int, int]] = Counter()

    def read(self) -> None:
        """Read, and release."""
        while (record := self.consumer.read(self.consumer.tail)) is not None:
            header = MESSAGE_HEADER.unpack_from(record[1])
            self.parts = self.parts + 1 if header[AT_PART] == self.parts else 1
            assert header[AT_PART] == self.parts - 1, "a message begins with its first part"
            if self.parts == header[AT_PARTS]:
                self.found[header[AT_ID], header[AT_KIND]] += 1
                self.parts = 0
            self.consumer.release(record[2])


def chunks(dice: random.Random) -> tuple[dict[bytes, bytes], int]:
    """Frames of one sender by their ids: chunks of many messages, and messages in many chunks; how many messages."""
    made: dict[bytes, bytes] = {}
    bodies: list[bytes] = []
    count = 0
    for number in range(12):
        if dice.random() < 0.3:
            message = response(1000 + number, bytes([number]) * 9000)
            for part in range(5):
                piece = message.payload[part * 2000 : (part + 1) * 2000] if part < 4 else message.payload[8000:]
                record = as_record(message) | {"payload": piece, "part": part, "parts": 5}
                bodies.append(entry(message, **record))
            count += 1
        else:
            size = dice.randrange(1, 40)
            bodies.append(entries([request(100 * number + at) for at in range(size)]))
            count += size
    for sequence, body in enumerate(bodies):
        name = chunk_id(SESSION, sequence)
        made[name.encode()] = packed_forward(body, name)
    return made, count


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.lists(st.tuples(st.integers(1, 400), st.booleans()), max_size=8))
def test_killed_at_any_store_every_message_is_behind_it_once(seed, deaths):
    """The sender repeats what is not acknowledged, in order, to whoever listens."""
    dice = random.Random(seed)
    rings = [Ring.create(8192), Ring.create(8192)]
    workers = [Worker(ring) for ring in rings]
    counters, taken = Counters(RECEIVER_COUNTERS), Taken(4)
    unacknowledged, count = chunks(dice)
    lives = [*deaths, (1 << 62, False)]
    for life, (stores, after) in enumerate(lives):
        try:
            receiver = Receiver(rings, counters, taken, stores, after)
            if life:
                receiver.intake.recover()
            receiver.take(b"".join(unacknowledged.values()))
            turns = 0
            while unacknowledged:
                for name in receiver.turn():
                    unacknowledged.pop(name, None)
                for worker in workers:
                    if dice.random() < 0.7:
                        worker.read()
                turns += 1
                assert turns < 10_000, "stuck"
        except Killed:
            continue
        break
    found = workers[0].found + workers[1].found
    assert len(found) == count
    assert set(found.values()) == {1}
    receiver.intake.count_written()
    c = counters.as_dict()
    assert c["messages"] == count
    assert c["records"] == c["messages"] + c["records_joined"] + c["records_refused"]


@given(st.lists(st.integers(0, 3 * WINDOW), max_size=60))
def test_what_is_known_is_what_was_taken(sequences):
    """Against a set; what lies too far back counts as not taken, so that nothing is lost."""
    taken, seen = Taken(2), set()
    for sequence in sequences:
        taken.apply(Delta(SESSION, (sequence,)))
        seen.add(sequence)
    heir = Taken(2, os.dup(taken.fd))
    for known in heir.sessions():
        assert (known.last, known.partial) == (max(seen), -1)
        window = range(known.first, known.last + 1)
        assert known.first >= max(min(seen), max(seen) - WINDOW + 1)
        assert set(window) - known.holes == {each for each in seen if each in window}


def test_the_session_heard_of_longest_ago_gives_way():
    """Senders come and go; the table has a size."""
    taken = Taken(2)
    for session in (b"a" * 8, b"b" * 8, b"a" * 8, b"c" * 8):
        taken.apply(Delta(session, (5,)))
    assert {known.session for known in taken.sessions()} == {b"a" * 8, b"c" * 8}
    assert {known.session for known in Taken(2, os.dup(taken.fd)).sessions()} == {b"a" * 8, b"c" * 8}


def test_a_chunk_that_is_taken_is_not_acknowledged_before_what_the_dead_wrote_is_released():
    """It is in the ring, and not yet where it is to go: an acknowledgement means safe."""
    ring, counters, taken = Ring.create(1 << 16), Counters(RECEIVER_COUNTERS), Taken(2)
    wire = packed_forward(entries([request(1)]), chunk_id(SESSION, 0))
    first = Receiver([ring], counters, taken, 1 << 62, after=False)
    first.take(wire)
    assert first.turn() == []
    second = Receiver([ring], counters, taken, 1 << 62, after=False)
    second.intake.recover()
    second.take(wire)
    assert second.turn() == []
    consumer = Consumer(ring)
    consumer.release(consumer.head)
    assert second.turn() == [chunk_id(SESSION, 0).encode()]
    assert counters["chunks_repeated"] == 1


def test_another_memory_file_is_refused():
    """Whoever reads rubbish for sessions drops what is new."""
    small = Taken(2)
    with pytest.raises(MirrorError, match="does not hold"):
        Taken(3, os.dup(small.fd))


def test_killed_processes_leave_every_message_once(processes: Processes):
    """Real ones, on real sockets: the port is the same, the sender repeats, and nothing shows behind it."""
    dice = random.Random(7)
    rings = [Ring.create(8192), Ring.create(8192)]
    workers = [Worker(ring) for ring in rings]
    unacknowledged, count = chunks(dice)
    for number in range(60):
        name = chunk_id(b"another!", number)
        body = entries([request(100_000 + 100 * number + at) for at in range(30)])
        unacknowledged[name.encode()] = packed_forward(body, name)
        count += 30
    spec = ReceiverSpec(os.getpid(), 20, EventQueue(), Counters(RECEIVER_COUNTERS), tuple(rings), port=0)
    lives, port = 0, 0
    while unacknowledged:
        child = processes.start(emit.receiver.main, replace(spec, events=EventQueue(), attempt=lives))
        told = wait_until(lambda child=child: child.events("listening"), "listening")
        assert port in (0, told[0]["port"])
        port = told[0]["port"]
        left = dice.randrange(1, 8) if lives < 10 else 1 << 30
        with socket.create_connection(("127.0.0.1", port), timeout=10) as peer:
            peer.setblocking(False)
            outgoing, acks = bytearray(b"".join(unacknowledged.values())), AckReader()
            while unacknowledged and left > 0:
                readable, writable, _ = select.select([peer], [peer] if outgoing else [], [], 0.001)
                if writable:
                    del outgoing[: peer.send(outgoing[:5000])]
                for name in acks.feed(peer.recv(65536)) if readable else []:
                    unacknowledged.pop(name, None)
                    left -= 1
                for worker in workers:
                    worker.read()
            child.kill() if unacknowledged else child.stop()
        lives += 1
    for worker in workers:
        worker.read()
    found = workers[0].found + workers[1].found
    assert lives == 11
    assert len(found) == count
    assert set(found.values()) == {1}
    assert spec.counters["messages"] == count
