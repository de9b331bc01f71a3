from collections.abc import Iterable

Piece = tuple[int, bytes, bytes, int, int, int, bool, bytes, int]

class Fragments:
    def __init__(self, memory: int = 16777216, timeout_ns: int = 30_000_000_000) -> None: ...

def joined(
    pieces: Iterable[Piece], memory: int = 16777216, timeout_ns: int = 30_000_000_000, finish: bool = True
) -> tuple[list[tuple[int, bytes, int] | None], dict[str, int]]: ...
