"""Recorded sessions of other implementations, byte for byte as they were cut, against our receiver and our sender."""

import socket
import threading
from typing import Any

import pytest

from capture.ring import Ring
from emit.records import Access, Login, OutputSpec
from tests.emit.builders import conversation, drain, ring_of
from tests.emit.processes import Processes, wait_until
from tests.integration.forward import (
    KEY,
    PASSWORD,
    RECORDED,
    USER,
    Peer,
    Session,
    digest,
    entries_of,
    objects,
    play_client,
    sessions,
)

pytestmark = pytest.mark.skipif(not RECORDED.is_dir(), reason="the recorded sessions are not beside the checkout")


@pytest.mark.parametrize("session", sessions("*.jsonl"), ids=lambda session: session.name)
def test_a_recorded_client_is_answered_as_its_server_answered(session: Session, processes: Processes):
    """Fluentd, Fluent Bit and two libraries: every chunk is acknowledged, every record counted, none taken for ours."""
    said = session.said("c2s")
    guarded = bool(said) and said[0][0] == b"PING"
    frames = said[1:] if guarded else said
    wanted = [answer for answer in session.said("s2c") if isinstance(answer, dict)]
    ring = Ring.create(1 << 20)
    users = ((USER, PASSWORD),) if guarded and said[0][4] else ()
    receiver, port = processes.receiver(ring, access=Access(KEY, users) if guarded else None)
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        peer = Peer(connection)
        answers = list(play_client(session, peer))
        if guarded:
            pong = answers.pop(0)
            assert pong[:3] == [b"PONG", True, b""]
            assert len(pong) == 5
        assert answers == wanted
        if session.pieces[-1][1]:  # the recording ends before the connection does
            peer.send(b"")
        assert peer.rest() == b""
    records = sum(len(entries_of(frame)) for frame in frames)
    assert records
    wait_until(lambda: receiver.counters["records"] == records, "all records are counted")
    assert receiver.stop() == 0
    assert receiver.counters["chunks"] == len(frames)
    assert receiver.counters["records_refused"] == records
    assert receiver.counters["connections_failed"] == receiver.counters["messages"] == 0
    assert drain(ring) == []


@pytest.mark.parametrize("session", sessions("*auth*.jsonl"), ids=lambda session: session.name)
def test_a_recorded_client_with_another_key_is_let_in_nowhere(session: Session, processes: Processes):
    """The same bytes: what its server accepted proves nothing to one with another nonce."""
    receiver, port = processes.receiver(Ring.create(1 << 20), access=Access(KEY))
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        peer = Peer(connection)
        assert peer.next()[0] == b"HELO"
        peer.send(b"".join(data for side, data in session.pieces if side == "c2s")[:2000])
        assert peer.next()[:3] == [b"PONG", False, b"shared key mismatch"]
    wait_until(lambda: receiver.counters["connections_failed"] == 1, "the count")
    assert receiver.counters["records"] == 0
    assert receiver.stop() == 0


class Played:
    """A recorded server, but for the proof and the chunk ids, which follow from what our sender says."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(20)
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.frames: list[Any] = []
        self.ping: list[Any] = []
        self.faults: list[BaseException] = []
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        """Serve one connection as it was recorded; a fault is the test's."""
        try:
            with self.listener.accept()[0] as connection:
                self.serve(Peer(connection))
        except BaseException as error:  # raised by `end`
            self.faults.append(error)

    def serve(self, peer: Peer) -> None:
        """Play what the server said, each piece when the client's turn before it is over."""
        helo, answers = self.session.said("s2c")[0], [data for side, data in self.session.pieces if side == "s2c"]
        recorded = self.session.said("c2s")
        peer.send(answers[0])
        self.ping = peer.next()
        _ping, host, salt, proof, user, password = self.ping
        assert proof == digest(salt, host, helo[1][b"nonce"], KEY)
        assert (user, password) == (USER, digest(helo[1][b"auth"], USER, PASSWORD))
        pong = objects(answers[1])[0]
        peer.send(answers[1].replace(pong[4], digest(salt, pong[3], helo[1][b"nonce"], KEY)))
        chunk = recorded[1][2][b"chunk"]
        while len(self.frames) < 2:
            self.frames.append(peer.next())
            peer.send(answers[2].replace(chunk, self.frames[-1][2][b"chunk"]))
        assert peer.rest() == b""

    def end(self) -> None:
        """Wait for the end, and raise what went wrong."""
        self.thread.join(30)
        self.listener.close()
        assert not self.thread.is_alive()
        if self.faults:
            raise self.faults[0]


@pytest.mark.parametrize("session", sessions("testclient-to-*.jsonl"), ids=lambda session: session.name)
def test_our_sender_understands_recorded_servers(session: Session, processes: Processes):
    """How fluentd and Fluent Bit greet, let in and acknowledge, to the byte."""
    made = conversation(20)
    server = Played(session)
    login = Login(KEY, USER, PASSWORD)
    sender = processes.worker(ring_of(made), OutputSpec("tcp", 0, address=server.address, login=login))
    try:
        assert sender.end() == 0
    finally:
        server.end()
    assert sender.counters["output0_delivered"] == 20
    assert sender.counters["output0_reconnects"] == 0
    assert [frame[0] for frame in server.frames] == [b"ringtap.request", b"ringtap.response"]
    assert [len(entries_of(frame)) for frame in server.frames] == [10, 10]
