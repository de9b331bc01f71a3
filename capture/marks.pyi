from typing import Final

from capture.counters import Counters
from capture.ring import Ring

MARK_COUNTERS: Final[tuple[str, ...]]

class Mark:
    amount: int
    def __init__(self, page: Counters | None = None) -> None: ...
    def note(self, position: int, amount: int) -> None: ...
    def recover(self, ring: Ring) -> int: ...
