"""GoReplay's line protocol: every message survives it, and nothing that a program may write does harm."""

from binascii import hexlify

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assemble.message import Message
from emit.gorlines import LEAST_LINE, Answer, LineReader, read_line, write_line
from tests.emit.builders import messages, request, response


def line(text: bytes) -> bytes:
    """Write a line as a middleware does."""
    return hexlify(text) + b"\n"


def test_a_line_is_what_goreplay_documents():
    """Kind, id, time, latency, line feed, HTTP; all of it in hexadecimal, in lower case."""
    asked = request(0xAB, b"body", "/a", first_ns=17, last_ns=29)
    assert bytes.fromhex(write_line(asked).decode()) == b"1 00000000000000ab 17 12\n" + asked.payload
    answer = response(2, first_ns=5, last_ns=4)
    assert write_line(answer) == line(b"2 0000000000000002 5 0\n" + answer.payload)
    assert write_line(answer.replace(kind="replayed")).startswith(hexlify(b"3 "))


@given(messages(), st.binary(max_size=300))
def test_what_was_written_is_read(message: Message, payload: bytes):
    """Any bytes can be in a message, line feeds too."""
    message = message.replace(payload=payload, head=len(payload))
    assert read_line(write_line(message).rstrip(b"\n")) == Answer(
        message.kind, message.id, message.first_ns, message.payload
    )


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (b"1 f45590522cd1838b4a0d5c5aab80b77929dea3b3 1231\nGET", ("request", 1231, b"GET")),
        (b"2 abc 5 7 more\n", ("response", 5, b"")),
        (b"3 abc\nHTTP", ("replayed", 0, b"HTTP")),
        (b"3 abc never 1\nHTTP\n", ("replayed", 0, b"HTTP\n")),
        (b"1 abc 99999999999999999999 1\nx", ("request", 0, b"x")),
    ],
)
def test_ids_and_times_of_others_are_taken(text: bytes, answer: tuple[str, int, bytes]):
    """Versions of GoReplay differ in both, and a middleware may make up its own."""
    found = read_line(hexlify(text))
    assert found is not None
    assert (found.kind, found.first_ns, found.payload) == answer
    assert found.id == getattr(read_line(hexlify(text).upper()), "id", None) != 0


def test_two_names_are_two_ids():
    """Else an answer would stand for another's message."""
    names = [b"abc", b"abd", b"00000000000000ab", b"00000000000000AB", b"ab", b"1" * 40]
    ids = {getattr(read_line(hexlify(b"1 " + name + b" 0 0\n")), "id", None) for name in names}
    assert len(ids) == len(names)
    assert 0xAB in ids


@pytest.mark.parametrize(
    "text", [b"", b"1 abc 1 1", b"4 abc 1 1\n", b"1\nGET / HTTP/1.1", b"\n", b"11 abc 1 1\n", b"GET / HTTP/1.1\r\n\r\n"]
)
def test_what_is_no_message_is_none(text: bytes):
    """A program that prints what it does not mean for us."""
    assert read_line(hexlify(text)) is None


@pytest.mark.parametrize("raw", [b"31206", b"hello", b"3120 616263", b"\xff\xfe", b"0x31"])
def test_what_is_not_hexadecimal_is_none(raw: bytes):
    """The same, without the code."""
    assert read_line(raw) is None


@given(
    st.lists(st.tuples(messages(), st.sampled_from([b"", b"\n", b"\r\n", b"junk\n", b" \n"])), max_size=6), st.data()
)
def test_pieces_do_not_change_what_is_read(made: list[tuple[Message, bytes]], data: st.DataObject):
    """A pipe cuts where it likes."""
    wire = b"".join(write_line(message) + junk for message, junk in made)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=8)))
    reader, found = LineReader(), []
    for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        found += reader.feed(wire[start:end])
    assert [(each.kind, each.id, each.payload) for each in found] == [(m.kind, m.id, m.payload) for m, _ in made]
    assert reader.refused == sum(junk == b"junk\n" for _, junk in made)


def test_a_line_without_end_is_held_up_to_a_bound_and_the_next_is_read():
    """A program that writes something else altogether must not take all the memory."""
    reader = LineReader()
    for _ in range(3 * LEAST_LINE // (1 << 20)):
        assert reader.feed(b"3" * (1 << 20)) == []
        assert len(reader.start) <= LEAST_LINE
    assert reader.refused == 0
    assert [each.payload for each in reader.feed(b"33\n" + line(b"1 abc 1 1\nx"))] == [b"x"]
    assert reader.refused == 1
    long = request(1, bytes(LEAST_LINE))
    reader.longest = 4 * LEAST_LINE
    (found,) = reader.feed(write_line(long))
    assert found.payload == long.payload


def test_what_is_left_at_the_end_is_refused():
    """Half a line is no message: it may be half of its bytes."""
    reader = LineReader()
    reader.feed(write_line(request(1))[:-3])
    reader.end()
    reader.end()
    assert reader.refused == 1
    assert len(reader.feed(write_line(request(1)))) == 1
