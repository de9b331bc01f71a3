"""Putting messages in parts together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assemble.message import Message, read_message
from assemble.records import AT_PART, AT_PARTS, MESSAGE_HEADER
from capture.errors import MalformedTraffic
from emit.joining import CHUNK_COST, MOST_UNFINISHED, PIECE_COST, Budget, Joiner, Pending, Whole
from tests.emit.builders import records_of, request, response


def pending() -> Pending:
    """Make a chunk that waits."""
    return Pending(b"ack", None, None)


def parts_of(message: Message, part_bytes: int) -> list[tuple[bytes, bytes]]:
    """Return (header, payload) of each part, as the decoder hands them out."""
    made = []
    for record in records_of(message, part_bytes):
        fields = list(MESSAGE_HEADER.unpack_from(record))
        fields[15] = len(record) - MESSAGE_HEADER.size
        fields[17] = 0
        made.append((MESSAGE_HEADER.pack(*fields), record[MESSAGE_HEADER.size :]))
    return made


def records(whole: Whole | None) -> list[bytes]:
    """Return the ring records of a whole message."""
    assert whole is not None
    made = []
    for part in range(whole.parts):
        whole.part = part
        made.append(whole.record())
    return made


@given(st.integers(0, 3000), st.integers(1, 100), st.integers(1, 100))
def test_parts_of_one_size_become_parts_of_another(size: int, came: int, goes: int):
    """Sender and receiver may have rings of different sizes; the message is the same."""
    message = response(5, bytes(number % 251 for number in range(size)))
    joiner = Joiner(Budget(1 << 20, 1 << 24), goes * 24)
    found = [joiner.add(0, *part, pending()) for part in parts_of(message, came * 24)]
    assert found[:-1] == [None] * (len(found) - 1)
    assert records(found[-1]) == records_of(message, goes * 24)


def test_messages_of_a_relay_may_interleave():
    """A relay merges the streams of several senders into one connection."""
    first, second = response(1, b"a" * 100), response(2, b"b" * 100)
    joiner = Joiner(Budget(1 << 20, 1 << 20), 1 << 20)
    pairs = zip(parts_of(first, 48), parts_of(second, 48), strict=True)
    found = [joiner.add(0, *part, pending()) for pair in pairs for part in pair]
    assert [read_message(records(whole)[0]) for whole in found if whole] == [first, second]


def test_a_chunk_waits_for_every_message_that_began_in_it():
    """Acknowledged too early, half a message would be gone with a killed receiver."""
    joiner = Joiner(Budget(1 << 20, 1 << 20), 1 << 20)
    chunks = [pending() for _ in range(3)]
    parts = parts_of(response(1, bytes(120)), 48 * 2)
    for part, chunk in zip(parts, chunks, strict=False):
        whole = joiner.add(0, *part, chunk)
    assert whole is not None
    assert [chunk.waits for chunk in whole.chunks] == [1] * len(parts)


@pytest.mark.parametrize("order", [[0, 2], [1], [0, 0, 2], [0, 1, 1, 2]])
def test_parts_out_of_order_are_refused(order: list[int]):
    """In order, on one connection: anything else is not the message that was sent."""
    joiner = Joiner(Budget(1 << 20, 1 << 20), 1 << 20)
    parts = parts_of(response(1, bytes(100)), 48)
    chunks = [pending() for _ in order]
    found = [joiner.add(0, *parts[number], chunk) for number, chunk in zip(order, chunks, strict=True)]
    assert found == [None] * len(order)
    assert joiner.refused + sum(len(m.pieces) for m in joiner.unfinished.values()) == len(order)
    joiner.close()
    assert joiner.budget.held_bytes == 0
    assert [chunk.waits for chunk in chunks] == [0] * len(order)


def test_a_connection_that_ends_names_the_chunks_that_are_lost():
    """They have to be accepted again."""
    joiner = Joiner(Budget(1 << 20, 1 << 20), 1 << 20)
    chunks = [pending(), pending()]
    for part, chunk in zip(parts_of(response(1, bytes(500)), 48)[:2], chunks, strict=True):
        joiner.add(0, *part, chunk)
    assert joiner.close() == chunks
    assert joiner.close() == []
    assert joiner.refused == 2


def test_what_is_held_is_bounded():
    """One message, all connections together, and their number: each has its limit."""
    parts = parts_of(response(1, bytes(500)), 48)
    joiner = Joiner(Budget(100, 1 << 20), 1 << 20)
    joiner.add(0, *parts[0], pending())
    joiner.add(0, *parts[1], pending())
    with pytest.raises(MalformedTraffic, match="in parts"):
        joiner.add(0, *parts[2], pending())
    budget = Budget(1 << 20, 2 * (CHUNK_COST + PIECE_COST + 48) + 4)
    Joiner(budget, 1 << 20).add(0, *parts[0], pending())
    Joiner(budget, 1 << 20).add(0, *parts[0], pending())
    with pytest.raises(MalformedTraffic, match="over all connections"):
        Joiner(budget, 1 << 20).add(0, *parts[0], pending())
    joiner = Joiner(Budget(1 << 20, 1 << 22), 1 << 20)
    for number in range(MOST_UNFINISHED):
        joiner.add(0, *parts_of(response(number, bytes(500)), 48)[0], pending())
    with pytest.raises(MalformedTraffic, match="at a time"):
        joiner.add(0, *parts_of(response(999, bytes(500)), 48)[0], pending())


def test_a_start_line_that_lies_outside_the_message_is_refused():
    """The parts were checked one by one; the whole has to be, too."""
    asked = request(1, target="/" * 300)
    parts = parts_of(asked, 96)
    fields = list(MESSAGE_HEADER.unpack(parts[0][0]))
    fields[12] = 10_000
    joiner = Joiner(Budget(1 << 20, 1 << 20), 1 << 20)
    found = [joiner.add(0, MESSAGE_HEADER.pack(*fields), parts[0][1], pending())]
    found += [joiner.add(0, *part, pending()) for part in parts[1:]]
    assert not any(found)
    assert joiner.refused == len(parts)


def test_parts_without_a_byte_are_not_free():
    """A message may say that it has a million parts, and bring each in a chunk of its own, with nothing in it."""
    fields = list(MESSAGE_HEADER.unpack(parts_of(response(1, bytes(500)), 48)[0][0]))
    budget = Budget(1 << 20, 1 << 20)
    joiner = Joiner(budget, 1 << 20)
    most = budget.most_bytes // (CHUNK_COST + PIECE_COST)
    headers = []
    for number in range(most + 1):
        fields[AT_PART], fields[AT_PARTS] = number, 1 << 20
        headers.append(MESSAGE_HEADER.pack(*fields))
    for header in headers[:-1]:
        joiner.add(0, header, b"", pending())
    with pytest.raises(MalformedTraffic, match="over all connections"):
        joiner.add(0, headers[-1], b"", pending())
    assert len(joiner.close()) == most + 1
    assert budget.held_bytes == 0


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 6), st.integers(0, 9)), max_size=60))
def test_the_budget_comes_back(steps: list[tuple[int, int, int]]):
    """Whatever comes in whatever order: what is held at the end is what lies in whole messages, and then nothing."""
    budget = Budget(1 << 20, 1 << 24)
    joiner = Joiner(budget, 1 << 20)
    chunks = [pending() for _ in range(10)]
    messages = [parts_of(response(number, bytes(100)), 48) for number in range(4)]
    whole = 0
    for number, part, chunk in sorted(steps, key=lambda step: step[2]):
        made = joiner.add(0, *messages[number][part % len(messages[number])], chunks[chunk])
        whole += 0 if made is None else len(made.payload)
    joiner.close()
    assert budget.held_bytes == whole
