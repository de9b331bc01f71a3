"""Sockets with TLS, as the engine uses them; those without are in tests/emit/test_engine.py."""

import socket
import ssl
from pathlib import Path

import pytest

from emit.channel import Channel
from emit.records import TlsSpec
from tests import faults
from tests.emit.builders import request, ring_of
from tests.emit.replaying import Run, Told, replay
from tests.faults import Authority
from tests.targets import Arrival, Line, target


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def trusting(authority: Authority, **changes: object) -> TlsSpec:
    """Trust an authority, and nobody else."""
    return TlsSpec(**({"server_name": "127.0.0.1", "ca": str(authority.path)} | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("pooled", [False, True])
def test_large_messages_pass_through_tls_both_ways(authority: Authority, pooled: bool):
    """More than the buffers of sockets and of TLS hold, on several connections at a time."""

    def echo(line: Line, asked: Arrival) -> bool:
        line.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(asked.body) + asked.body)
        return True

    messages = []
    for number in range(6):
        head = b"PUT /%d HTTP/1.1\r\nContent-Length: 2000000\r\n\r\n" % number
        asked = request(number, method="PUT", target=f"/{number}", sport=40_000 + number % 3)
        messages.append(asked.replace(payload=head + b"%d" % number * 2_000_000, head=len(head)))
    told = Told()
    with target(echo, tls=authority.server()) as server:
        ring = ring_of(messages, 32 << 20)
        counts = Run(ring, server.port, told, tls=trusting(authority), authority=None, pooled=pooled).finish()
    assert counts["delivered"] == 6
    assert sorted(each.payload for each in server.arrivals) == sorted(each.payload for each in messages)
    assert [size > 2_000_000 for _id, _status, size in told.answers] == [True] * 6
    assert server.faults == []


def test_the_name_that_is_asked_for_is_the_one_that_is_verified(authority: Authority):
    with target(tls=authority.server("shop.example")) as server:
        spec = trusting(authority, server_name="shop.example")
        counts = replay([request(1)], server.port, tls=spec)
    assert counts["delivered"] == 1
    assert server.names == ["shop.example"]


def test_a_client_certificate_is_shown(authority: Authority):
    certificate, key = authority.client()
    with target(tls=authority.server(asking=True)) as server:
        spec = trusting(authority, certificate=str(certificate), key=str(key))
        assert replay([request(1)], server.port, tls=spec)["delivered"] == 1
        assert server.certificates[0]


@pytest.mark.parametrize("trouble", ["unknown", "name", "expired", "plain", "silent"])
def test_no_request_goes_to_whom_it_should_not(authority: Authority, tmp_path: Path, trouble: str):
    spec = trusting(authority)
    context: ssl.SSLContext | None = authority.server(expired=trouble == "expired")
    if trouble == "name":
        context = authority.server("other.example")
    elif trouble == "unknown":
        (tmp_path / "other").mkdir()
        spec = trusting(Authority(tmp_path / "other"))
    greet = {"plain": faults.plain_answer, "silent": faults.stopping_handshake}.get(trouble)
    with target(tls=None if greet else context, greet=greet) as server:
        run = Run(ring_of([request(1)]), server.port, tls=spec, retry_s=0.4, connect_timeout_s=0.3)
        counts = run.finish()
        assert server.arrivals == []
    assert (counts["failed_unreachable"], counts["undelivered"]) == (1, 1)
    expected = {"plain": "TLS failed: ", "silent": "no answer within 0.3 s"}
    assert run.engine.trouble is not None
    assert run.engine.trouble.startswith(expected.get(trouble, "its certificate is not accepted: "))


def test_a_handshake_goes_on_as_far_as_it_can(authority: Authority):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        context = ssl.create_default_context(cafile=str(authority.path))
        with context.wrap_socket(ours, server_hostname="a.example", do_handshake_on_connect=False) as wrapped:
            assert Channel(wrapped).shake() == "read"
            assert theirs.recv(1) == b"\x16", "a hello has been sent"
