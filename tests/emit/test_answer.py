"""Where answers end: against h11, whatever the cuts; and what no server should say."""

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emit.answer import Answer

bodies = st.binary(max_size=300)
statuses = st.sampled_from([200, 201, 204, 206, 301, 304, 404, 500, 599, 999])


def chunked(body: bytes, size: int, trailer: bytes = b"") -> bytes:
    """Write a chunked body."""
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x;a=b\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n" + trailer + b"\r\n"


@st.composite
def answers(draw: st.DrawFn) -> tuple[bytes, bool]:
    """Return an answer, and whether it was to a HEAD."""
    status, body, to_head = draw(statuses), draw(bodies), draw(st.booleans())
    lines = [b"HTTP/1.%d %d %b" % (draw(st.integers(0, 1)), status, draw(st.sampled_from([b"", b"OK", b"Not so\xe4"])))]
    lines += draw(st.sampled_from([[], [b"Connection: close"], [b"connection: Keep-Alive"], [b"X: " + b"y" * 300]]))
    has_body = not to_head and status not in {204, 304}
    how = draw(st.sampled_from(["length", "chunked", "close"]))
    if how == "length":
        lines.append(b"Content-Length: %d" % len(body))
    elif how == "chunked" and lines[0].startswith(b"HTTP/1.1"):
        lines.append(b"Transfer-Encoding: CHUNKED")
        body = chunked(body, draw(st.integers(1, 50)), draw(st.sampled_from([b"", b"T: 1\r\n"])))
    return b"\r\n".join(lines) + b"\r\n\r\n" + (body if has_body else b""), to_head


def by_h11(data: bytes, to_head: bool) -> tuple[int, int, bool]:
    """Return status, bytes that belong to the answer, and whether the connection may go on."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="HEAD" if to_head else "GET", target="/", headers=[("Host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(data)
    status, ended = 0, False
    while not ended:
        event = client.next_event()
        if isinstance(event, h11.Response):
            status = event.status_code
        if event is h11.NEED_DATA:
            client.receive_data(b"")
        ended = isinstance(event, h11.EndOfMessage)
    keeps = client.their_state is h11.DONE
    return status, len(data) - len(client.trailing_data[0]), keeps


@given(answers(), st.lists(st.integers(1, 60), max_size=40), st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n"]))
def test_an_answer_ends_where_h11_says(answer: tuple[bytes, bool], cuts: list[int], behind: bytes):
    data, to_head = answer
    status, size, keeps = by_h11(data + behind, to_head)
    reader = Answer()
    reader.expect(to_head=to_head)
    left, used, verdict = data + behind, 0, "more"
    for cut in [*cuts, len(left)]:
        if verdict != "more" or not left:
            break
        verdict, step = reader.take(left[:cut])
        assert step == min(cut, len(left)) or verdict != "more"
        left, used = left[step:], used + step
    if verdict == "more":
        verdict = reader.at_end()
    assert (verdict, reader.status, used) == ("ended", status, size)
    assert reader.size == size
    # A keep-alive of HTTP/1.0 is more than h11 wants to know of, and what does not say so ends with the connection.
    assert reader.keeps == keeps or data.startswith(b"HTTP/1.0")


def test_interim_answers_come_before_the_final_one():
    reader = Answer()
    reader.expect()
    data = b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"
    verdict, used = reader.take(data)
    assert (verdict, reader.status, used) == ("interim", 103, 31)
    assert reader.take(data[used:]) == ("ended", len(data) - used)
    assert (reader.status, reader.size, reader.keeps) == (200, len(data) - used, True)


@pytest.mark.parametrize("status", [b"101", b"100"])
def test_a_tunnel_ends_what_is_known_of_the_connection(status: bytes):
    reader = Answer()
    reader.expect()
    verdict, _used = reader.take(b"HTTP/1.1 %b X\r\n\r\n" % status)
    assert verdict == ("ended" if status == b"101" else "interim")
    reader.expect(to_connect=True)
    assert reader.take(b"HTTP/1.1 200 X\r\nContent-Length: 5\r\n\r\n")[0] == "ended"
    assert not reader.keeps


@pytest.mark.parametrize(
    "data",
    [
        b"220 mail.example ESMTP\r\n\r\n",
        b"<html>nonsense",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        b"HTTP/1.1 099 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"f" * 16 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"0" * 20_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"a: b\r\n" * 200_000,
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200_000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 101,
    ],
    ids=lambda data: data[:60].decode(),
)
@pytest.mark.parametrize("step", [1000, 1_000_000])
def test_what_is_no_answer_is_broken_and_not_waited_for(data: bytes, step: int):
    reader = Answer()
    reader.expect()
    verdict = "more"
    at = 0
    while verdict in {"more", "interim"} and at < len(data):
        verdict, used = reader.take(data[at : at + step])
        at += used
    assert verdict == "broken"


@given(st.binary(max_size=500), st.integers(1, 50))
def test_no_bytes_at_all_do_harm(data: bytes, step: int):
    reader = Answer()
    reader.expect()
    for prefix in (b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"):
        reader.expect()
        text = prefix + data
        at = 0
        while at < len(text):
            verdict, used = reader.take(text[at : at + step])
            at += used
            assert used <= step
            if verdict in {"ended", "broken"}:
                break


def test_only_a_body_without_length_may_end_with_the_connection():
    reader = Answer()
    for head in (b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc"):
        reader.expect()
        assert reader.take(head)[0] == "more" or not head
        assert reader.at_end() == "broken"
    reader.expect()
    reader.take(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabcdef")
    assert (reader.at_end(), reader.keeps) == ("ended", False)
