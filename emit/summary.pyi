from typing import Any

from capture.memory import Memory
from emit.totals import Totals

OPEN: int
ENDPOINTS: int
PAIRS: int
REASONS: int
OTHER: str

class Summary:
    memory: Memory
    @staticmethod
    def create() -> Summary: ...
    def __init__(self, memory_fd: int) -> None: ...
    def __reduce__(self) -> tuple[Any, ...]: ...
    def sent(self, id: int, method: bytes, target: bytes, first_ns: int) -> None: ...  # noqa: A002
    def original(self, id: int, status: int, last_ns: int, size: int) -> None: ...  # noqa: A002
    def answered(self, id: int, status: int, size: int, latency_ns: int) -> None: ...  # noqa: A002
    def failed(self, id: int, reason: str) -> None: ...  # noqa: A002
    def late(self, ns: int) -> None: ...
    def reason(self, text: str) -> int: ...
    def totals(self) -> Totals: ...
