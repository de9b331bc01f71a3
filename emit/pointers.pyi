from collections.abc import Sequence

MOST_TOKENS: int
MOST_DEPTH: int

def tokens(pointer: str) -> tuple[str, ...]: ...

class Pointers:
    def __init__(self, pointers: Sequence[str]) -> None: ...
    def find(self, text: bytes) -> list[tuple[int, int, int]]: ...
