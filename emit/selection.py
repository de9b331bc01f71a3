"""Which messages of files are read, and how often: what a configuration says of a file input.

In: nothing.  Out: plain values, which travel to the process that reads.
"""

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

Format = Literal["recording", "jsonl", "gor", "har"]
LONGEST_MESSAGE: Final = 128 * 1024 * 1024
FOREVER: Final = 0


class Moment(NamedTuple):
    """A time, or a time after the first message."""

    ns: int
    relative: bool = False

    def after(self, first_ns: int) -> int:
        """Return it as a time."""
        return first_ns + self.ns if self.relative else self.ns


@dataclass(frozen=True, slots=True)
class Selection:
    """What of the files is wanted, and how often."""

    format: Format | Literal["auto"] = "auto"
    start: Moment | None = None
    end: Moment | None = None
    loop: int = 1  # rounds; 0: for ever
    longest_gap_ns: int | None = None
    most_bytes: int = LONGEST_MESSAGE  # of a message


EVERYTHING: Final = Selection()
