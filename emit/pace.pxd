"""C face of the schedule of a replay."""

from libc.stdint cimport int64_t, uint64_t

from capture.memory cimport Memory


cdef struct Start:           # table in emit/pace.pyx
    int64_t begun_ns
    int64_t captured_ns
    uint64_t requests
    uint64_t[5] reserved


cdef class Pace:
    cdef readonly Memory memory
    cdef Start* start                        # borrowed: in memory
    cdef readonly double speed
    cdef readonly double rate
    cdef readonly double ramp_s
    cdef int64_t due(self, int64_t captured_ns, int64_t now_ns) noexcept nogil
    cdef int64_t ramped(self, double steady_s) noexcept nogil
