"""What is said on a connection: two byte streams, the messages in them, and the steps in which they are said.

Invariant: every byte of a stream belongs to one Spoken message, to empty lines before one, or to what is no HTTP.
"""

from dataclasses import dataclass, field
from typing import Final

CLIENT: Final = True
SERVER: Final = False


@dataclass
class Spoken:
    """One message as it is said; offsets count from the beginning of its side's stream."""

    side: bool
    exchange: int
    start: int
    start_len: int
    head_len: int
    end: int
    framing: str  # none, length, chunked, close
    method: bytes | None = None
    target: bytes | None = None
    status: int | None = None
    soft: list[tuple[int, int]] = field(default_factory=list)  # ranges whose content does not matter to framing
    cut: bool = False  # the stream ends in it
    refused: bool = False  # its framing is invalid: nothing comes out
    soft_end: int = 0  # where it would have ended


@dataclass
class Step:
    """One side says everything up to `end`; `heard`: it has received all that the other side said before."""

    side: bool
    end: int
    heard: bool = True
    least: int = 0  # it has received this much of the other side's stream in any case


@dataclass
class Conversation:
    """All that is said on one connection, in the order in which it can be said."""

    plain: bool
    streams: dict[bool, bytearray] = field(default_factory=lambda: {CLIENT: bytearray(), SERVER: bytearray()})
    steps: list[Step] = field(default_factory=list)
    spoken: list[Spoken] = field(default_factory=list)
    pipelined: bool = False
    interim: set[int] = field(default_factory=set)  # exchanges with 1xx responses
    over: bool = False  # nothing more can be said
    rests: set[tuple[int, int]] = field(default_factory=set)  # how far both sides are between exchanges
    until_close: bool = False  # the last response ends with the server's FIN
    prompt: bool = False  # a tunnel is used before it is granted: nobody waits longer for that than a tap does

    def say(self, side: bool, end: int | None = None, *, heard: bool = True, least: int = 0) -> None:
        """Note that a side now says what was written, up to `end`."""
        self.steps.append(Step(side, len(self.streams[side]) if end is None else end, heard, least))
