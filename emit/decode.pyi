from collections.abc import Iterable
from typing import Literal

from typing_extensions import Buffer

from capture.ring import Producer

class Decoder:
    producers: list[Producer]
    part_bytes: int
    records: int
    refused: int
    messages: int
    message_bytes: int
    full: int
    full_bytes: int
    def __init__(self, producers: Iterable[Producer]) -> None: ...
    def show(self) -> None: ...
    def run(
        self, entries: Buffer, at: int, show: bool = True
    ) -> tuple[int, Literal["full", "large", "more"] | None, list[int]]: ...
    def take_large(self) -> tuple[int, bytes, bytes]: ...
    def block(self, ring: int, blocked: bool) -> None: ...
    def take_counts(self) -> tuple[int, int, int, int]: ...
