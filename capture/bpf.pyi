from collections.abc import Sequence

from typing_extensions import Buffer

class Program:
    def __init__(self, instructions: Sequence[tuple[int, int, int, int]]) -> None: ...
    def matches(self, packet: Buffer, wirelen: int) -> bool: ...
