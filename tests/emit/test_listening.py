"""The listening socket, also when there are no descriptors for what comes."""

import contextlib
import os
import resource
import select
import socket
from collections.abc import Iterator

import pytest

from capture.errors import MirrorError
from emit.listening import MOST_A_TURN, Listener


@contextlib.contextmanager
def listener() -> Iterator[tuple[Listener, select.epoll]]:
    """Listen."""
    with select.epoll() as poller:
        made = Listener("127.0.0.1", 0, poller)
        try:
            yield made, poller
        finally:
            made.close()


def test_a_turn_accepts_a_bounded_number():
    """A flood of connections must not keep those waiting that are there."""
    with listener() as (made, _poller), contextlib.ExitStack() as held:
        for _ in range(MOST_A_TURN + 1):
            held.enter_context(socket.create_connection(made.address, timeout=10))
        accepted = [held.enter_context(each) for each, _address in made.accept()]
        assert len(accepted) == MOST_A_TURN
        [(last, _address)] = made.accept()
        last.close()


def test_without_descriptors_it_rests(caplog):
    """The connection waits in the kernel; a loop that tried for ever would take a whole core."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with listener() as (made, poller), socket.create_connection(made.address, timeout=10):
        assert poller.poll(10)
        lowest = os.dup(0)
        os.close(lowest)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
            assert list(made.accept()) == []
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert poller.poll(0) == []
        made.wake()
        assert poller.poll(10)
        [(accepted, _address)] = made.accept()
        accepted.close()
    assert [entry.getMessage() for entry in caplog.records] == [
        "no connection can be accepted for now: too many open files"
    ]


def test_what_cannot_be_bound_is_one_line():
    """Not a traceback: which address, and why."""
    with listener() as (made, poller), pytest.raises(MirrorError, match=r"cannot listen on 127\.0\.0\.1:\d+: address"):
        Listener(*made.address, poller)
