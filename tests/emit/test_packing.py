"""From rings to bodies of blocks, and back."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assemble.message import Message, read_message
from assemble.records import MESSAGE_HEADER, PART_BYTES
from capture.ring import Consumer
from emit.packing import Packer, split
from tests.emit.builders import conversation, messages, records_of, request, response, ring_of


def packed(made: list[Message], capacity: int = 4 << 20) -> Packer:
    """Pack a whole ring."""
    consumer = Consumer(ring_of(made, capacity))
    packer = Packer(consumer, 1 << 20)
    assert packer.fill(0, consumer.head, 1 << 30, True) == consumer.head
    return packer


def body_of(*records: bytes) -> bytes:
    """Make a body."""
    return b"".join(struct.pack("<I", len(each)) + each for each in records)


@given(made=st.lists(messages(), max_size=8))
def test_records_come_back_as_they_were_in_the_ring(made: list[Message]):
    """Every field and every byte of every message."""
    packer = packed(made)
    found, refused = split(bytes(packer.view()) if made else b"")
    assert [read_message(entry[4]) for entry in found] == made
    assert [entry[:2] for entry in found] == [(each.last_ns, each.first_ns) for each in made]
    assert refused == 0


def test_what_a_header_says_of_a_body_is_so():
    """A reader steps over blocks by it."""
    made = [request(1, first_ns=50, last_ns=60), response(1, first_ns=-7, last_ns=90), request(2, first_ns=8)]
    packer = packed(made)
    assert packer.about == (3, 3, -7, made[2].last_ns)
    assert packer.payload_bytes == sum(len(each.payload) for each in made)
    packer.clear()
    assert (packer.size, packer.records, packer.messages) == (0, 0, 0)


def test_parts_are_records_and_one_message():
    """What is too long for the ring arrives in parts, and leaves as it came."""
    packer = packed([response(1, bytes(300_000))], 1 << 19)
    found, _ = split(bytes(packer.view()))
    assert (packer.messages, len(found)) == (1, packer.records)
    assert packer.records > 1
    assert b"".join(entry[4][120:] for entry in found).endswith(bytes(300_000))


def test_both_directions_have_one_flow():
    """The worker is chosen by it: order within a connection holds."""
    found, _ = split(body_of(records_of(request(5))[0], records_of(response(5))[0], records_of(request(6))[0]))
    assert found[0][2] == found[1][2] != found[2][2]


FIELDS = {"kind": 7, "total": 15, "offset": 17, "part": 18, "parts": 19}


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": 0}, {"kind": 4}, {"total": 2}, {"total": 2**63}, {"offset": 1}, {"part": 1}, {"part": 9, "parts": 3},
        {"parts": 3, "offset": 2**64 - 1}, {"parts": 3, "part": 1}, {"parts": 3, "part": 2, "offset": 3},
    ],
    ids=str,
)  # fmt: skip
def test_a_record_that_contradicts_itself_is_refused(changes: dict[str, int]):
    """What goes into a ring is read without a second look."""
    record = records_of(request(1))[0]
    fields = list(MESSAGE_HEADER.unpack_from(record))
    for name, value in changes.items():
        fields[FIELDS[name]] = value
    found, refused = split(body_of(record, MESSAGE_HEADER.pack(*fields) + record[120:], record))
    assert (len(found), refused) == (2, 1)


@pytest.mark.parametrize("length", [0, 119, 120 + PART_BYTES + 1, 2**32 - 1])
def test_an_impossible_length_ends_the_body(length: int):
    """Nothing after it can be believed."""
    record = records_of(request(1))[0]
    found, refused = split(body_of(record) + struct.pack("<I", length) + bytes(2 * PART_BYTES))
    assert (len(found), refused) == (1, 1)


@given(data=st.data())
def test_any_bytes_are_taken(data: st.DataObject):
    """Never an exception, never a read outside."""
    body = bytearray(body_of(*(records_of(each)[0] for each in conversation(3))))
    for _change in range(data.draw(st.integers(0, 6))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    found, refused = split(bytes(body[: data.draw(st.integers(0, len(body)))]))
    assert len(found) + refused <= 4
    for entry in found:
        read_message(entry[4]) if entry[3] <= 1 else None
