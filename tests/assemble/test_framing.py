"""HTTP/1.x framing: where each message ends (RFC 9112 6.3), for the reference and the compiled framer."""

from dataclasses import dataclass

import packets
import pytest
from engines import ENGINES, identity
from hypothesis import given
from hypothesis import strategies as st
from packets_files import Frame
from strategies import conversations
from strategies_packets import Ends, Traffic, clean, summary

from assemble import Message

both = pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)

GET = b"GET / HTTP/1.1\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def talk(client: bytes, server: bytes, *, close: bool = True, cut: int = 60_000) -> list[Frame]:
    """Make the frames of a connection in which the client says all it has to say, then the server."""
    there = packets.Tcp(seq=1, flags=packets.SYN)
    back = there.back(seq=1, ack=2, flags=packets.SYN | packets.ACK)
    sent = [there, back]
    for i in range(0, len(client), cut):
        sent.append(packets.Tcp(seq=2 + i, ack=2, data=client[i : i + cut]))
    for i in range(0, len(server), cut):
        sent.append(there.back(seq=2 + i, ack=2 + len(client), data=server[i : i + cut], flags=packets.ACK))
    if close:
        fin = packets.FIN | packets.ACK
        sent.append(there.back(seq=2 + len(server), ack=2 + len(client), flags=fin))
        sent.append(packets.Tcp(seq=2 + len(client), ack=3 + len(server), flags=fin))
    return [(1_000_000 * i, packets.frame(tcp)) for i, tcp in enumerate(sent)]


def bodies(messages: list[Message], kind: str) -> list[tuple[bytes, bool]]:
    """Give body and completeness of each message of one kind."""
    return [(m.payload[m.head :], m.complete) for m in messages if m.kind == kind]


@dataclass(frozen=True)
class Case:
    """Headers of a message, its body on the wire, and what comes right behind."""

    name: str
    headers: bytes
    body: bytes
    method: bytes = b"GET"
    status: bytes = b"200"
    then: bytes = b"HTTP/1.1 299 Next\r\nContent-Length: 0\r\n\r\n"


THREE = b"Content-Length: 3\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
LAST = b"0\r\n\r\n"
RESPONSES = [
    Case("length", THREE, b"abc"),
    Case("length of zero", b"Content-Length: 0\r\n", b""),
    Case("length with leading zeros", b"Content-Length: " + b"0" * 30 + b"3\r\n", b"abc"),
    Case("length twice", b"content-length: 3\r\nCONTENT-LENGTH:3\r\n", b"abc"),
    Case("length as a list", b"Content-Length: 3, 3,3\r\n", b"abc"),
    Case("a folded length does not count", b"X: y\r\n Content-Length: 9\r\n" + THREE, b"abc"),
    Case("length with a space before the colon", b"Content-Length : 3\r\n", b"abc"),
    Case("length on a folded line", b"Content-Length:\r\n 3\r\n", b"abc"),
    Case("length behind a line that folds the start line", b" Content-Length: 9\r\n" + THREE, b"abc"),
    Case("length behind lines that are no headers", b"no colon\r\n: no name\r\n\x00\xff: \x00\r\n" + THREE, b"abc"),
    Case("chunked", CHUNKED, b"3\r\nabc\r\n" + LAST),
    Case("chunked on a folded line", b"Transfer-Encoding: gzip,\r\n\tchunked\r\n", LAST),
    Case("chunked beats an invalid length", b"Content-Length: x\r\n" + CHUNKED, LAST),
    Case("spaces behind the chunk size", CHUNKED, b"3 \t\r\nabc\r\n0 ;a\r\n\r\n"),
    Case("identity is no coding", b"Transfer-Encoding: identity\r\n" + THREE, b"abc"),
    Case("chunked beats length", b"Content-Length: 1\r\n" + CHUNKED, LAST),
    Case("chunked after another coding", b"Transfer-Encoding: gzip,\tChunked \r\n", LAST),
    Case("chunked on a second line", b"Transfer-Encoding: gzip\r\ntransfer-encoding: CHUNKED\r\n", LAST),
    Case("trailers", CHUNKED, b"0\r\nA: b\r\nContent-Length: 9\r\n\r\n"),
    Case("chunk extension", CHUNKED, b'1;a="b"\r\nx\r\n00;z\r\n\r\n'),
    Case("chunks with bare line feeds", b"Transfer-Encoding: chunked\n", b"a\n0123456789\n0\n\n"),
    Case("another coding runs until close", b"Transfer-Encoding: gzip\r\n", b"abc" + OK, then=b""),
    Case("chunked not last runs until close", b"Transfer-Encoding: chunked, gzip\r\n", LAST + OK, then=b""),
    Case("another coding beats length", b"Transfer-Encoding: gzip\r\n" + THREE, b"abc" + OK, then=b""),
    Case("neither runs until close", b"X: y\r\n", b"abc" + OK, then=b""),
    Case(
        "another coding beats an invalid length",
        b"Content-Length: x\r\nTransfer-Encoding: a\r\n",
        b"abc" + OK,
        then=b"",
    ),
    Case("HEAD", THREE, b"", method=b"HEAD"),
    Case("HEAD with an invalid length", b"Content-Length: x\r\n", b"", method=b"HEAD"),
    Case("HEAD with chunked", CHUNKED, b"", method=b"HEAD"),
    Case("head is not HEAD", THREE, b"abc", method=b"head"),
    Case("204", THREE, b"", status=b"204"),
    Case("304", CHUNKED, b"", status=b"304"),
    Case("304 with differing lengths", THREE + b"Content-Length: 4\r\n", b"", status=b"304"),
    Case("205", THREE, b"abc", status=b"205"),
    Case("status below 100", THREE, b"abc", status=b"099"),
    Case("failed CONNECT", THREE, b"abc", method=b"CONNECT", status=b"407"),
    Case("upgrade refused", b"Upgrade: x\r\n" + THREE, b"abc", status=b"426"),
    Case("status without meaning", THREE, b"abc", status=b"999"),
]


