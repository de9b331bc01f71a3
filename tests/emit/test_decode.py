"""Entries to ring records: round trips, other people's spelling, and garbage."""

import contextlib
import itertools
from typing import Any, Final

import msgpack
import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from assemble.message import Message, read_message
from assemble.records import MESSAGE_HEADER
from capture.errors import MalformedTraffic
from capture.ring import Consumer, Producer, Ring
from emit.chunks import Chunker
from emit.decode import Decoder
from tests.emit.builders import (
    drain,
    entries,
    entry,
    event_time,
    messages,
    on_the_wire,
    records_of,
    request,
    response,
    ring_of,
    sorted_messages,
)


def decode(body: bytes, count: int = 1, capacity: int = 4 << 20) -> tuple[list[Ring], Decoder]:
    """Decode entries into `count` rings."""
    rings = [Ring.create(capacity) for _ in range(count)]
    decoder = Decoder([Producer(ring) for ring in rings])
    at, stop, _touched = decoder.run(body, 0)
    assert (at, stop) == (len(body), None)
    return rings, decoder


def ours(made: list[Message], payload: Any = "binary") -> bytes:
    """Encode messages as our own sender does, the requests first."""
    consumer = Consumer(ring_of(made))
    chunker = Chunker(consumer, 1 << 20, 1000, None, payload)
    chunker.fill(0, consumer.head)
    return bytes(chunker.entries(1) + chunker.entries(2) + chunker.entries(3))


@given(st.lists(messages(), max_size=6), st.integers(1, 4))
def test_encoding_and_decoding_gives_the_same_records(made: list[Message], count: int):
    """Through TCP or not: same messages, same ids, same header to the byte (durations to the microsecond)."""
    rings, decoder = decode(ours(made), count)
    assert decoder.take_counts()[:3] == (len(made), 0, len(made))
    found = [record for ring in rings for record in raw_records(ring)]
    assert sorted(found) == sorted(record for message in made for record in records_of(on_the_wire(message)))


@given(st.lists(messages(), max_size=6))
def test_base64_is_not_taken_for_what_was_on_the_wire(made: list[Message]):
    """It is for other collectors; here it would be stored, and replayed, as it is."""
    _rings, decoder = decode(ours(made, "base64"))
    assert decoder.take_counts() == (len(made), len(made), 0, 0)


@given(st.lists(messages(), max_size=6))
def test_text_is_taken_for_what_it_says(made: list[Message]):
    """Other clients send no bytes, and what is UTF-8 has lost nothing."""
    heads = [each.payload[: each.head] for each in made]
    made = [
        each.replace(payload=head + "gr\xfc\xdfe".encode())
        for each, head in zip(made, heads, strict=True)
        if head.isascii()
    ]
    (ring,), decoder = decode(ours(made, "text"))
    assert decoder.take_counts()[:3] == (len(made), 0, len(made))
    assert sorted_messages(drain(ring)) == sorted_messages([on_the_wire(each) for each in made])


def raw_records(ring: Ring) -> list[bytes]:
    """Return the payloads of a ring without padding."""
    consumer, at, found = Consumer(ring), 0, []
    while (record := consumer.read(at)) is not None:
        _kind, view, at = record
        size = MESSAGE_HEADER.unpack_from(view)[15]
        found.append(bytes(view[: MESSAGE_HEADER.size + size]))
    return found


@given(st.lists(messages(), max_size=8), st.integers(2, 5))
def test_both_directions_of_a_flow_go_to_one_ring(made: list[Message], count: int):
    """Order within a connection holds only if one worker has all of it."""
    back = [each.replace(src=each.dst, sport=each.dport, dst=each.src, dport=each.sport) for each in made]
    both = made + back
    rings, _decoder = decode(entries(both), count)
    homes: dict[frozenset[tuple[Any, int]], set[int]] = {}
    for number, ring in enumerate(rings):
        for message in drain(ring):
            flow = frozenset([(message.src, message.sport), (message.dst, message.dport)])
            homes.setdefault(flow, set()).add(number)
    assert all(len(home) == 1 for home in homes.values())


