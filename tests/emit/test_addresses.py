"""Names are looked up without waiting: a silent resolver must not hold up what other outputs deliver."""

import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from emit import addresses
from emit.addresses import Addresses

FIRST = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 80))]
SECOND = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.2", 80))]


class Resolver:
    """Stands for the system's: answers as told, and only while it is not silent."""

    def __init__(self) -> None:
        self.answer: Any = FIRST
        self.asked = 0
        self.speaks = threading.Event()
        self.speaks.set()

    def __call__(self, *_place: Any, **_more: Any) -> Any:
        self.asked += 1
        assert self.speaks.wait(10)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    """Every answer is old at once."""
    made = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", made)
    monkeypatch.setattr(addresses, "FRESH_S", 0.0)
    yield made
    made.speaks.set()


def test_a_silent_resolver_is_an_error_at_first_and_later_changes_nothing(resolver: Resolver):
    """The far side has not moved because a name server is down."""
    found = Addresses("shop.test", 80)
    resolver.speaks.clear()
    for _ in range(2):
        with pytest.raises(socket.gaierror, match="has not answered yet"):
            found.find()
    assert resolver.asked == 1, "one question at a time"
    resolver.speaks.set()
    assert found.lookup is not None
    found.lookup.join(10)
    assert found.find() == FIRST
    resolver.speaks.clear()
    resolver.answer = SECOND
    assert found.find() == FIRST
    assert found.lookup is not None
    resolver.speaks.set()
    found.lookup.join(10)
    assert found.find() == SECOND


def test_a_temporary_failure_leaves_what_was_known_and_a_name_that_is_gone_does_not(resolver: Resolver):
    """EAI_AGAIN is the resolver's trouble, EAI_NONAME is an answer."""
    found = Addresses("shop.test", 80)
    assert found.find() == FIRST
    resolver.answer = socket.gaierror(socket.EAI_AGAIN, "try again")
    assert found.find() == FIRST
    resolver.answer = socket.gaierror(socket.EAI_NONAME, "not known")
    with pytest.raises(socket.gaierror, match="not known"):
        found.find()


def test_many_connections_ask_once(monkeypatch: pytest.MonkeyPatch):
    """A replay opens hundreds at the same time."""
    resolver = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    monkeypatch.setattr(addresses, "FRESH_S", 3600.0)
    found = Addresses("shop.test", 80)
    assert [found.find() for _ in range(100)] == [FIRST] * 100
    assert resolver.asked == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "fe80::1%lo"])
def test_a_number_is_not_looked_up(host: str, monkeypatch: pytest.MonkeyPatch):
    """No thread, no name server."""
    monkeypatch.setattr(addresses, "Lookup", None)
    assert Addresses(host, 80).find()[0][4][:2][1] == 80


def test_what_cannot_be_a_name_is_an_error_like_any_other():
    """The codec for names has errors of its own."""
    with pytest.raises(OSError, match="not a name"):
        Addresses("a" * 70 + ".test", 80).find()
