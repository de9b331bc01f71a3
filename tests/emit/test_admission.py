"""Who may send: whole receivers and senders with TLS and keys, right ones and wrong ones."""

import contextlib
import datetime
import os
import socket
import ssl
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgpack
import pytest
import trustme

from capture.ring import Ring
from emit.handshake import Greeting
from emit.records import Access, Login, OutputSpec, ServerTlsSpec, TlsSpec
from tests.emit.builders import conversation, entries, packed_forward, request, ring_of
from tests.emit.processes import Child, Processes, proxy, wait_until

NAME = "receiver.example"
KEY = b"the shared key"
USERS = ((b"edge", b"its password"),)


class Papers:
    """An authority, and files of certificates and keys."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.authority = trustme.CA()
        self.ca = self.file("ca.pem", self.authority.cert_pem.bytes())

    def file(self, name: str, data: bytes) -> str:
        """Write a file."""
        path = self.directory / name
        path.write_bytes(data)
        path.chmod(0o600)
        return str(path)

    def issue(self, name: str = NAME, *, expired: bool = False) -> str:
        """Write a certificate with its key."""
        ended = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1) if expired else None
        made = self.authority.issue_cert(name, not_after=ended)
        return self.file(f"{name}-{expired}.pem", made.private_key_and_cert_chain_pem.bytes())

    def server(self, **changes: Any) -> ServerTlsSpec:
        """A receiver's TLS."""
        return ServerTlsSpec(**({"certificate": self.issue()} | changes))

    def client(self, **changes: Any) -> TlsSpec:
        """A sender's TLS."""
        return TlsSpec(**({"server_name": NAME, "ca": self.ca} | changes))


@pytest.fixture
def papers(tmp_path: Path) -> Papers:
    """An authority that both sides know."""
    return Papers(tmp_path)


def to(port: int, **changes: Any) -> OutputSpec:
    """A tcp output."""
    given = {"address": f"127.0.0.1:{port}", "chunk_records": 50, "flush_s": 0.01, "retry_s": 3.0} | changes
    return OutputSpec("tcp", 0, **given)


def logged(child: Child, text: str) -> None:
    """Wait for a log line with that text."""
    wait_until(lambda: any(text in each["text"] for each in child.events("log")), f"a line with {text!r}")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("how", ["tls", "mutual", "key", "users", "all"])
def test_messages_arrive_and_are_acknowledged(processes: Processes, papers: Papers, how: str, version: ssl.TLSVersion):
    """In each of the ways, and not one is lost or doubled."""
    if how in {"key", "users"} and version != ssl.TLSVersion.TLSv1_3:
        pytest.skip("without TLS there is no version of it")
    tls = how in {"tls", "mutual", "all"}
    mutual = how in {"mutual", "all"}
    access = Access(KEY, USERS if how in {"users", "all"} else ()) if how in {"key", "users", "all"} else None
    far = Ring.create(8 << 20)
    receiver, port = processes.receiver(
        far, access=access, tls=papers.server(client_ca=papers.ca if mutual else None) if tls else None
    )
    sink = processes.worker(far, OutputSpec("null", 0))
    spec = to(
        port,
        tls=papers.client(certificate=papers.issue("edge.example") if mutual else None) if tls else None,
        login=None if access is None else Login(KEY, b"edge", b"its password"),
    )
    made = [*conversation(1000), request(5000, bytes(300_000))]
    if version is ssl.TLSVersion.TLSv1_2:
        with through_old_tls(port, papers, mutual) as older:
            older.sendall_(access, packed_forward(entries(made), "x"))
    else:
        worker = processes.worker(ring_of(made, 4 << 20), spec)
        assert worker.end() == 0
        assert worker.counters["output0_delivered"] == len(made)
        assert worker.counters["output0_reconnects"] == 0
    assert receiver.stop() == 0
    assert sink.end() == 0
    assert sink.counters["messages_taken"] == len(made)
    assert receiver.counters["connections_failed"] == receiver.counters["handshakes_failed"] == 0


class Older:
    """A client of the standard library that speaks TLS 1.2."""

    def __init__(self, connection: ssl.SSLSocket) -> None:
        self.connection = connection

    def sendall_(self, access: Access | None, frame: bytes) -> None:
        """Go through the handshake, send a frame and wait for its acknowledgement."""
        if access is not None:
            greeting = Greeting(Login(KEY, b"edge", b"its password"), "older")
            while not greeting.through:
                self.connection.sendall(greeting.feed(self.connection.recv(4096)))
        self.connection.sendall(frame)
        assert msgpack.unpackb(self.connection.recv(100)) == {"ack": "x"}


