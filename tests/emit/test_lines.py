"""The compiled JSON Lines encoder against json and base64."""

import json
import socket
from ipaddress import IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assemble.message import Message
from assemble.records import MESSAGE_HEADER
from capture.records import KIND_MESSAGE
from capture.ring import Consumer, Producer, Ring
from emit.lines import LineWriter
from tests.emit.builders import (
    as_line,
    conversation,
    messages,
    part_bytes_of,
    read_lines,
    records_of,
    request,
    response,
    ring_of,
)


def encode(ring: Ring, limit: int = 1 << 20) -> bytes:
    """Encode everything in a ring, in blocks of about `limit` bytes."""
    consumer = Consumer(ring)
    writer = LineWriter(consumer, limit)
    text = b""
    cursor = 0
    while True:
        cursor = writer.fill(cursor, consumer.head, limit, True)
        if not writer.size:
            assert cursor == consumer.head
            return text
        text += bytes(writer.view())
        writer.clear()


@given(st.lists(messages(), max_size=5), st.integers(1, 3000))
def test_lines_say_what_python_says(made: list[Message], limit: int):
    """The line is the interface to people and jq: every field, in order, whatever bytes the message has."""
    lines = read_lines(encode(ring_of(made), limit))
    assert lines == [as_line(message) for message in made]
    assert [list(line) for line in lines] == [list(as_line(message)) for message in made]


@given(st.binary(max_size=200))
def test_escapes_are_those_of_json(raw: bytes):
    """Method and target are bytes of strangers: each is a Latin-1 character, and the line stays ASCII."""
    target = raw.replace(b"\n", b"").decode("latin-1")
    text = encode(ring_of([request(target=target)]))
    assert f'"target":{json.dumps(target)},'.encode() in text


