"""A token bucket: how many exchanges an output may have now (docs/filters.md).

In: the time, which only its caller knows.  Out: tokens.  Invariant: over any time, no more of them than the rate allows
for it and the bucket holds.
"""

BURST_S = 1.0
"""What a bucket without waiting holds: a second with no more than the rate in it loses nothing."""
PACED_BURST_S = 0.1
"""What a bucket holds where messages wait: they come evenly."""

cdef double NEARLY = 1.0 - 1e-9     # a token, but for rounding


cdef class Bucket:
    """It is full at first."""

    def __cinit__(self, double rate, bint waits):
        self.rate = rate
        self.waits = waits
        self.most = max(1.0, rate * (PACED_BURST_S if waits else BURST_S))
        self.tokens = self.most

    cdef bint take(self) noexcept nogil:
        """Take a token, if there is one."""
        if self.tokens < NEARLY:
            return False
        self.tokens -= 1.0
        return True

    def tick(self, double now_s):
        """Add the tokens that are due by now; the first call says when time begins."""
        if self.at_s and now_s > self.at_s:
            self.tokens = min(self.most, self.tokens + (now_s - self.at_s) * self.rate)
        self.at_s = max(self.at_s, now_s)

    def next_s(self):
        """Return when there is a token."""
        return self.at_s + max(0.0, 1.0 - self.tokens) / self.rate
