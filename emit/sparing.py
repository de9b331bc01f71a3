"""Keeps a flood of bad connections from becoming a flood of log lines: the first are written, the rest are counted.

In: log records.  Out: whether each is written, and how many were not.  Invariant: only warnings are left out, and each
that is left out is counted.
"""

import logging
from typing import Final

log = logging.getLogger(__name__)

MOST: Final = 20
"""Warnings in a row that are written, all of them."""
EVERY_S: Final = 1.0
"""After these, one in so long a time."""


class Sparing(logging.Filter):
    """Lets warnings through as long as they are few; errors and what is merely told always pass."""

    def __init__(self) -> None:
        super().__init__()
        self.left: float = MOST
        self.seen_s: float | None = None
        self.left_out = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is written; by its own time, which may be set back."""
        if record.levelno != logging.WARNING or record.name == __name__:
            return True
        if self.seen_s is not None:
            self.left = min(self.left + max(record.created - self.seen_s, 0.0) / EVERY_S, MOST)
        self.seen_s = record.created
        if self.left < 1:
            self.left_out += 1
            return False
        self.left -= 1
        return True

    def tell(self) -> None:
        """Say how many were left out since the last call."""
        if self.left_out:
            log.warning("%d more warnings are left out", self.left_out)
            self.left_out = 0