@both
@pytest.mark.parametrize("cut", [1, 60_000], ids=["bytewise", "whole"])
@pytest.mark.parametrize("case", RESPONSES, ids=lambda c: c.name)
def test_the_body_of_a_response_ends_where_the_rfc_says(engine, case, cut):
    """Each rule of RFC 9112 6.3, and that the next message is found right behind it, wherever TCP cuts."""
    target = b"h:1" if case.method == b"CONNECT" else b"/"
    client = case.method + b" " + target + b" HTTP/1.1\r\n\r\n" + GET
    server = b"HTTP/1.1 " + case.status + b" Word\r\n" + case.headers + b"\r\n" + case.body + case.then
    got = engine(talk(client, server, cut=cut))
    assert bodies(got, "response") == [(case.body, True)] + [(b"", True)] * bool(case.then)
    assert [m.payload for m in got if m.status == 299] == [case.then] * bool(case.then)


REQUESTS = [
    Case("no body", b"Host: x\r\n", b"", method=b"POST"),
    Case("length", THREE, b"abc", method=b"POST"),
    Case("GET with a body", THREE, b"abc"),
    Case("chunked", CHUNKED, b"1\r\nx\r\n" + LAST, method=b"PUT"),
    Case("chunked beats length", CHUNKED + b"Content-Length: 99\r\n", LAST, method=b"PUT"),
    Case("empty lines between", THREE, b"abc", then=b"\r\n\n\r\n" + GET),
    Case("method of odd characters", b"Content-Length: 1\r\n", b"x", method=b"a!#$%&'*+-.^_`|~9"),
]


@both
@pytest.mark.parametrize("cut", [1, 60_000], ids=["bytewise", "whole"])
@pytest.mark.parametrize("case", REQUESTS, ids=lambda c: c.name)
def test_the_body_of_a_request_ends_where_the_rfc_says(engine, case, cut):
    """The same for requests, which never run until close."""
    then = case.then if case.then.endswith(GET) else GET
    client = case.method + b" /a HTTP/1.1\r\n" + case.headers + b"\r\n" + case.body + then
    got = engine(talk(client, b"", cut=cut))
    assert bodies(got, "request") == [(case.body, True), (b"", True)]
    assert [m.method for m in got] == [case.method.decode(), "GET"]
    assert got[1].payload == GET


LINES = [
    (b"GET  /a HTTP/1.1", "/a"),
    (b"GET /a  HTTP/1.1", "/a"),
    (b"GET /a HTTP/1.1  ", "/a"),
    (b"GET /a b  c HTTP/1.1", "/a b  c"),
    (b"GET /a HTTP/1.1 HTTP/1.0", "/a HTTP/1.1"),
    (b"GET /\xff\x80 HTTP/1.1", "/\xff\x80"),
    (b"GET /a HTTP/1.9", "/a"),
]