@pytest.mark.parametrize("capacity", [4096, 65536, 1 << 20])
@given(st.data())
def test_a_message_in_parts_is_one_line(capacity: int, data: st.DataObject):
    """Whoever reads a line must not learn how large our records are."""
    made = data.draw(st.lists(messages(most_body=capacity // 4), max_size=1))
    body = data.draw(st.integers(0, capacity // 2)) * b"x"
    made += [response(5, body), request(6)]
    ring = Ring.create(3 * capacity)
    producer = Producer(ring)
    for message in made:
        for record in records_of(message, 24 * (capacity // 200)):
            assert producer.try_put(KIND_MESSAGE, record)
    producer.close()
    assert read_lines(encode(ring, 1000)) == [as_line(message) for message in made]


def test_a_start_line_longer_than_a_part_is_whole():
    """Small rings and long URLs meet: the target must not be lost for lying in several records."""
    asked = request(1, target="/" + "a" * 3000)
    ring = Ring.create(64 * 1024)
    producer = Producer(ring)
    for record in records_of(asked, 240):
        assert producer.try_put(KIND_MESSAGE, record)
    producer.close()
    assert read_lines(encode(ring)) == [as_line(asked)]


def test_a_message_in_parts_waits_until_it_is_whole():
    """A line begun would hold the file's lock until the assembler goes on."""
    large = response(1, b"y" * 100_000)
    ring = Ring.create(1 << 20)
    producer = Producer(ring)
    parts = records_of(large, 24_000)
    for record in parts[:-1]:
        producer.try_put(KIND_MESSAGE, record)
    consumer = Consumer(ring)
    writer = LineWriter(consumer, 1 << 16)
    assert writer.fill(0, consumer.head, 1 << 20) == 0
    assert writer.size == 0
    producer.try_put(KIND_MESSAGE, parts[-1])
    assert writer.fill(0, consumer.head, 1 << 20) == consumer.head
    assert read_lines(bytes(writer.view())) == [as_line(large)]


def test_a_message_larger_than_the_ring_streams_through_a_bounded_buffer():
    """64 MiB in one message must not need 64 MiB of ring, nor of buffer."""
    large = response(1, bytes(range(256)) * 4096)
    ring = Ring.create(256 * 1024)
    producer, consumer = Producer(ring), Consumer(ring)
    writer = LineWriter(consumer, 1 << 16)
    text, cursor, most = b"", 0, 0
    for record in [*records_of(large, part_bytes_of(ring)), *records_of(request(2))]:
        assert producer.try_put(KIND_MESSAGE, record)
        cursor = writer.fill(cursor, consumer.head, 1)
        most = max(most, writer.size)
        text += bytes(writer.view())
        writer.clear()
        consumer.release(cursor)
    assert read_lines(text) == [as_line(large), as_line(request(2))]
    assert most < 2 * part_bytes_of(ring)


def test_a_message_that_stops_short_ends_its_line_and_says_so():
    """The producer died in mid-message: later lines must not be glued to the broken one."""
    large = response(1, bytes(256 * 1024))
    ring = Ring.create(512 * 1024)
    producer = Producer(ring)
    for record in records_of(large, part_bytes_of(ring))[:3] + records_of(request(2)):
        producer.try_put(KIND_MESSAGE, record)
    producer.close()
    broken, whole = encode(ring).splitlines()
    assert json.loads(broken)["aborted"] is True
    assert read_lines(whole + b"\n") == [as_line(request(2))]


def test_a_short_message_that_stops_short_leaves_no_line():
    """What is known to be broken before its line has begun is not written at all."""
    parts = records_of(response(1, bytes(1000)), 240)
    ring = Ring.create(1 << 20)
    producer = Producer(ring)
    for record in [*parts[:2], *records_of(request(2)), *parts[:1]]:
        producer.try_put(KIND_MESSAGE, record)
    producer.close()
    assert read_lines(encode(ring)) == [as_line(request(2))]


def test_a_part_without_a_beginning_is_counted_once():
    """A worker that takes over in mid-message cannot deliver it: that is one message, not several."""
    parts = records_of(response(1, bytes(1000)), 240)
    ring = Ring.create(1 << 20)
    producer = Producer(ring)
    for record in [*parts[1:], *records_of(request(2))]:
        producer.try_put(KIND_MESSAGE, record)
    consumer = Consumer(ring)
    writer = LineWriter(consumer, 1 << 16)
    writer.fill(0, consumer.head, 1 << 20)
    assert writer.take_strays() == 1
    assert writer.take_strays() == 0
    assert writer.messages == 1


def test_counts_are_of_messages_and_their_bytes():
    """The ledger is made of these."""
    made = conversation(10)
    consumer = Consumer(ring_of(made))
    writer = LineWriter(consumer, 1 << 16)
    writer.fill(0, consumer.head, 1 << 20)
    assert writer.messages == 10
    assert writer.payload_bytes == sum(len(message.payload) for message in made)


def test_addresses_are_written_as_rfc_5952_wants():
    """Others compare addresses as text."""
    made = request(1).replace(src=IPv6Address("2001:db8:0:0:1:0:0:1"), dst=IPv6Address("::"))
    text = encode(ring_of([made]))
    assert b'"src":"2001:db8::1:0:0:1"' in text
    assert b'"dst":"::"' in text


groups = st.lists(st.sampled_from([0, 0, 0, 1, 0xAB, 0xABC, 0xFFFF]), min_size=8, max_size=8)


@given(groups)
def test_ipv6_is_written_as_the_c_library_does(made: list[int]):
    """But for the obsolete ::1.2.3.4, which nobody wants to see."""
    packed = b"".join(group.to_bytes(2, "big") for group in made)
    line = encode(ring_of([request(1).replace(src=IPv6Address(packed), dst=IPv6Address(packed))]))
    if any(packed[:12]):
        assert f'"src":"{socket.inet_ntop(socket.AF_INET6, packed)}"'.encode() in line
    assert ip_address(json.loads(line)["src"]) == IPv6Address(packed)


def test_a_header_that_lies_about_its_start_line_is_survived():
    """Rings are trusted, but a wrong length must not read outside a record."""
    fields = list(MESSAGE_HEADER.unpack_from(records_of(request(1))[0]))
    fields[10:13] = [2**32 - 1, 2**32 - 1, 2**32 - 1]
    payload = request(1).payload
    ring = Ring.create(65536)
    Producer(ring).try_put(KIND_MESSAGE, MESSAGE_HEADER.pack(*fields) + payload)
    line = read_lines(encode(ring))[0]
    assert (line["method"], line["target"]) == ("", "")


@given(times=st.lists(st.integers(0, 5), max_size=12), window=st.tuples(st.integers(0, 5), st.integers(0, 6)))
def test_a_window_of_time_ends_where_another_begins(times: list[int], window: tuple[int, int]):
    """Half-open; what is outside is neither taken nor lost, and its time is told."""
    made = [response(at, first_ns=ns) for at, ns in enumerate(times)]
    ring = ring_of(made, 1 << 20)
    writer, head = LineWriter(Consumer(ring), 1 << 16), Consumer(ring).head
    writer.set_window(*window)
    cursor = writer.fill(0, head, 1 << 20, True)
    inside = next((at for at, ns in enumerate(times) if not window[0] <= ns < window[1]), len(times))
    assert read_lines(bytes(writer.view())) == [as_line(message) for message in made[:inside]]
    writer.clear()
    cursor = writer.fill(cursor, head, 1 << 20, True)
    assert writer.size == 0
    assert writer.outside == (inside < len(times))
    if writer.outside:
        assert writer.stamp_ns == times[inside]
        writer.set_window(0, 6)
        writer.fill(cursor, head, 1 << 20, True)
        assert not writer.outside
        assert read_lines(bytes(writer.view())) == [as_line(message) for message in made[inside:]]
