from typing import Protocol

from capture.ring import Consumer
from emit.records import HttpSpec
from emit.sieve import Sieve

class Observer(Protocol):
    def sent(self, id: int, method: bytes, target: bytes) -> None: ...  # noqa: A002  # its name everywhere
    def original(self, id: int, status: int, ns: int) -> None: ...  # noqa: A002
    def answered(self, id: int, status: int, size: int, latency_ns: int) -> None: ...  # noqa: A002
    def failed(self, id: int, reason: str) -> None: ...  # noqa: A002

class Requests:
    spec: HttpSpec
    queued: int
    queued_bytes: int
    counts: dict[str, int]
    def __init__(self, spec: HttpSpec, consumer: Consumer, sieve: Sieve | None, observer: Observer | None) -> None: ...
    @property
    def hungry(self) -> bool: ...
    def take(self, cursor: int, head: int) -> int: ...
    def take_counts(self) -> dict[str, int]: ...
    def safe(self, cursor: int) -> int: ...
    def let_go(self, cursor: int) -> None: ...
    def abandon_part(self) -> None: ...