@both
@pytest.mark.parametrize("cut", [1, 60_000], ids=["bytewise", "whole"])
@pytest.mark.parametrize(("line", "target"), LINES, ids=lambda x: str(x) if isinstance(x, bytes) else "")
def test_a_request_line_that_servers_put_up_with_is_one(engine, line, target, cut):
    """RFC 9112 3 lets a recipient go by words; the answer to such a request must not go to another one."""
    got = engine(talk(line + b"\r\nContent-Length: 1\r\n\r\nx" + GET, OK + OK, cut=cut))
    assert [(m.target, m.complete) for m in got if m.kind == "request"] == [(target, True), ("/", True)]
    assert [m.id for m in got if m.kind == "request"] == [m.id for m in got if m.kind == "response"]


NO_LINES = [b"GET /\0 HTTP/1.1", b"GET /a\rb HTTP/1.1", b"GET\t/ HTTP/1.1", b"GET   HTTP/1.1", b"G\xc9T / HTTP/1.1",
            b"GET / HTTP/2.0", b"GET / HTTP/1.10", b"GET / http/1.1", b"GET /\x7f HTTP/1.1"]  # fmt: skip


@both
@pytest.mark.parametrize("cut", [1, 60_000], ids=["bytewise", "whole"])
@pytest.mark.parametrize("line", NO_LINES, ids=repr)
def test_a_line_that_no_server_takes_is_no_request(engine, line, cut):
    """Controls in a target, another version: guessing at it would make messages of what is none."""
    got = engine(talk(GET + line + b"\r\nX: y\r\n\r\nGET /good HTTP/1.1\r\n\r\n", b"", cut=cut))
    assert [m.target for m in got] == ["/", "/good"]


BROKEN_CHUNKS = [
    b"3 3\r\nabc\r\n", b"3\rx\r\nabc\r\n", b"+3\r\nabc\r\n", b"0x3\r\nabc\r\n", b"3\r\nabcd\r\n", b"\r\n",
    b"3\r\nabc0\r\n", b"10000000000000003\r\nabc\r\n", b" 3\r\nabc\r\n",
]  # fmt: skip


@both
@pytest.mark.parametrize("cut", [1, 60_000], ids=["bytewise", "whole"])
@pytest.mark.parametrize("chunk", BROKEN_CHUNKS, ids=repr)
def test_what_is_no_chunk_ends_the_message_and_no_other(engine, chunk, cut):
    """A size that is guessed at would swallow the next message, or make one of a body."""
    broken = b"HTTP/1.1 200 OK\r\n" + CHUNKED + b"\r\n" + chunk + LAST
    got = engine(talk(GET + GET, broken + b"HTTP/1.1 299 Next\r\nContent-Length: 0\r\n\r\n", cut=cut))
    assert [(m.status, m.complete) for m in got if m.kind == "response"] == [(200, False), (299, True)]


INVALID_LENGTHS = [
    b"3, 4",
    b"99999999999999999999",
    b"4611686018427387905",
    b"-1",
    b"+3",
    b"0x3",
    b"3 3",
    b"",
    b"3,",
    b"3.0",
]


@both
@pytest.mark.parametrize("value", INVALID_LENGTHS)
def test_a_length_that_is_none_costs_the_message_and_no_other(engine, value):
    """A body of unknown length must not be guessed at: the half looks for the next start it can recognise."""
    bad = b"POST /bad HTTP/1.1\r\nContent-Length: " + value + b"\r\n\r\nabc"
    got = engine(talk(GET + bad + b"GET /good HTTP/1.1\r\n\r\n", b""))
    assert [(m.target, m.complete) for m in got] == [("/", True), ("/good", True)]


@both
def test_differing_lengths_on_two_lines_are_an_error(engine):
    """RFC 9112 6.3: which of the two counts is how requests are smuggled."""
    bad = b"POST /bad HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"
    assert [m.target for m in engine(talk(bad + GET, b""))] == ["/"]


@both
def test_a_request_that_is_an_error_takes_no_number(engine):
    """Ids of pipelined requests count messages, and this one is none."""
    bad = b"POST /bad HTTP/1.1\r\nContent-Length: x\r\n\r\n"
    got, clean = engine(talk(GET + bad + GET, b"")), engine(talk(GET + GET, b""))
    assert [m.id for m in got] == [m.id for m in clean]


