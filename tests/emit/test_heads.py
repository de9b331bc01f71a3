"""Messages taken apart and put together: the same bytes where that can be, well-formed ones everywhere."""

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assemble.message import Message
from assemble.records import REQUEST, RESPONSE
from emit.building import record_of, start_of
from emit.heads import Parsed, clean, dechunk, parse, rebuilt
from tests.emit.builders import messages


def again(payload: bytes, kind: int = RESPONSE, **how: bool) -> bytes:
    """Take bytes apart and put them together."""
    return rebuilt(parse(payload, start_of(kind, payload)), **how)


@given(made=messages())
def test_usual_messages_come_back(made: Message):
    """Whatever their method, target or body is."""
    kind = REQUEST if made.kind == "request" else RESPONSE
    assert record_of(made).endswith(again(made.payload, kind))


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 \r\n\r\n", b"HTTP/1.1 204 No Content\r\na: b\r\nA: c\r\na: b\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nx:\r\n\r\n", b"HTTP/1.1 200 OK\r\nX-\xe9: caf\xe9\r\nset-cookie: a=b; c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nServer:  a \r\n\r\n", b"ICY 200 OK\r\n\r\n", b"HTTP/1.1 200\r\n\r\n",
    ],
)  # fmt: skip
def test_order_case_and_repetitions_are_kept(head: bytes):
    """A server may tell them apart."""
    assert again(head) == head


@pytest.mark.parametrize(
    ("head", "wanted"),
    [
        (b"HTTP/1.1 200 OK\na:b\n\n", b"HTTP/1.1 200 OK\r\na: b\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\na:  b \r\n\t c\r\n\r\n", b"HTTP/1.1 200 OK\r\na:  b c\r\n\r\n"),
    ],
)
def test_white_space_becomes_the_usual_one(head: bytes, wanted: bytes):
    """It means the same (RFC 9112 5)."""
    assert again(head) == wanted


@given(pieces=st.lists(st.binary(min_size=1, max_size=40), max_size=6), trailer=st.sampled_from([b"", b"X: y\r\n"]))
def test_chunks_become_one_body_with_its_length(pieces: list[bytes], trailer: bytes):
    """As h11 reads both."""
    chunks = b"".join(b"%X;a=b\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    payload = (
        b"HTTP/1.1 200 OK\r\nA: b\r\ntransfer-encoding: Chunked\r\nC: d\r\n\r\n" + chunks + b"0\r\n" + trailer + b"\r\n"
    )
    body = b"".join(pieces)
    found = again(payload)
    assert found == b"HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: %d\r\nC: d\r\n\r\n%s" % (len(body), body)
    assert body_by_h11(found) == body_by_h11(payload) == body


def body_by_h11(payload: bytes) -> bytes:
    """Return the body of a response as another library reads it."""
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(payload)
    body = b""
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            return body
        else:
            assert event is not h11.NEED_DATA


@pytest.mark.parametrize(
    "body", [b"", b"5\r\nab", b"zz\r\n", b"2\r\nabc\r\n0\r\n\r\n", b"2\r\nab\r\n", b"ffffffffffffffff\r\n"]
)
def test_chunks_that_are_not_whole_stay_as_they_are(body: bytes):
    """What is missing cannot be said in another framing."""
    payload = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + body
    assert dechunk(body) is None
    assert again(payload) == payload


def test_lengths_are_put_right():
    """Once, and where the message is whole; never those of a response to HEAD."""
    wrong = Parsed(("HTTP/1.1", "200", "OK"), headers=[("content-length", "9"), ("Content-Length", "9")], body=b"abc")
    assert rebuilt(wrong) == b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc"
    assert rebuilt(wrong, complete=False).count(b"9") == 2
    asked = Parsed(("POST", "/", "HTTP/1.1"), headers=[("Host", "a")], body=b"abc")
    assert rebuilt(asked, translated=True).endswith(b"Host: a\r\nContent-Length: 3\r\n\r\nabc")
    head = Parsed(("HTTP/1.1", "200", "OK"), headers=[("Content-Length", "9")])
    assert rebuilt(head, bodiless=True).endswith(b"Content-Length: 9\r\n\r\n")


@given(st.lists(st.tuples(st.text(max_size=9), st.text(max_size=9)), max_size=5))
def test_values_of_strangers_cannot_end_a_line(fields: list[tuple[str, str]]):
    """Else one field would be two, or the body."""
    payload = rebuilt(Parsed(("GET", "/", "HTTP/1.1"), headers=clean(fields)))
    assert payload.count(b"\n") == len(clean(fields)) + 2
    assert b"\0" not in payload
