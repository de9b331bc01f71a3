"""Whether a target can be reached, and when to try again: back-off with jitter, and giving up what waits.

In: how attempts to connect ended, on the monotonic clock.  Out: when the next is due; `broken`, while requests are
given up at once.  Invariant: while nothing is reached, one attempt follows another, at the latest after MOST_NS.
"""

import random
from typing import Final

FIRST_NS: Final = 100_000_000
MOST_NS: Final = 2_000_000_000


class Breaker:
    """What is known of a target; it is taken to be there until an attempt fails."""

    def __init__(self, retry_ns: int) -> None:
        self.retry_ns = retry_ns
        self.down_ns: int | None = None  # since when nothing was reached
        self.next_ns = 0  # when the next attempt is due
        self.broken = False  # for so long that nothing waits for it any more
        self.failures = 0

    @property
    def down(self) -> bool:
        """Whether the latest attempt failed."""
        return self.down_ns is not None

    def may_try(self, now_ns: int, trying: int) -> bool:
        """Tell whether to connect now, while so many other attempts are under way."""
        return self.down_ns is None or (now_ns >= self.next_ns and trying == 0)

    def failed(self, now_ns: int) -> None:
        """Note that an attempt failed."""
        if self.down_ns is None:
            self.down_ns = now_ns
        self.failures += 1
        wait_ns = min(FIRST_NS << min(self.failures - 1, 10), MOST_NS)
        self.next_ns = now_ns + int(wait_ns * random.uniform(0.5, 1.0))  # noqa: S311  # spreads attempts, no secret
        self.broken = now_ns - self.down_ns >= self.retry_ns

    def reached(self) -> None:
        """Note that there is a connection."""
        self.down_ns, self.next_ns, self.broken, self.failures = None, 0, False, 0
