from typing import Literal

class Answer:
    status: int
    keeps: bool
    head: int
    size: int
    def expect(self, to_head: bool = False, to_connect: bool = False) -> None: ...
    def take(self, data: bytes) -> tuple[Literal["more", "interim", "ended", "broken"], int]: ...
    def at_end(self) -> Literal["ended", "broken"]: ...
