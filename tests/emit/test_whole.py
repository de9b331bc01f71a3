"""Whole messages out of a ring and into one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assemble.message import Message, read_message
from capture.records import KIND_MESSAGE
from capture.ring import Consumer, Producer, Ring
from emit.match import Matcher
from emit.sieve import Sieve
from emit.verdicts import Verdicts
from emit.walk import skip_messages
from emit.where import parse
from emit.whole import MessageReader, MessageWriter
from tests.emit.builders import drain, messages, records_of, request, response


def read_all(ring: Ring, sieve: Sieve | None = None) -> tuple[list[Message], MessageReader, int]:
    """Read what a ring holds."""
    consumer, cursor, found = Consumer(ring), 0, []
    reader = MessageReader(consumer, sieve)
    while True:
        message, cursor = reader.next(cursor, consumer.head)
        if message is None:
            return found, reader, cursor
        found.append(message)


def as_read(message: Message) -> Message:
    """Return a message as a record gives it."""
    [record] = records_of(message, 1 << 30)
    return read_message(record)


@given(st.lists(messages(most_body=9000), max_size=12))
def test_what_is_written_is_what_is_read(made: list[Message]):
    """Whole or in parts, in a ring so small that most messages need several turns."""
    ring = Ring.create(16384)
    consumer, writer, cursor = Consumer(ring), MessageWriter(Producer(ring)), 0
    reader = MessageReader(consumer)
    found: list[Message] = []
    for message in made:
        for _turn in range(20):
            if written := writer.put(message):
                break
            while True:
                whole, cursor = reader.next(cursor, consumer.head)
                if whole is None:
                    break
                found.append(whole)
            consumer.release(cursor)
        assert written
    while True:
        whole, cursor = reader.next(cursor, consumer.head)
        if whole is None:
            break
        found.append(whole)
    assert [message.payload for message in found] == [message.payload for message in made]
    same = ("id", "kind", "src", "dst", "sport", "dport", "first_ns", "last_ns", "complete", "missing", "head")
    for name in same:
        assert [getattr(message, name) for message in found] == [getattr(message, name) for message in made]


@given(st.lists(messages(most_body=400), max_size=12))
def test_records_are_read_as_the_library_reads_them(made: list[Message]):
    """Also what no start line says: of a message from a ring, the fields of its record are kept."""
    ring = Ring.create(1 << 20)
    producer = Producer(ring)
    for message in made:
        assert all(producer.try_put(KIND_MESSAGE, record) for record in records_of(message, 240))
    found, _reader, _cursor = read_all(ring)
    assert found == [as_read(message) for message in made]
    again = Ring.create(1 << 20)
    writer = MessageWriter(Producer(again))
    assert all(writer.put(message) for message in found)
    assert drain(again) == found


def test_the_start_line_is_read_from_the_new_bytes():
    """Outputs and filters look at the fields of the record: they must say what is there."""
    ring = Ring.create(1 << 20)
    writer = MessageWriter(Producer(ring))
    asked = b"POST /new/place HTTP/1.1\r\nHost: a\r\n\r\n"
    answered = b"HTTP/1.1 102 Wait\r\n\r\n"
    for made in (as_read(request(1)), request(1).replace(target="/ignored")):
        assert writer.put(made.with_payload(asked, len(asked)))
    assert writer.put(as_read(response(1)).with_payload(answered, len(answered)))
    assert writer.put(as_read(request(2)).with_payload(b"no start line", 0))
    first, second, third, fourth = drain(ring)
    assert (first.method, first.target, first.head) == ("POST", "/new/place", len(asked))
    assert second == first
    assert (third.status, third.method) == (102, None)
    assert (fourth.method, fourth.target, fourth.payload) == ("", "", b"no start line")


def test_a_message_that_stops_short_is_none():
    """Who wrote it has died: what follows is not its rest, and later parts are strays that count once."""
    ring = Ring.create(1 << 20)
    producer = Producer(ring)
    cut, late, good = (records_of(response(number, bytes(1000)), 240) for number in (1, 2, 3))
    for record in [*cut[:-1], *late[1:], *good, *cut[:2]]:
        assert producer.try_put(KIND_MESSAGE, record)
    found, reader, cursor = read_all(ring)
    assert [message.id for message in found] == [3]
    assert (reader.take_strays(), reader.take_strays()) == (1, 0)
    consumer = Consumer(ring)
    begun = cursor - sum(16 + len(record) + -len(record) % 8 for record in cut[:2])
    assert (reader.safe(cursor), consumer.head) == (begun, cursor)
    reader.forget()
    assert reader.safe(cursor) == cursor


def test_a_message_too_large_for_the_ring_is_let_go_part_by_part():
    """Else the ring would be full of it before its end is there."""
    ring = Ring.create(65536)
    consumer, producer, cursor = Consumer(ring), Producer(ring), 0
    reader = MessageReader(consumer)
    large = response(1, bytes(range(256)) * 1000)
    whole = None
    for record in records_of(large, 12000):
        assert whole is None
        assert producer.try_put(KIND_MESSAGE, record)
        whole, cursor = reader.next(cursor, consumer.head)
        assert reader.safe(cursor) == cursor
        consumer.release(cursor)
    assert whole is not None
    assert whole.payload == large.payload
    assert reader.start == cursor


@pytest.mark.parametrize("part_bytes", [120, 1 << 20])
def test_what_is_not_wanted_is_passed_over(part_bytes: int):
    """Every record passes the sieve, so that responses follow their requests; strays of unwanted messages are none."""
    ring = Ring.create(1 << 20)
    producer = Producer(ring)
    for number in range(6):
        for message in (request(number, target=f"/{number % 2}"), response(number, bytes(300))):
            for record in records_of(message, part_bytes):
                assert producer.try_put(KIND_MESSAGE, record)
    sieve = Sieve(Consumer(ring), Matcher(parse("path == '/1'")), Verdicts.create())
    found, reader, cursor = read_all(ring, sieve)
    assert [(message.id, message.kind) for message in found] == [
        (number, kind) for number in (1, 3, 5) for kind in ("request", "response")
    ]
    assert (sieve.take_outcomes()[0], reader.take_strays()) == (6, 0)
    assert skip_messages(Consumer(ring), 0, cursor, cursor)[1] == 12
