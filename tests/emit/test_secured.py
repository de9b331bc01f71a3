"""TLS on a socket that does not block: reads, writes, waits and ends, without a process around it."""

import select
import socket
import ssl
from pathlib import Path

import pytest
import trustme

from emit.records import ServerTlsSpec, TlsSpec
from emit.secured import RECORD_BYTES, Secured, client_context, explain, secure, server_context


@pytest.fixture
def ends(tmp_path: Path):
    """Both ends of a connection with TLS, shaken."""
    authority = trustme.CA()
    certificate, ca = tmp_path / "both.pem", tmp_path / "ca.pem"
    authority.issue_cert("far.example").private_key_and_cert_chain_pem.write_to_path(str(certificate))
    authority.cert_pem.write_to_path(str(ca))
    near, far = socket.socketpair()
    near.setblocking(False)
    far.setblocking(False)
    client = secure(client_context(TlsSpec("far.example", ca=str(ca))), near, "far.example")
    server = secure(server_context(ServerTlsSpec(str(certificate))), far, None)
    for _ in range(10):
        if all([client.shake(), server.shake()]):
            break
    with client, server:
        yield client, server


def test_it_is_used_like_a_plain_socket(ends: tuple[Secured, Secured]):
    """BlockingIOError where there is nothing, and nothing else."""
    client, server = ends
    assert client.version() == "TLSv1.3"
    with pytest.raises(BlockingIOError):
        client.recv(10)
    with pytest.raises(BlockingIOError):
        server.recv_into(bytearray(RECORD_BYTES))
    assert (client.wish, server.wish) == (0, 0)
    assert client.send(b"hello") == 5
    assert server.recv() == b"hello"


def test_nothing_stays_behind_where_poll_does_not_see_it(ends: tuple[Secured, Secured]):
    """Several records are read in one go, and what is not read is still in the socket."""
    client, server = ends
    sent = 0
    for _ in range(5):
        sent += client.send(bytes(RECORD_BYTES))
    room = bytearray(3 * RECORD_BYTES - 1)
    got = server.recv_into(room)
    assert got == 2 * RECORD_BYTES
    while got < sent:
        assert server.pending() == 0
        assert select.select([server], [], [], 5)[0]
        got += server.recv_into(room)
    assert server.pending() == 0
    client.send(b"x" * RECORD_BYTES)
    assert len(server.recv(1)) == RECORD_BYTES


def test_a_full_socket_blocks_and_goes_on(ends: tuple[Secured, Secured]):
    """Part of a record is under way: the same bytes are offered again, or more."""
    client, server = ends
    data = bytearray(range(256)) * 8192
    sent, got, room = 0, bytearray(), bytearray(4 * RECORD_BYTES)
    blocked = 0
    while len(got) < len(data):
        try:
            sent += client.send(memoryview(data)[sent:]) if sent < len(data) else 0
            if sent < len(data):
                continue
        except BlockingIOError:
            blocked += 1
        got += room[: server.recv_into(room)]
    assert blocked
    assert got == data


def test_the_end_is_said(ends: tuple[Secured, Secured]):
    """What was sent before comes first."""
    client, server = ends
    client.send(b"last")
    client.close()
    room = bytearray(2 * RECORD_BYTES)
    assert server.recv_into(room) == 4
    assert server.recv_into(room) == 0


def test_there_is_no_renegotiation_and_nothing_old(ends: tuple[Secured, Secured]):
    """A peer that asks for it costs us a handshake each time."""
    for each in ends:
        assert each.context.options & ssl.OP_NO_RENEGOTIATION
        assert each.context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_reasons_are_words():
    """OpenSSL's are for its authors."""
    error = ssl.SSLError(1, "x")
    error.reason = "TLSV13_ALERT_CERTIFICATE_REQUIRED"
    assert explain(error) == "TLS: the other side wants a certificate, and got none"
    error.reason = "SOMETHING_NEW"
    assert explain(error) == "TLS: something new"
    assert explain(ConnectionResetError(104, "Connection reset by peer")) == "connection reset by peer"
