"""The server that replays are proved against: what it says it got is what was sent, and it misbehaves as told."""

import contextlib
import http.client
import socket
import ssl
from random import Random
from typing import Final

import h11
import pytest

from tests import faults
from tests.faults import Authority
from tests.generator.conversations import converse
from tests.generator.spoken import CLIENT
from tests.targets import Script, Target, fields, is_within, polite, target, tokens, usual

ASK: Final = b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n"


def said(server: Target, *requests: bytes) -> bytes:
    """Send bytes on one connection, and return all that comes back until its end."""
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        for each in requests:
            connection.sendall(each)
        with contextlib.suppress(OSError):  # it has closed already, which is what is looked at here
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while data := connection.recv(65536):
                answer += data
        except ConnectionResetError:
            answer += b"<reset>"
        return answer


@pytest.mark.parametrize("seed", range(40))
def test_every_request_that_can_be_written_is_logged_as_it_came(seed):
    """Folded lines, bare line feeds, odd methods, trailers: a proof is worth what its witness has seen."""
    conversation = converse(Random(seed), plain=False)
    sent = [
        bytes(conversation.streams[CLIENT][each.start : each.end])
        for each in conversation.spoken
        if each.side is CLIENT and not each.refused and not each.cut
    ]
    with target() as server:
        said(server, *sent)
    assert server.faults == []
    assert [each.payload for each in server.arrivals] == sent
    assert [each.method + b" " + each.target for each in server.arrivals] == [
        each.split(b"\n")[0].rpartition(b" ")[0] for each in sent
    ]


def test_connections_are_logged_each_in_its_order():
    """Which connection a request came on is half of what is to be proved."""
    with target() as server:
        for connection in range(3):
            said(server, *(ASK.replace(b"/", b"/%d/%d" % (connection, at), 1) for at in range(4)))
    assert [[each.target for each in line] for line in server.by_connection()] == [
        [b"/%d/%d" % (connection, at) for at in range(4)] for connection in range(3)
    ]
    assert [each.number for each in server.arrivals] == list(range(12))
    assert server.accepted == 3


@pytest.mark.parametrize(
    "wrong",
    [
        b"GET /\r\n\r\n",
        b"\r\nGET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: shop",
        b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nshort",
        b"POST / HTTP/1.1\r\nContent-Length: 1, 2\r\n\r\nab",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\nab",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
    ],
)
def test_what_is_no_request_is_a_fault(wrong):
    """A replay that sends half a request must not pass for one that sent nothing."""
    with target() as server:
        said(server, wrong)
    assert server.arrivals == []
    assert len(server.faults) == 1


def test_a_body_that_is_announced_is_asked_for():
    """Expect: the head is there before the body, and 100 in between."""
    with target() as server, socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert server.arrivals == []
        connection.sendall(b"body")
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
    assert [each.body for each in server.arrivals] == [b"body"]


def test_names_and_values_are_found_however_they_are_written():
    """Folded, repeated, in any case."""
    head = b"GET / HTTP/1.1\r\nTE: a\r\nX-Long: one\r\n two\n\tthree\r\nte:b, ,C\r\n\r\n"
    assert fields(head) == [(b"te", b"a"), (b"x-long", b"one two three"), (b"te", b"b, ,C")]
    assert tokens(head, b"te") == [b"a", b"b", b"c"]


def test_a_polite_server_closes_where_that_is_said():
    """By the version and by Connection: RFC 9112 section 9.3."""
    with target(polite) as server:
        for version, line, more in (
            (b"1.1", b"", True), (b"1.1", b"Connection: x, Close\r\n", False),
            (b"1.0", b"", False), (b"1.0", b"Connection: keep-alive\r\n", True),
        ):  # fmt: skip
            request = b"GET / HTTP/%b\r\n%b\r\n" % (version, line)
            assert said(server, request, ASK).count(b"HTTP/1.1 200 OK") == 1 + more