def test_flows_are_spread_over_the_rings():
    """A hash that sends everything to one worker would pass every other test."""
    rings, _decoder = decode(entries(request(number) for number in range(1000)), 4)
    shares = [len(drain(ring)) for ring in rings]
    assert min(shares) > 150


def test_records_may_be_spelt_otherwise():
    """Relays reorder keys, add some, widen numbers, and turn bin into str."""
    message = request(5, b"body")
    good = msgpack.unpackb(entry(message), strict_map_key=False)
    record = dict(reversed(good[1].items())) | {"host": "relay", "nested": [{"a": [1, 2]}], "id": "0000000000000005"}
    record["payload"] = message.payload.decode()
    times = [event_time(message.first_ns), [event_time(message.first_ns), {"meta": 1}]]
    for time in times:
        rings, _decoder = decode(msgpack.packb([time, record]))
        assert drain(rings[0]) == [message]
    rings, _decoder = decode(msgpack.packb([1_700_000_000, record]))
    assert drain(rings[0])[0].first_ns == 1_700_000_000 * 10**9


REFUSED: dict[str, Any] = {
    "id": ["", "x", "12345678901234567", 7],
    "kind": ["replaied", "Request", None],
    "src": ["", "10.0.0", "10.0.0.256", "1.2.3.4.5", "::g", "2001:db8::1", "a" * 60, "10.0.0.1\0"],
    "sport": [65536, -1, "80"],
    "method": [None, 7],
    "target": ["/" * 500],
    "payload": [None, 7, []],
    "missing": [-1, "1"],
    "complete": [1, "yes"],
    "parts": [0],
    "part": [1],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in REFUSED.items() for value in values])
def test_what_is_not_a_message_of_ours_is_counted_and_passed_over(key: str, value: Any):
    """Other clients may log to us: their records are refused one by one, and the connection goes on."""
    body = entry(request(1), **{key: value}) + entry(request(2))
    rings, decoder = decode(body)
    assert drain(rings[0]) == [request(2)]
    assert decoder.take_counts()[:3] == (2, 1, 1)


@pytest.mark.parametrize("missing", ["id", "kind", "src", "dst", "sport", "dport", "payload", "method", "target"])
def test_a_record_that_lacks_a_key_is_refused(missing: str):
    """Half a record would be a message that never was."""
    record = msgpack.unpackb(entry(request(1)), strict_map_key=False)[1]
    del record[missing]
    _rings, decoder = decode(msgpack.packb([1, record]))
    assert decoder.take_counts()[:2] == (1, 1)


@pytest.mark.parametrize("odd", [1, "x", [], [1], [1, 2], [1, {}, 3], [1.5, {}], [None, {}], {"a": 1}, [[1, 2, 3], {}]])
def test_an_entry_of_another_shape_is_refused(odd: Any):
    """Well-formed msgpack is never fatal."""
    rings, decoder = decode(msgpack.packb(odd) + entry(request(2)))
    assert drain(rings[0]) == [request(2)]
    assert decoder.take_counts()[1] == 1


@given(st.lists(messages(most_body=60), min_size=1, max_size=3), st.data())
def test_damaged_entries_are_refused_or_malformed(made: list[Message], data: st.DataObject):
    """Any byte may be any other: whatever comes out is a record within its bounds, or MalformedTraffic."""
    body = bytearray(entries(made))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    survive(bytes(body[: data.draw(st.integers(0, len(body)))]))


@given(st.binary(max_size=300))
def test_garbage_is_refused_or_malformed(raw: bytes):
    """The same for bytes that never were entries."""
    survive(raw)


