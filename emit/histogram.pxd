"""C face of the histogram: how times are put into buckets."""

from libc.stdint cimport int64_t, uint64_t


cdef extern from *:
    int __builtin_clzll(unsigned long long n) noexcept nogil

cdef enum:
    FIRST_OCTAVE = 9                        # 512 ns; what is shorter is in bucket 0
    OCTAVES = 33                            # up to 2**42 ns, 73 minutes; what is longer is in the last bucket
    STEPS = 64                              # buckets of an octave
    BUCKETS = 1 + OCTAVES * STEPS


cdef inline size_t bucket_of(int64_t ns) noexcept nogil:
    """Return the bucket of a time."""
    cdef int octave
    if ns < <int64_t>1 << FIRST_OCTAVE:
        return 0
    if ns >= <int64_t>1 << (FIRST_OCTAVE + OCTAVES):
        return BUCKETS - 1
    octave = 63 - __builtin_clzll(<unsigned long long>ns)
    return 1 + (octave - FIRST_OCTAVE) * STEPS + ((ns >> (octave - 6)) & (STEPS - 1))


cdef inline int64_t middle_of(size_t bucket) noexcept nogil:
    """Return the time that a bucket stands for: half way between its ends."""
    cdef size_t octave, step
    if bucket == 0:
        return 0
    octave = FIRST_OCTAVE + (bucket - 1) // STEPS
    step = (bucket - 1) % STEPS
    return <int64_t>((2 * (STEPS + step) + 1) << (octave - 7))


cdef class Histogram:
    cdef uint64_t* at             # BUCKETS counts; owned, freed in __dealloc__
    cdef void load(self, const uint64_t* counts) noexcept nogil
