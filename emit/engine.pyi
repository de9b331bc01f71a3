from collections import deque
from typing import Any

from capture.ring import Consumer
from emit.breaker import Breaker
from emit.records import HttpSpec
from emit.requests import Observer, Requests
from emit.sieve import Sieve
from emit.target import Target

class Engine(Requests):
    breaker: Breaker
    fd: int
    busy: bool
    trouble: str | None
    answers: deque[Any]
    lateness: Any
    def __init__(
        self, spec: HttpSpec, consumer: Consumer, sieve: Sieve | None, observer: Observer | None, target: Target
    ) -> None: ...
    @property
    def connected(self) -> int: ...
    @property
    def quiet(self) -> bool: ...
    def turn(self) -> None: ...
    def deadline_ns(self) -> int | None: ...
    def descriptors(self) -> dict[int, int]: ...
    def leave(self) -> None: ...
    def close(self) -> None: ...
