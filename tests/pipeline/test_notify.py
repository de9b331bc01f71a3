"""The service manager's protocol, with a socket in its place."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path: Path, monkeypatch) -> Iterator[socket.socket]:
    """A manager that listens, and what it puts into the environment."""
    address = str(tmp_path / "notify") if request.param == "path" else f"@ringtap-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(address.replace("@", "\0"))
        listening.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        yield listening


def said(manager: socket.socket) -> list[str]:
    """Everything that has come."""
    manager.setblocking(False)
    found = []
    try:
        while True:
            found.append(manager.recv(4096).decode())
    except BlockingIOError:
        return found


def test_every_state_is_told_in_the_words_of_the_protocol(manager):
    """A unit of type notify waits for the first of them, and then for ever."""
    notifier = Notifier.from_environment()
    notifier.ready()
    notifier.status("all well")
    notifier.reloading()
    notifier.stopping()
    notifier.close()
    first, second, third, fourth = said(manager)
    assert (first, second, fourth) == ("READY=1", "STATUS=all well", "STOPPING=1")
    reloading, moment = third.split("\n")
    assert reloading == "RELOADING=1"
    assert moment.removeprefix("MONOTONIC_USEC=").isdigit()


def test_children_do_not_have_the_socket(manager, monkeypatch):
    """Else any of them could say that all is well."""
    monkeypatch.setenv("WATCHDOG_USEC", "1000000")
    Notifier.from_environment().close()
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} & set(os.environ)


def test_signs_of_life_come_in_half_of_the_time_and_not_more(manager):
    """The loop runs ten times a second; the manager need not."""
    now_s = [0.0]
    notifier = Notifier(os.environ["NOTIFY_SOCKET"], 10.0, lambda: now_s[0])
    for now_s[0] in (0.0, 1.0, 4.9, 5.0, 9.9, 10.0, 10.1):
        notifier.watchdog()
    notifier.close()
    assert said(manager) == ["WATCHDOG=1"] * 3


@pytest.mark.parametrize(
    ("environment", "beats"),
    [
        ({}, 0),
        ({"WATCHDOG_USEC": "2000000"}, 1),
        ({"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": str(os.getpid())}, 1),
        ({"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "1"}, 0),
        ({"WATCHDOG_USEC": "nonsense"}, 0),
        ({"WATCHDOG_USEC": "0"}, 0),
    ],
)
def test_a_watchdog_is_fed_only_if_it_is_ours(manager, monkeypatch, environment, beats):
    """It may be that of whoever started us."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    notifier = Notifier.from_environment()
    notifier.watchdog()
    notifier.close()
    assert said(manager) == ["WATCHDOG=1"] * beats


def test_without_a_manager_nothing_is_said(monkeypatch):
    """On a terminal, in a container, in tests."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notifier = Notifier.from_environment()
    notifier.ready()
    notifier.watchdog()
    notifier.close()


@pytest.mark.parametrize("address", ["/no/such/socket", "@ringtap-nobody", ""])
def test_a_manager_that_is_gone_is_no_error(address):
    """It may be restarted, or its socket be out of our reach: the traffic is mirrored all the same."""
    notifier = Notifier(address or None, 1.0)
    notifier.ready()
    notifier.watchdog()
    notifier.close()