@contextlib.contextmanager
def through_old_tls(port: int, papers: Papers, mutual: bool) -> Iterator[Older]:
    """Connect with TLS 1.2."""
    context = ssl.create_default_context(cafile=papers.ca)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    if mutual:
        context.load_cert_chain(papers.issue("edge.example"))
    with (
        socket.create_connection(("127.0.0.1", port), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname=NAME) as secured,
    ):
        assert secured.version() == "TLSv1.2"
        yield Older(secured)


@pytest.mark.parametrize(
    ("wrong", "sender_says", "receiver_says"),
    [
        ("expired", "certificate has expired", "says that the certificate has expired"),
        ("name", "Hostname mismatch", "does not accept the certificate"),
        ("authority", "unable to get local issuer certificate", "does not know the authority"),
        ("no certificate", "output 0", "it has shown no certificate"),
        ("strange certificate", "output 0", "the certificate is not accepted"),
        ("plain receiver", "TLS", "TLS, which is not spoken here: write certificate and key in [input]"),
        ("plain sender", "connection", "what comes is not TLS"),
        ("key", "the receiver refuses us: shared key mismatch", "shared key mismatch"),
        ("password", "the receiver refuses us: user or password mismatch", "user or password mismatch"),
        ("no key here", "the receiver asks for a shared key: write shared_key_file", ""),
        ("no key there", "the receiver has not said HELO", ""),
    ],
)
def test_what_is_wrong_is_said_on_both_sides(
    processes: Processes, papers: Papers, tmp_path: Path, wrong: str, sender_says: str, receiver_says: str
):
    """Whose fault it is; counted; nothing is taken, nothing is lost in silence, and it is not tried in a frenzy.

    Where the receiver does not accept our certificate, TLS 1.3 lets us send before it says so: a reset may come first.
    """
    (tmp_path / "other").mkdir()
    other = Papers(tmp_path / "other")
    server: ServerTlsSpec | None = papers.server()
    client: TlsSpec | None = papers.client()
    access = login = None
    if wrong == "expired":
        server = papers.server(certificate=papers.issue(expired=True))
    elif wrong == "name":
        client = papers.client(server_name="other.example")
    elif wrong == "authority":
        client = papers.client(ca=other.ca)
    elif wrong == "no certificate":
        server = papers.server(client_ca=papers.ca)
    elif wrong == "strange certificate":
        server = papers.server(client_ca=papers.ca)
        client = papers.client(certificate=other.issue("edge.example"))
    elif wrong == "plain receiver":
        server = None
    elif wrong == "plain sender":
        client = None
    else:
        server = client = None
        access = None if wrong == "no key there" else Access(KEY, USERS)
        given = Login(
            b"wrong" if wrong == "key" else KEY, b"edge", b"wrong" if wrong == "password" else b"its password"
        )
        login = None if wrong == "no key here" else given
    ring = Ring.create(1 << 20)
    receiver, port = processes.receiver(ring, tls=server, access=access)
    worker = processes.worker(
        ring_of(conversation(10)), to(port, tls=client, login=login, retry_s=1.0, connect_timeout_s=0.5)
    )
    assert worker.end() == 1
    logged(worker, sender_says)
    if receiver_says:
        logged(receiver, receiver_says)
        assert receiver.counters["connections_failed"] >= 1
    assert worker.counters["output0_undelivered"] == 10
    assert receiver.counters["messages"] == 0
    if wrong not in {"plain receiver", "plain sender", "no key here", "no certificate", "strange certificate"}:
        assert 1 <= receiver.counters["connections"] <= 3
    assert receiver.stop() == 0
    said = str(worker.events("log") + worker.events("failed") + receiver.events("log"))
    assert "its password" not in said
    assert KEY.decode() not in said


def test_old_versions_are_refused(processes: Processes, papers: Papers):
    """TLS 1.1 and before are broken (RFC 8996)."""
    receiver, port = processes.receiver(Ring.create(1 << 20), tls=papers.server())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with (
        socket.create_connection(("127.0.0.1", port), timeout=20) as plain,
        pytest.raises(ssl.SSLError, match=r"(?i)protocol"),
    ):
        context.wrap_socket(plain)
    wait_until(lambda: receiver.counters["handshakes_failed"] == 1, "the count")
    assert receiver.stop() == 0


