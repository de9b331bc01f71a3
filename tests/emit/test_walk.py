"""Counting and skipping, against a plain reading of the ring."""

from hypothesis import given
from hypothesis import strategies as st

from assemble.records import MESSAGE_HEADER
from capture.records import KIND_MESSAGE
from capture.ring import Consumer, Producer, Ring
from emit.walk import count_messages, skip_messages
from tests.emit.builders import records_of, response

sizes = st.lists(st.tuples(st.integers(0, 900), st.sampled_from([24, 240, 10_000])), max_size=12)


def positions(made: list[tuple[int, int]]) -> tuple[Consumer, list[tuple[int, bool, bool]], int]:
    """Write messages; return the consumer, (end, begins, ends) of each record, and the payload bytes."""
    ring = Ring.create(1 << 20)
    producer = Producer(ring)
    records, payload_bytes = [], 0
    for number, (size, part_bytes) in enumerate(made):
        message = response(number, bytes(size))
        payload_bytes += len(message.payload)
        for record in records_of(message, part_bytes):
            producer.try_put(KIND_MESSAGE, record)
            part, parts = MESSAGE_HEADER.unpack_from(record)[-2:]
            records.append((producer.position, part == 0, part + 1 == parts))
    return Consumer(ring), records, payload_bytes


@given(sizes)
def test_a_message_in_parts_counts_once(made: list[tuple[int, int]]):
    """The ledger's equations are about messages, however many records they take."""
    consumer, _records, payload_bytes = positions(made)
    assert count_messages(consumer, 0, consumer.head) == (len(made), payload_bytes)


@given(sizes, st.integers(0, 20_000))
def test_counts_add_up_over_any_cut(made: list[tuple[int, int]], at: int):
    """The worker counts what it releases, piece by piece."""
    consumer, records, _bytes = positions(made)
    ends = [0] + [end for end, _begins, _ends in records]
    cut = max(end for end in ends if end <= at)
    parts = [count_messages(consumer, 0, cut), count_messages(consumer, cut, consumer.head)]
    assert tuple(map(sum, zip(*parts, strict=True))) == count_messages(consumer, 0, consumer.head)


@given(sizes, st.integers(0, 20_000))
def test_skipping_ends_where_a_message_begins(made: list[tuple[int, int]], until: int):
    """Half a message is worth nothing to whoever goes on there."""
    consumer, records, _bytes = positions(made)
    position, skipped = skip_messages(consumer, 0, until, consumer.head)
    starts = [0] + [end for end, _begins, _ends in records]
    begins = [start for start, record in zip(starts, records, strict=False) if record[1] and start >= until]
    assert position == (begins[0] if begins else consumer.head)
    assert skipped == sum(ends for end, _begins, ends in records if end <= position)


def test_other_records_are_passed_over():
    """A ring may one day carry more than messages."""
    ring = Ring.create(1 << 16)
    producer = Producer(ring)
    for record in records_of(response(1)):
        producer.try_put(99, record)
        producer.try_put(KIND_MESSAGE, record)
        producer.try_put(KIND_MESSAGE, b"short")
    assert count_messages(Consumer(ring), 0, producer.position)[0] == 1
