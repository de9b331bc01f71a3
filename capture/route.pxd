"""C face of the route: to be implemented by whoever knows flows."""

from libc.stdint cimport int64_t, uint8_t

from capture.lanes cimport Lanes
from capture.records cimport FrameEntry


cdef class Route:
    cdef void take(self, Lanes lanes, const FrameEntry* entry, const uint8_t* frame) noexcept nogil
    cdef void pass_time(self, Lanes lanes, int64_t ts_ns) noexcept nogil
    cdef void end(self) noexcept nogil