def test_strangers_are_bounded_in_number_time_and_bytes(processes: Processes, papers: Papers):
    """Half of the connections at most, each for a while, none with a byte too many; who knows the key gets in."""
    ring = Ring.create(1 << 20)
    receiver, port = processes.receiver(ring, access=Access(KEY), connections=6, handshake_s=1.0)
    processes.worker(ring, OutputSpec("null", 0))
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20)) for _ in range(5)]
        wait_until(lambda: receiver.counters["connections_refused"] == 2, "two refused")
        peers[0].sendall(b"\x96" * 5000)
        peers[1].sendall(packed_forward(entries([request(1)]), "a"))
        for each in peers[:3]:
            each.settimeout(20)
            with contextlib.suppress(ConnectionResetError):
                while each.recv(1000):
                    pass
    wait_until(lambda: receiver.counters["handshakes_failed"] == 3, "the counts")
    logged(receiver, "no handshake within 1 s")
    logged(receiver, "not a message of the handshake")
    with socket.create_connection(("127.0.0.1", port), timeout=20) as good:
        greeting = Greeting(Login(KEY), "good")
        good.sendall(greeting.feed(good.recv(1000)) + packed_forward(entries([request(1)]), "first"))
        said = msgpack.Unpacker(raw=True)
        got: list[Any] = []
        while len(got) < 2:
            said.feed(good.recv(1000))
            got += list(said)
        assert got[0][:2] == [b"PONG", True]
        assert got[1] == {b"ack": b"first"}
    wait_until(lambda: receiver.counters["records"] == 1, "the count")
    assert receiver.stop() == 0


@pytest.mark.parametrize("what", ["tls", "key"])
@pytest.mark.parametrize("cut", [1, 10, 200, 700, 1500, 3000, 20_000])
def test_a_cut_anywhere_is_mended(processes: Processes, papers: Papers, what: str, cut: int):
    """In the handshake, or after it: a new connection, and every message once."""
    far = Ring.create(8 << 20)
    tls = what == "tls"
    receiver, port = processes.receiver(far, tls=papers.server() if tls else None, access=None if tls else Access(KEY))
    sink = processes.worker(far, OutputSpec("null", 0))
    made = conversation(500)
    with proxy(port, [("cut", cut), ("reset", cut)]) as between:
        worker = processes.worker(
            ring_of(made, 4 << 20),
            to(between.port, tls=papers.client() if tls else None, login=None if tls else Login(KEY), retry_s=20.0),
        )
        assert worker.end() == 0
        assert between.connections >= 3
    assert worker.counters["output0_delivered"] == len(made)
    assert receiver.stop() == 0
    assert sink.end() == 0
    assert sink.counters["messages_taken"] == len(made)


def test_large_chunks_come_through_byte_by_byte(processes: Processes, papers: Papers):
    """A record that is cut anywhere is one; and what TLS holds is not forgotten when the wire is silent."""
    far = Ring.create(8 << 20)
    receiver, port = processes.receiver(far, tls=papers.server())
    processes.worker(far, OutputSpec("null", 0))
    context = ssl.create_default_context(cafile=papers.ca)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname=NAME)
    with socket.create_connection(("127.0.0.1", port), timeout=20) as plain:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def act(what: Any, piece: int) -> Any:
            while True:
                try:
                    done = what()
                except ssl.SSLWantReadError:
                    done = None
                data = outgoing.read()
                for at in range(0, len(data), piece):
                    plain.sendall(data[at : at + piece])
                if done is not None:
                    return done
                incoming.write(plain.recv(65536))

        act(lambda: tls.do_handshake() or True, 1)
        small = packed_forward(entries([request(1)]), "small")
        act(lambda: tls.write(small), 1)
        assert msgpack.unpackb(act(lambda: tls.read(1000), 1)) == {"ack": "small"}
        large = packed_forward(entries([request(2, bytes(3_000_000))]), "large")
        view = memoryview(large)
        while view:
            view = view[act(partial(tls.write, view), 9973) :]
        assert msgpack.unpackb(act(lambda: tls.read(1000), 1)) == {"ack": "large"}
    wait_until(lambda: receiver.counters["messages"] == 2, "the count")
    assert receiver.stop() == 0


def test_secrets_are_in_no_list_of_processes(processes: Processes):
    """What ps(1) shows, everybody sees."""
    receiver, _port = processes.receiver(Ring.create(1 << 20), access=Access(KEY, USERS))
    for name in ("cmdline", "environ"):
        shown = Path(f"/proc/{receiver.process.pid}/{name}").read_bytes()
        assert KEY not in shown
        assert USERS[0][1] not in shown
    assert os.getpid() != receiver.process.pid
    assert receiver.stop() == 0
