"""Steps for tests: plain values, as a worker is told of them, that do one simple thing each."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from assemble.message import Message
from emit.transform import Transform


@dataclass(frozen=True)
class Times:
    """Makes as many of each message as its id says, modulo `modulo`; or always `always`."""

    modulo: int = 4
    always: int | None = None

    def make(self) -> Transform:
        return _Times(self)


class _Times(Transform):
    def __init__(self, spec: Times) -> None:
        self.spec = spec

    def apply(self, message: Message, now_s: float) -> Sequence[Message]:
        count = message.id % self.spec.modulo if self.spec.always is None else self.spec.always
        return [message] * count


@dataclass(frozen=True)
class Suffix:
    """Appends to the body of each message, but for its head as it is."""

    text: bytes

    def make(self) -> Transform:
        return _Suffix(self)


class _Suffix(Transform):
    def __init__(self, spec: Suffix) -> None:
        self.spec = spec

    def apply(self, message: Message, now_s: float) -> Sequence[Message]:
        return [message.with_payload(message.payload + self.spec.text, message.head)]


@dataclass(frozen=True)
class Lazy:
    """Takes a message only when asked for the second time."""

    def make(self) -> Transform:
        return _Lazy()


class _Lazy(Transform):
    def __init__(self) -> None:
        self.asked = 0
        self.now_s = 0.0

    def apply(self, message: Message, now_s: float) -> Sequence[Message] | None:
        self.asked += 1
        self.now_s = now_s
        return [message] if self.asked % 2 == 0 else None

    def deadline(self) -> float | None:
        return self.now_s


@dataclass(frozen=True)
class Room:
    """Holds up to `room` messages for some turns, and gives them back one at a time; every fifth is lost."""

    room: int
    fails_after: int = 1 << 62

    def make(self) -> Transform:
        return RoomStep(self)


@dataclass
class RoomStep(Transform):
    """What `Room` makes."""

    spec: Room
    waiting: deque[Message] = field(default_factory=deque)
    given: int = 0
    taken: int = 0
    asked: int = 0
    ended: bool = False
    holds = True

    def apply(self, message: Message, now_s: float) -> Sequence[Message] | None:
        if len(self.waiting) >= self.spec.room or self.failure:
            return None
        self.given += 1
        self.waiting.append(message)
        return ()

    def collect(self, now_s: float) -> Sequence[Message]:
        self.asked += 1
        if (
            self.failure
            or not self.waiting
            or (len(self.waiting) < self.spec.room and self.asked % 8 and not self.ended)
        ):
            return ()
        message = self.waiting.popleft()
        self.taken += 1
        return () if self.taken % 5 == 0 else [message]

    @property
    def held(self) -> int:
        return len(self.waiting)

    @property
    def failure(self) -> str | None:
        return "the helper has died" if self.given >= self.spec.fails_after else None

    def finish(self) -> None:
        self.ended = True

    def deadline(self) -> float | None:
        return 0.0 if self.waiting else None
