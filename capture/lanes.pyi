from collections.abc import Sequence

from capture.counters import Counters
from capture.marks import Mark
from capture.ring import Ring

LEAST_RECORD: int

class Lanes:
    count: int
    largest: int
    records: int
    dropped_frames: int
    dropped_bytes: int
    behind: int
    def __init__(
        self,
        rings: Sequence[Ring],
        batch_frames: int,
        batch_bytes: int,
        drop: bool = False,
        marks: Sequence[Mark] | None = None,
    ) -> None: ...
    def show_life(self, page: Counters, name: str) -> None: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...
