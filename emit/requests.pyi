from capture.ring import Consumer
from emit.answers import AnswerWriter
from emit.records import HttpSpec
from emit.sieve import Sieve
from emit.summary import Summary

class Requests:
    spec: HttpSpec
    queued: int
    queued_bytes: int
    counts: dict[str, int]
    def __init__(
        self,
        spec: HttpSpec,
        consumer: Consumer,
        sieve: Sieve | None,
        summary: Summary | None,
        writer: AnswerWriter | None,
    ) -> None: ...
    @property
    def hungry(self) -> bool: ...
    def take(self, cursor: int, head: int) -> int: ...
    def take_counts(self) -> dict[str, int]: ...
    def safe(self, cursor: int) -> int: ...
    def let_go(self, cursor: int) -> None: ...
    def abandon_part(self) -> None: ...