@both
def test_a_request_whose_last_coding_is_not_chunked_is_an_error(engine):
    """A request cannot run until close, so nothing says where it ends."""
    bad = b"POST /bad HTTP/1.1\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"
    assert [m.target for m in engine(talk(bad + GET, b""))] == ["/"]


@both
@pytest.mark.parametrize("noise", [b"\x16\x03\x01\x00\xff", b"lower case words\r\n", b"GET /\r\n", b": :\n", b"\r"])
def test_bytes_that_are_no_message_are_skipped(engine, noise):
    """One broken sender must not cost the messages after it."""
    got = engine(talk(GET + noise + b"GET /good HTTP/1.1\r\n\r\n", OK + OK))
    assert [m.target for m in got if m.kind == "request"] == ["/", "/good"]


@both
def test_interim_responses_share_the_id_and_leave_the_request_waiting(engine):
    """100, 102 and 103 come before the answer: they are messages of the same exchange."""
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    got = engine(talk(GET + GET, b"HTTP/1.1 100 Continue\r\n\r\n" + hints + OK + OK))
    first, second = (m.id for m in got if m.kind == "request")
    assert [(m.status, m.id) for m in got if m.kind == "response"] == [
        (100, first), (103, first), (200, first), (200, second),
    ]  # fmt: skip


@both
@pytest.mark.parametrize(
    ("request_", "response"),
    [
        (b"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", b"HTTP/1.1 101 Switching Protocols\r\n\r\n"),
        (b"CONNECT h:1 HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 Fine\r\nContent-Length: 5\r\n\r\n"),
    ],
    ids=["101", "CONNECT"],
)
def test_a_tunnel_is_no_http_even_where_it_looks_like_it(engine, request_, response):
    """What goes through a tunnel was never addressed to this server."""
    first = talk(request_, response, close=False)
    inside = packets.Tcp(seq=2 + len(request_), ack=2 + len(response), data=GET)
    back = inside.back(seq=2 + len(response), ack=2 + len(request_) + len(GET), data=OK)
    got = engine([*first, (10**9, packets.frame(inside)), (10**9 + 1, packets.frame(back))])
    assert [m.payload for m in got] == [request_, response]


@both
def test_a_message_is_incomplete_when_the_capture_ends_in_it(engine):
    """What was not seen to its end is never passed off as whole."""
    got = engine(talk(GET, OK[:-1], close=False))
    assert [(m.kind, m.complete) for m in got] == [("request", True), ("response", False)]
    assert got[1].payload == OK[:-1]


@both
@pytest.mark.parametrize("keep", range(1, 15))
def test_a_start_line_that_was_not_seen_whole_makes_no_message(engine, keep):
    """Without its start line nobody can say what it would have been."""
    assert engine(talk(GET[:keep], b"")) == []


@both
@pytest.mark.parametrize(("close", "complete"), [(True, True), (False, False)], ids=["fin", "open"])
def test_a_body_until_close_is_complete_at_fin_alone(engine, close, complete):
    """Only the FIN says that there was no more."""
    got = engine(talk(GET, b"HTTP/1.0 200 OK\r\n\r\nsome text", close=close))
    assert bodies(got, "response") == [(b"some text", complete)]


@both
def test_a_very_large_head_and_body_come_out_whole(engine):
    """Large bodies and long URLs are what other tools lose."""
    head = b"GET /" + b"a" * 300_000 + b" HTTP/1.1\r\nX: " + b"b" * 300_000 + b"\r\n\r\n"
    response = b"HTTP/1.1 200 OK\r\nContent-Length: 1500000\r\n\r\n" + bytes(range(250)) * 6000
    got = engine(talk(head, response))
    assert [(m.payload, m.complete) for m in got] == [(head, True), (response, True)]


@both
@given(data=st.data())
def test_cutting_a_conversation_anywhere_changes_nothing(engine, data):
    """Where TCP happens to cut is the network's business, never the application's."""
    conversation = data.draw(conversations())
    one: Traffic = data.draw(clean(conversation, Ends()))
    got = engine(one.frames(), batch=data.draw(st.sampled_from([1, 5, 2048])))
    assert sorted(map(summary, got), key=repr) == sorted(one.expected(identity), key=repr)
