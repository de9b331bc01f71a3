"""Sockets on their way to a target, and why there is none."""

import errno
import socket
import ssl
from pathlib import Path

import pytest

from emit.records import HttpSpec, TlsSpec
from emit.upstream import Upstream, explain, itself
from tests.faults import Authority

ESTABLISHED, SYN_SENT = 1, 2  # tcpi_state of tcp(7)


def test_connecting_does_not_wait():
    with socket.create_server(("127.0.0.1", 0)) as server:
        upstream = Upstream(HttpSpec("127.0.0.1", server.getsockname()[1]))
        with upstream.connect() as connection:
            assert not connection.getblocking()
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert not itself(connection)


def test_the_addresses_of_a_name_are_tried_in_turn(monkeypatch: pytest.MonkeyPatch):
    places = [("127.0.0.1", 1), ("127.0.0.2", 2)]
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", place) for place in places]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_where, **_how: found)
    tried: list[object] = []

    class Socket(socket.socket):
        def connect_ex(self, address: object) -> int:
            tried.append(address)
            return errno.EINPROGRESS

    monkeypatch.setattr(socket, "socket", Socket)
    upstream = Upstream(HttpSpec("name", 80))
    for _each in range(3):
        upstream.connect().close()
        upstream.failed()
    assert tried == [*places, places[0]]


def test_what_cannot_be_is_said_in_words():
    upstream = Upstream(HttpSpec("name.invalid", 80))
    with pytest.raises(OSError) as caught:  # noqa: PT011  # the words are looked at below
        upstream.connect()
    assert explain(caught.value).startswith("its name is not known: ")
    assert explain(OSError(errno.ECONNREFUSED, "Connection refused")) == "connection refused"
    assert explain(ssl.SSLError(1, "x")) == "TLS failed: x"


def test_trust_is_as_configured(tmp_path: Path):
    authority = Authority(tmp_path)
    certificate, key = authority.client()
    strict = Upstream(
        HttpSpec("h", 1, tls=TlsSpec("h", ca=str(authority.path), certificate=str(certificate), key=str(key)))
    )
    assert strict.context is not None
    assert (strict.context.verify_mode, strict.context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert len(strict.context.get_ca_certs()) == 1, "it alone is trusted"
    lax = Upstream(HttpSpec("h", 1, tls=TlsSpec("h", verify=False)))
    assert lax.context is not None
    assert lax.context.verify_mode == ssl.CERT_NONE
    for wrong in ({"ca": str(tmp_path / "none")}, {"ca": str(key)}, {"certificate": str(authority.path)}):
        with pytest.raises(OSError):  # noqa: PT011  # of which SSLError is one
            Upstream(HttpSpec("h", 1, tls=TlsSpec("h", **wrong)))


def test_tls_begins_when_the_connection_is_there_and_not_before():
    """Any target that is not on this machine takes a while to answer; there, TLS would have failed every time."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        port = server.getsockname()[1]
        upstream = Upstream(HttpSpec("127.0.0.1", port, tls=TlsSpec("localhost", verify=False)))
        waiting = [upstream.connect() for _ in range(8)]  # more than the backlog takes: their SYN is not answered
        try:
            states = [each.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] for each in waiting]
            assert SYN_SENT in states
            there = waiting[states.index(ESTABLISHED)]
            with upstream.secure(there) as secured:
                assert isinstance(secured, ssl.SSLSocket)
        finally:
            for each in waiting:
                each.close()
    plain = Upstream(HttpSpec("127.0.0.1", port))
    with socket.socket() as one:
        assert plain.secure(one) is one