@pytest.mark.parametrize(("script", "method"), [*((script, "GET") for script in faults.ANSWERED), (usual, "HEAD")])
def test_an_answer_is_one_that_others_read(script, method):
    """What counts as answered has to be HTTP, by the judgement of a library."""
    with target(script) as server:
        answer = said(server, ASK.replace(b"GET", method.encode()))
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("Host", "shop")]))
    client.send(h11.EndOfMessage())
    client.receive_data(answer)
    client.receive_data(b"")
    events = []
    while not isinstance(event := client.next_event(), h11.EndOfMessage):
        events.append(event)
    assert any(isinstance(event, h11.Response) and event.status_code == 200 for event in events)


WRONG: Final[dict[Script, bytes]] = {
    faults.closing: b"", faults.resetting: b"<reset>", faults.cut: b"\0", faults.cut_chunks: b"hello\r\n",
    faults.cut_head: b"Content-Le", faults.garbage: b"\xff", faults.bad_length: b"hello",
    faults.bad_chunk: b"0\r\n\r\n",
    faults.unending_head: b"x\r\n", faults.unending_interims: b"\r\n\r\n", faults.unending_size: b"0",
    faults.talking_on: b"another thing", faults.twice: b"okHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    faults.reset_within: b"<reset>",
}  # fmt: skip


@pytest.mark.parametrize(("script", "ends"), WRONG.items(), ids=lambda each: getattr(each, "__name__", ""))
def test_a_fault_does_what_its_name_says(script, ends, monkeypatch):
    """A fault that does not happen would prove that it is survived."""
    monkeypatch.setattr(faults, "PIECES", 20)
    with target(script) as server:
        assert said(server, ASK).endswith(ends)
        assert server.accepted == 1


def test_scripts_take_turns():
    """A target that is well again after a while."""
    with target(faults.at_first(2, faults.closing)) as server:
        assert [said(server, ASK)[:15] for _ in range(3)] == [b"", b"", b"HTTP/1.1 200 OK"]
    with target(faults.in_turn(usual, faults.closing)) as server:
        assert [said(server, ASK)[:15] for _ in range(3)] == [b"HTTP/1.1 200 OK", b"", b"HTTP/1.1 200 OK"]


def test_a_target_that_does_not_listen_yet_refuses():
    """And has its port all the same."""
    with target(listening=False) as server:
        with pytest.raises(ConnectionRefusedError):
            said(server, ASK)
        server.listen()
        assert said(server, ASK)


def test_certificates_are_good_or_bad_as_they_are_asked_for(tmp_path):
    """Expired, of another name, of nobody known; one for the client too."""
    authority = Authority(tmp_path)
    good = ssl.create_default_context(cafile=authority.path)
    for context, trust, problem in (
        (authority.server(), good, None),
        (authority.server("other.example"), good, "IP address mismatch"),
        (authority.server(expired=True), good, "certificate has expired"),
        (authority.server(), ssl.create_default_context(), "unable to get local issuer"),
    ):
        with target(tls=context) as server:
            client = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=10, context=trust)
            if problem:
                with pytest.raises(ssl.SSLCertVerificationError, match=problem):
                    client.request("GET", "/")
            else:
                client.request("GET", "/")
                assert client.getresponse().read() == b"ok"
            client.close()
    good.load_cert_chain(*authority.client())
    with target(tls=authority.server(asking=True)) as server:
        client = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=10, context=good)
        client.request("GET", "/")
        assert client.getresponse().read() == b"ok"
        client.close()
    assert "replay.example" in str(server.certificates)


@pytest.mark.parametrize("greet", [faults.stopping_handshake, faults.plain_answer])
def test_a_greeting_comes_before_any_request(greet):
    """A handshake can fail in more ways than by its certificate."""
    with target(greet=greet) as server:
        answer = said(server, b"\x16\x03\x01")
    assert server.arrivals == []
    assert answer.startswith(b"HTTP/1.1 400") == (greet is faults.plain_answer)


def test_within_is_in_order_with_gaps():
    """The question that is asked about order."""
    assert is_within("ace", "abcde")
    assert not is_within("aec", "abcde")
    assert not is_within("aa", "abc")
