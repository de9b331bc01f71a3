"""One connection: what becomes of it, in words for the operator."""

import select
import socket

import pytest

from emit.link import Link, Stage, split_address
from tests.emit.processes import free_port, wait_until


def settle(link: Link) -> Link:
    """Wait until a connection attempt has ended."""
    if link.stage is Stage.CONNECTING:
        poller = select.poll()
        poller.register(link.fileno(), link.events(more=False))
        assert poller.poll(5000)
        link.answered(1.0)
    return link


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1:24224", ("127.0.0.1", 24224)),
        ("[::1]:1", ("::1", 1)),
        ("host.example:65535", ("host.example", 65535)),
    ],
)
def test_addresses_are_split(address: str, expected: tuple[str, int]):
    """As they are written in the configuration."""
    assert split_address(address) == expected


def test_a_connection_opens_carries_and_is_lost():
    """The whole life of one."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        link = Link(f"127.0.0.1:{listener.getsockname()[1]}")
        link.connect(0.0)
        assert settle(link).stage is Stage.OPEN
        peer, _address = listener.accept()
        link.begin(b"hello")
        assert link.push(2.0)
        assert peer.recv(10) == b"hello"
        assert link.wrote_s == 2.0
        assert link.pull() == b""
        peer.sendall(b"ack")
        assert wait_until(link.pull, "the answer") == b"ack"
        peer.close()
        wait_until(lambda: link.pull() or link.lost, "the end")
    assert link.lost == "the receiver closed the connection"
    assert link.stage is Stage.DOWN
    assert link.fileno() == -1


def test_an_answer_is_acknowledged_at_once():
    """A receiver under Nagle's rule holds its second answer back until then: 40 ms, if our kernel waits as it likes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        link = Link(f"127.0.0.1:{listener.getsockname()[1]}")
        link.connect(0.0)
        settle(link)
        peer, _address = listener.accept()
        assert link.socket is not None
        for turn in range(3):
            link.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
            link.begin(b"chunk")
            assert link.push(float(turn))
            peer.sendall(b"ack")
            assert wait_until(link.pull, "the answer") == b"ack"
            assert link.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK)
        link.close()
        peer.close()


def test_a_peer_that_does_not_read_takes_a_part():
    """What is left is sent when it reads again, from where it stopped."""
    frame = bytes(range(256)) * 200_000
    with socket.create_server(("127.0.0.1", 0)) as listener:
        link = Link(f"127.0.0.1:{listener.getsockname()[1]}")
        link.connect(0.0)
        settle(link)
        peer, _address = listener.accept()
        link.begin(frame)
        assert not link.push(0.0)
        assert link.events(more=False) & select.POLLOUT
        got = b""
        while len(got) < len(frame):
            if link.frame is not None:
                link.push(0.0)
            got += peer.recv(1 << 20)
        assert got == frame
        assert link.frame is None
        assert not link.events(more=False) & select.POLLOUT
        link.close()
        peer.close()


@pytest.mark.parametrize(
    ("address", "why"),
    [("127.0.0.1:{free}", "connection refused"), ("name.invalid:1", "name.invalid is not known")],
)
def test_a_failure_is_told_in_words(address: str, why: str):
    """It ends up in the error message of the run."""
    link = Link(address.format(free=free_port()))
    link.connect(0.0)
    settle(link)
    assert link.lost is not None
    assert why in link.lost


def test_a_reset_is_told_in_words():
    """So is a connection that the other side throws away."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        link = Link(f"127.0.0.1:{listener.getsockname()[1]}")
        link.connect(0.0)
        settle(link)
        peer, _address = listener.accept()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        peer.close()
        wait_until(lambda: link.pull() or link.lost, "the end")
    assert link.lost == "connection reset by peer"
