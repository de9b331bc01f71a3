"""Packet time: when timers are looked at, the same for whoever sees all the frames."""

from libc.stdint cimport int64_t


cdef enum:
    TICK_NS = 50_000_000


cdef inline bint is_due(int64_t* tick_ns, int64_t ts_ns) noexcept nogil:
    """Tell whether it is time to look at the timers; `tick_ns` is when next, 0 at first."""
    if ts_ns < tick_ns[0] or ts_ns <= 0:
        return False
    tick_ns[0] = ts_ns + TICK_NS
    return True
