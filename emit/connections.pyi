from capture.ring import Consumer
from emit.answers import AnswerWriter
from emit.breaker import Breaker
from emit.records import HttpSpec
from emit.requests import Requests
from emit.sieve import Sieve
from emit.summary import Summary
from emit.upstream import Upstream

class Connections(Requests):
    breaker: Breaker
    trouble: str | None
    fd: int
    busy: bool
    holding: bool
    def __init__(
        self,
        spec: HttpSpec,
        consumer: Consumer,
        sieve: Sieve | None,
        summary: Summary | None,
        writer: AnswerWriter | None,
        upstream: Upstream,
    ) -> None: ...
    @property
    def connected(self) -> int: ...
    @property
    def quiet(self) -> bool: ...
    def hold(self, holding: bool) -> None: ...
    def turn(self) -> None: ...
    def deadline_ns(self) -> int | None: ...
    def descriptors(self) -> dict[int, int]: ...
    def stop(self) -> None: ...
    def leave(self) -> None: ...
    def close(self) -> None: ...
