"""C face of packet time: when timers are looked at, the same for whoever sees all the frames.

The time that timers run on is a frame's own plus a shift, which is 0 until the clock of the capturing machine is set
back.  What a frame costs is one comparison.
"""

from libc.stdint cimport int64_t, uint64_t


cdef enum:
    TICK_NS = 50_000_000
    KNOWN = 8

cdef enum:
    STEP_NS = 10_000_000_000                # who is this far behind is not late: the clock was set
    SHIFT_MOST_NS = 0x3000000000000000      # with it the last time that there is stays below 2**63

cdef struct Clock:
    int64_t tick_ns         # when timers are looked at next; 0 at first
    int64_t shift_ns        # what is added to the time of a frame: [0, SHIFT_MOST_NS]
    int64_t[8] known        # KNOWN shifts from before, the last one first
    bint led                # a route has seen all the frames, and says what the shift is, and when it is time

cdef int64_t come_to(Clock* clock, int64_t ts_ns) noexcept nogil


cdef inline int64_t time_of(const Clock* clock, int64_t ts_ns) noexcept nogil:
    """Return the time for timers of a frame of time `ts_ns`; it wraps where `is_quiet` says no."""
    return <int64_t>(<uint64_t>ts_ns + <uint64_t>clock.shift_ns)


cdef inline bint is_quiet(const Clock* clock, int64_t now_ns) noexcept nogil:
    """Tell whether a frame of this time is one of many: it is not time yet, and no clock was set; else: `come_to`."""
    return <uint64_t>now_ns - <uint64_t>clock.tick_ns + <uint64_t>STEP_NS < <uint64_t>STEP_NS


cdef inline bint is_due(Clock* clock, int64_t now_ns) noexcept nogil:
    """Tell whether it is time to look at the timers, and note when it is next."""
    if clock.led or now_ns < clock.tick_ns or now_ns <= 0:
        return False
    clock.tick_ns = now_ns + TICK_NS
    return True


cdef inline bint is_told(Clock* clock, int64_t* ts_ns) noexcept nogil:
    """Tell whether it is time by what a silent source tells, and put the time for timers in its place.

    It is no frame: it may come late, or from the clock as it was, and never shows that one was set.
    """
    cdef Clock seen = clock[0]
    ts_ns[0] = come_to(&seen, ts_ns[0])
    return is_due(clock, ts_ns[0])
