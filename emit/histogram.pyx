"""How long things took: a histogram of fixed size whose percentiles are right to 1 % from 1 µs to an hour.

In: times in nanoseconds.  Out: percentiles.  Each octave has 64 buckets of the same width, so that a bucket is 1/64 of
the time it begins with, or less, and its middle is off by half of that.  Invariant: merging adds counts, so order and
grouping do not matter.
"""

from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy


cdef class Histogram:
    """Counts of times."""

    def __cinit__(self):
        self.at = <uint64_t*>calloc(BUCKETS, sizeof(uint64_t))
        if self.at == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.at)

    cdef void load(self, const uint64_t* counts) noexcept nogil:
        """Take over counts, BUCKETS of them."""
        memcpy(self.at, counts, BUCKETS * sizeof(uint64_t))

    def add(self, int64_t ns, uint64_t times=1):
        """Count a time, however odd."""
        self.at[bucket_of(ns)] += times

    def merge(self, Histogram other not None):
        """Add what another has counted."""
        cdef size_t bucket
        for bucket in range(BUCKETS):
            self.at[bucket] += other.at[bucket]

    @property
    def count(self):
        """How many times there are."""
        cdef uint64_t count = 0
        cdef size_t bucket
        for bucket in range(BUCKETS):
            count += self.at[bucket]
        return count

    def percentile(self, double percent):
        """Return the time in nanoseconds that so many percent do not exceed; None if there is none."""
        cdef uint64_t count = self.count
        cdef double wanted = count * percent / 100
        cdef uint64_t seen = 0
        cdef size_t bucket
        if count == 0:
            return None
        for bucket in range(BUCKETS):
            seen += self.at[bucket]
            if seen and seen >= wanted:
                return middle_of(bucket)
        return middle_of(BUCKETS - 1)

    def __eq__(self, other):
        if not isinstance(other, Histogram):
            return NotImplemented
        return self.counts() == other.counts()

    __hash__ = None

    def counts(self):
        """Return how often each time was counted, by the middle of its bucket; shortest first."""
        cdef size_t bucket
        return {middle_of(bucket): self.at[bucket] for bucket in range(BUCKETS) if self.at[bucket]}

    def __repr__(self):
        return f"Histogram({self.counts()})"
