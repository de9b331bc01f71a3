"""Whether, and when, a child that has died is started again (DESIGN 11); no process, no clock.

In: how it ended, and how far its rings had come.  Out: after how long its successor is started, or that it is none.
"""

import signal
from typing import Final

from capture.ring import Consumer
from pipeline.wiring import Stage

FIRST_S: Final = 0.05
LONGEST_S: Final = 5.0
MOST_DEATHS: Final = 8
"""In a row, without progress; the last waits are long, so that this takes several seconds."""
LONG_LIFE_S: Final = 10.0
OWN_SIGNALS: Final = frozenset(
    {
        signal.SIGSEGV,
        signal.SIGBUS,
        signal.SIGABRT,
        signal.SIGFPE,
        signal.SIGILL,
        signal.SIGSYS,
        signal.SIGTRAP,
        signal.SIGXCPU,
    }
)
"""What a process does to itself; others come from outside."""


def of_itself(code: int) -> bool:
    """Whether a child that ended with this exit code died by its own doing."""
    return code > 0 or -code in OWN_SIGNALS


def reached(stage: Stage) -> int:
    """Return a number that grows while a stage gets on: bytes released and written of its rings."""
    released = sum(Consumer(ring).tail for ring in stage.reads)
    return released + sum(Consumer(ring).head for ring in stage.writes)


class Deaths:
    """What is known of one stage's processes that have died."""

    def __init__(self) -> None:
        self.total = 0
        self.in_row = 0  # without progress between them
        self.reached = -1

    def note(self, reached: int, lived_s: float) -> float | None:
        """Note one more; return after how many seconds another is started, None: this leads nowhere."""
        self.total += 1
        self.in_row = 1 if reached != self.reached or lived_s >= LONG_LIFE_S else self.in_row + 1
        self.reached = reached
        if self.in_row >= MOST_DEATHS:
            return None
        return float(min(FIRST_S * 2 ** (self.in_row - 1), LONGEST_S))

    def forgive(self) -> float:
        """Note one that came of another's; return what `note` does."""
        self.total += 1
        return FIRST_S
