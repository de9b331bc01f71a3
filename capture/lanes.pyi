from collections.abc import Sequence

from capture.ring import Ring

LEAST_RECORD: int

class Lanes:
    count: int
    largest: int
    records: int
    dropped_frames: int
    dropped_bytes: int
    def __init__(self, rings: Sequence[Ring], batch_frames: int, batch_bytes: int, drop: bool = False) -> None: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...
