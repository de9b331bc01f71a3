from typing import Any

from emit.totals import Totals

OPEN: int
ENDPOINTS: int
PAIRS: int
REASONS: int
OTHER: str

class Summary:
    memory_fd: int
    @staticmethod
    def create() -> Summary: ...
    def __init__(self, memory_fd: int) -> None: ...
    def __reduce__(self) -> tuple[Any, ...]: ...
    def sent(self, id: int, method: bytes, target: bytes) -> None: ...  # noqa: A002  # its name everywhere
    def original(self, id: int, status: int, latency_ns: int, size: int = 0) -> None: ...  # noqa: A002
    def answered(self, id: int, status: int, size: int, latency_ns: int) -> None: ...  # noqa: A002
    def failed(self, id: int, reason: str) -> None: ...  # noqa: A002
    def late(self, ns: int) -> None: ...
    def reason(self, text: str) -> int: ...
    def totals(self) -> Totals: ...