def survive(body: bytes) -> None:
    """Decode whatever it is, and look at every record that came out."""
    ring = Ring.create(1 << 20)
    decoder = Decoder([Producer(ring)])
    at = 0
    with contextlib.suppress(MalformedTraffic):
        while at < len(body):
            at, stop, _touched = decoder.run(body, at)
            if stop == "large":
                _ring, header, payload = decoder.take_large()
                assert len(header) == MESSAGE_HEADER.size
                assert payload in body
    for record in raw_records(ring):
        message = read_message(record)
        assert message.payload in body
        assert len(message.payload) >= len(message.method or "") + len(message.target or "")


BEHIND: Final = ours([request(1, bytes(1000))])


@given(messages(), st.data())
def test_an_entry_is_read_the_same_whatever_is_behind_it(made: Message, data: st.DataObject):
    """One that is laid out as our sender does, with enough behind it, is read another, quicker way."""
    body = bytearray(ours([made]))
    for _ in range(data.draw(st.integers(0, 2))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        alone, refusing = decode(bytes(body))
    except MalformedTraffic:
        reject()  # a length that reaches beyond the entry
    both, quick = decode(bytes(body) + BEHIND)
    assert raw_records(both[0]) == raw_records(alone[0]) + raw_records(decode(BEHIND)[0][0])
    assert quick.take_counts()[1] == refusing.take_counts()[1]


def test_every_byte_of_an_entry_counts_whatever_is_behind_it():
    """The quicker way may not pass over a byte that the slower one looks at."""
    for made in (request(3, b"body", "/caf\xe9"), response(3, b"body", status=304, missing=70_000)):
        good = ours([made])
        for at, change in itertools.product(range(len(good)), (1, 0x20, 0x80)):
            body = good[:at] + bytes([good[at] ^ change]) + good[at + 1 :]
            try:
                alone, _decoder = decode(body)
            except MalformedTraffic:
                continue
            both, _decoder = decode(body + BEHIND)
            assert raw_records(both[0])[:-1] == raw_records(alone[0])


def test_a_full_ring_stops_before_the_entry_and_loses_nothing():
    """Back-pressure: the same chunk goes on where it stopped, once there is room."""
    made = [request(number, b"x" * 1000) for number in range(40)]
    body = entries(made)
    ring = Ring.create(16 * 1024)
    consumer, decoder = Consumer(ring), Decoder([Producer(ring)])
    at, cursor, found = 0, 0, []
    stops = 0
    while at < len(body):
        at, stop, _touched = decoder.run(body, at)
        stops += stop == "full"
        while (record := consumer.read(cursor)) is not None:
            found.append(read_message(bytes(record[1])))
            cursor = record[2]
        consumer.release(cursor)
    assert found == made
    assert stops > 1


def test_a_blocked_ring_is_full():
    """While a message in parts is written to a ring, nothing may come between."""
    decoder = Decoder([Producer(Ring.create(1 << 20))])
    decoder.block(0, True)
    assert decoder.run(entry(request(1)), 0)[:2] == (0, "full")
    decoder.block(0, False)
    assert decoder.run(entry(request(1)), 0)[1] is None
    with pytest.raises(IndexError):
        decoder.block(1, True)


def test_what_needs_several_records_is_handed_out():
    """A message larger than a record, and a part of one, are put together elsewhere."""
    large = response(9, bytes(100_000))
    decoder = Decoder([Producer(Ring.create(64 * 1024))])
    body = entry(large) + entry(request(1), part=0, parts=2)
    at, stop, touched = decoder.run(body, 0)
    assert (stop, touched) == ("large", [])
    ring, header, payload = decoder.take_large()
    assert (ring, payload) == (0, large.payload)
    assert read_message(header + payload) == on_the_wire(large)
    at, stop, _touched = decoder.run(body, at)
    assert (at, stop) == (len(body), "large")
    assert MESSAGE_HEADER.unpack(decoder.take_large()[1])[-2:] == (0, 2)


def test_sorting_is_stable_over_rings():
    """The helper that other tests compare with must not hide a difference."""
    assert sorted_messages([request(2), request(1)]) == [request(1), request(2)]
    assert sorted_messages([request(2)]) != sorted_messages([request(1)])
