"""The compiled msgpack encoder against msgpack."""

import base64
import itertools
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any, Final

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assemble.message import Message
from assemble.records import PART_BYTES, REPLAYED, REQUEST, RESPONSE
from capture.records import KIND_MESSAGE
from capture.ring import Consumer, Producer, Ring
from emit.chunks import Chunker
from tests.emit.builders import (
    as_record,
    conversation,
    event_time,
    messages,
    records_of,
    request,
    response,
    ring_of,
)

KINDS = {REQUEST: "request", RESPONSE: "response", REPLAYED: "replayed"}
FORMS: Final[dict[Any, Callable[[bytes], bytes | str]]] = {
    "binary": bytes,
    "base64": lambda payload: base64.b64encode(payload).decode(),
    "text": lambda payload: payload.decode("utf-8", "replace"),
}
"""What a payload is to become, by the form that is asked for."""
MOST_BYTES: Final = 4 * 2**20
ODD_BYTES: Final = bytes.fromhex("00 41 7f 80 8f 90 9f a0 bf c0 c1 c2 df e0 e1 ec ed ee ef f0 f1 f3 f4 f5 ff")
"""The ends of the ranges that Unicode's table 3-7 has (Well-Formed UTF-8 Byte Sequences)."""


def chunks_of(
    ring: Ring, chunk_bytes: int = 1 << 19, chunk_records: int = 1000, payload: Any = "binary"
) -> list[tuple[int, int, bytes]]:
    """Encode everything in a ring; return (kind, messages, entries) of each chunk."""
    consumer = Consumer(ring)
    chunker = Chunker(consumer, chunk_bytes, chunk_records, None, payload)
    made = []
    cursor = 0
    while True:
        cursor = chunker.fill(cursor, consumer.head, True)
        ready = [chunker.ready] if chunker.ready else [kind for kind in KINDS if chunker.records(kind)]
        for kind in ready:
            made.append((kind, chunker.messages(kind), chunker.entries(kind)))
            chunker.clear(kind)
        if not ready:
            assert cursor == consumer.head
            return made


def unpacked(entries: bytes) -> list[list[Any]]:
    """Read an event stream."""
    unpacker = msgpack.Unpacker(max_buffer_size=1 << 28)
    unpacker.feed(entries)
    found = list(unpacker)
    for _time, record in found:
        record["src"], record["dst"] = (str(ip_address(record[end])) for end in ("src", "dst"))
    return found


@given(st.lists(messages(), max_size=6), st.integers(1, 2000), st.integers(1, 4), st.sampled_from([*FORMS]))
def test_entries_say_what_msgpack_says(made: list[Message], chunk_bytes: int, chunk_records: int, form: str):
    """Any Forward implementation reads this: every key, in the order of WIRE.md, and method and target in UTF-8."""
    found: dict[int, list[list[object]]] = {kind: [] for kind in KINDS}
    for kind, count, entries in chunks_of(ring_of(made), chunk_bytes, chunk_records, form):
        assert count == len(unpacked(entries)) <= chunk_records
        found[kind] += unpacked(entries)
    for kind, name in KINDS.items():
        expected = [
            [event_time(m.first_ns), as_record(m) | {"payload": FORMS[form](m.payload)}] for m in made if m.kind == name
        ]
        assert found[kind] == expected
        assert [list(record) for _time, record in found[kind]] == [list(record) for _time, record in expected]


def payload_of(payload: bytes, form: str) -> object:
    """Return the payload of a message as it is in its entry, which is as short as can be."""
    entries = chunks_of(ring_of([response().replace(payload=payload)]), payload=form)[0][2]
    assert msgpack.packb(msgpack.unpackb(entries)) == entries
    return msgpack.unpackb(entries)[1]["payload"]


odd = st.lists(st.sampled_from(ODD_BYTES), max_size=4).map(bytes)


@given(st.lists(st.one_of(st.text().map(str.encode), st.binary(max_size=3), odd)).map(b"".join))
def test_text_is_what_python_makes_of_bytes(raw: bytes):
    """A collector that prints JSON breaks at one byte that is not UTF-8; what is UTF-8 stays as it is."""
    assert payload_of(raw, "text") == raw.decode("utf-8", "replace")


def test_text_is_what_python_makes_of_every_odd_sequence():
    """All that is possible of up to four bytes at the ends of ranges, behind and before ASCII, and at the end."""
    for sequence in itertools.product(ODD_BYTES, repeat=2):
        assert payload_of(bytes(sequence), "text") == bytes(sequence).decode("utf-8", "replace")
    raw = b"~".join(bytes(sequence) for sequence in itertools.product(ODD_BYTES, repeat=4))
    ring = Ring.create(8 << 20)
    producer = Producer(ring)
    for record in records_of(response().replace(payload=raw)):
        producer.try_put(KIND_MESSAGE, record)
    producer.close()
    parts = [unpacked(entries)[0][1]["payload"] for _kind, _count, entries in chunks_of(ring, payload="text")]
    assert len(parts) > 1
    assert parts == [raw[at : at + PART_BYTES].decode("utf-8", "replace") for at in range(0, len(raw), PART_BYTES)]


@pytest.mark.parametrize("size", [*range(12), 31, 32, 191, 192, 255, 256, 49_151, 49_152, 65_535, 65_536])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("byte", [b"a", b"\xff"], ids=["ascii", "other"])
def test_payloads_of_any_length_have_the_head_that_fits(size: int, form: str, byte: bytes):
    """The length comes first, and is known last: a str that grows may need a longer head."""
    assert payload_of(byte * size, form) == FORMS[form](byte * size)


