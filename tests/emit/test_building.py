"""From bytes to records: where heads are, whose connection it is."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assemble.message import Message, read_message
from assemble.records import MESSAGE_HEADER, REPLAYED, REQUEST, RESPONSE
from emit.building import build, entry_of, name_of, placeholder, record_of, start_of
from tests.emit.builders import header_of, messages


@given(made=messages())
def test_a_message_of_the_library_is_the_record_that_it_came_from(made: Message):
    """To the byte, so that nothing tells what was recorded from what was read."""
    record = MESSAGE_HEADER.pack(*header_of(made)) + made.payload
    assert record_of(made) == record
    assert read_message(record_of(made)) == made
    assert entry_of(record)[:2] == (made.last_ns, made.first_ns)


@given(
    payload=st.binary(max_size=80) | st.text("GE /HTP1.0\r\n:a", max_size=60).map(str.encode), kind=st.integers(1, 3)
)
def test_every_place_is_inside_the_payload(payload: bytes, kind: int):
    """Whoever reads the record goes where it says."""
    start = start_of(kind, payload)
    assert start.target_at + start.target_len <= len(payload)
    assert start.method_len <= len(payload)
    assert max(start.start_len, start.head_len) <= len(payload)
    end = re.search(rb"\n\r?\n", payload)
    assert start.head_len == (end.end() if end else len(payload))


@pytest.mark.parametrize(
    ("line", "method", "target"),
    [
        (b"GET / HTTP/1.1", b"GET", b"/"),
        (b"GET  /a  HTTP/1.0", b"GET", b"/a "),
        (b"GET /a b HTTP/1.1", b"GET", b"/a b"),
        (b"GET /", b"GET", b"/"),
        (b"GET", b"GET", b""),
        (b"GET HTTP/1.1", b"GET", b"HTTP/1.1"),
        (b"", b"", b""),
    ],
)
def test_method_and_target_are_found(line: bytes, method: bytes, target: bytes):
    """In lines that servers answer, and in those that they do not."""
    start = start_of(REQUEST, line + b"\r\n\r\n")
    assert line[: start.method_len] == method
    assert line[start.target_at : start.target_at + start.target_len] == target


def test_a_status_is_three_digits():
    """What is none is 0."""
    assert [start_of(RESPONSE, line).status for line in (b"HTTP/1.1 204\r\n", b"HTTP/1.0  404 a", b"ICY 200 OK")] == [
        204,
        404,
        0,
    ]
    assert start_of(RESPONSE, b"HTTP/1.1 2000\r\n").status == 0


def test_each_name_is_a_connection_of_its_own():
    """Request and response are of the same one, in opposite directions."""
    asked, answered = (placeholder(77, kind) for kind in (REQUEST, RESPONSE))
    assert asked == (answered.dst, answered.dport, answered.src, answered.sport)
    assert placeholder(77, REPLAYED) == answered
    assert placeholder(78, REQUEST) != asked
    flows = {entry_of(build(kind, 77, (0, 0), placeholder(77, kind), b"x")).flow for kind in (1, 2, 3)}
    assert len(flows) == 1


def test_names_are_the_same_everywhere():
    """A file that is read on another machine gives the same ids."""
    assert name_of(b"beb21f410a93305bf711861e") == 0x0000000000000000 + name_of(b"beb21f410a93305bf711861e")
    assert name_of(b"") == 0xE4A6A0577479B2B4
