from collections import deque

from emit.connections import Connections

Answered = tuple[int, int, int, int, bytes, int, bytes, int, bytes, int, bool]

class Engine(Connections):
    answers: deque[Answered]
    waiting_bytes: int
    def tell_answers(self) -> None: ...