@pytest.mark.parametrize("form", FORMS)
def test_no_chunk_is_longer_than_collectors_take(form: str):
    """Fluent Bit closes above 6.1 MB, also after inflating; what has no place goes into the next chunk."""
    made = [response(number, b"\xff" * 300_000) for number in range(40)]
    ring = Ring.create(64 << 20)
    producer = Producer(ring)
    large = response(99, b"\xff" * 3_000_000)
    for record in [each for message in [*made, large, response(100)] for each in records_of(message)]:
        assert producer.try_put(KIND_MESSAGE, record)
    producer.close()
    chunks = chunks_of(ring, chunk_bytes=MOST_BYTES, payload=form)
    assert max(len(entries) for _kind, _count, entries in chunks) <= MOST_BYTES
    found = [record["id"] for _kind, _count, entries in chunks for _time, record in unpacked(entries)]
    assert found == [f"{number:016x}" for number in [*range(40), 99, 99, 99, 100]]
    full = [entries for _kind, count, entries in chunks if count > 1]
    assert min(map(len, full)) > MOST_BYTES - 2_000_000, "and chunks are no shorter than they have to be"


def test_full_chunks_are_the_shortest_that_are_full():
    """A chunk is the unit of repetition and of latency: neither half empty under load nor without a bound."""
    made = chunks_of(ring_of(conversation(4000)), chunk_records=100)
    assert {count for _kind, count, _entries in made} == {100}
    made = chunks_of(ring_of(conversation(4000)), chunk_bytes=5000)
    last = {kind: at for at, (kind, _count, _entries) in enumerate(made)}
    full = [len(entries) for at, (_kind, _count, entries) in enumerate(made) if at not in last.values()]
    assert min(full) >= 5000
    assert max(full) < 5000 + 700


@pytest.mark.parametrize("part_bytes", [24, 240, 2400])
def test_parts_travel_alone_and_in_order(part_bytes: int):
    """The receiver keeps parts until the message is whole: nothing else may hang on their chunks."""
    large = response(7, bytes(range(256)) * 10)
    ring = Ring.create(1 << 20)
    producer = Producer(ring)
    for record in [*records_of(response(1)), *records_of(large, part_bytes), *records_of(response(2))]:
        producer.try_put(KIND_MESSAGE, record)
    made = [(count, unpacked(entries)) for _kind, count, entries in chunks_of(ring)]
    parts = made[1:-1]
    assert [len(entries) for _count, entries in made] == [1] * len(made)
    assert [count for count, _entries in parts] == [0] * (len(parts) - 1) + [1]
    records = [entries[0][1] for _count, entries in parts]
    assert [(record["part"], record["parts"]) for record in records] == [(i, len(parts)) for i in range(len(parts))]
    assert b"".join(record["payload"] for record in records) == large.payload
    pieces = [unpacked(entries)[0][1]["payload"] for _kind, _count, entries in chunks_of(ring, payload="base64")][1:-1]
    assert "".join(pieces) == base64.b64encode(large.payload).decode()
    assert [base64.b64decode(piece) for piece in pieces] == [record["payload"] for record in records]


def test_a_start_line_longer_than_a_part_is_whole():
    """Small rings and long URLs meet: the target must not be lost for lying in several records."""
    asked = request(1, target="/" + "é" * 3000)
    ring = Ring.create(1 << 20)
    producer = Producer(ring)
    for record in records_of(asked, 240):
        producer.try_put(KIND_MESSAGE, record)
    producer.close()
    first = unpacked(chunks_of(ring)[0][2])[0][1]
    assert first["target"] == asked.target
    assert first["payload"] == asked.payload[:240]


def test_the_position_to_go_on_from_is_where_the_message_began():
    """A worker that dies with half of a message acknowledged has to send all of it again."""
    ring = Ring.create(1 << 20)
    producer, consumer = Producer(ring), Consumer(ring)
    producer.try_put(KIND_MESSAGE, records_of(request(1))[0])
    start = producer.position
    for record in records_of(response(2, bytes(5000)), 2400):
        producer.try_put(KIND_MESSAGE, record)
    chunker = Chunker(consumer, 1 << 19, 1000)
    cursor = chunker.fill(0, consumer.head)
    for part in range(3):
        assert (chunker.ready, chunker.part, chunker.parts) == (RESPONSE, part, 3)
        assert chunker.first(RESPONSE) == start
        assert chunker.under_way is (part < 2)
        chunker.clear(RESPONSE)
        cursor = chunker.fill(cursor, consumer.head)
    assert chunker.first(REQUEST) == 0


def test_a_part_without_a_beginning_is_counted_once():
    """Parts whose message can never be whole must not travel."""
    parts = records_of(response(1, bytes(1000)), 240)
    ring = Ring.create(1 << 20)
    producer, consumer = Producer(ring), Consumer(ring)
    for record in [*parts[2:], *records_of(request(2))]:
        producer.try_put(KIND_MESSAGE, record)
    chunker = Chunker(consumer, 1 << 19, 1000)
    assert chunker.fill(0, consumer.head) == consumer.head
    assert chunker.take_strays() == 1
    assert (chunker.records(REQUEST), chunker.records(RESPONSE)) == (1, 0)


def test_a_frame_has_head_length_entries_and_tail():
    """The frame is put together in one copy."""
    consumer = Consumer(ring_of([request(1)]))
    chunker = Chunker(consumer, 1 << 19, 1000)
    chunker.fill(0, consumer.head)
    entries = chunker.entries(REQUEST)
    frame = chunker.frame(REQUEST, b"head", b"tail")
    assert frame == b"head" + len(entries).to_bytes(4, "big") + entries + b"tail"
