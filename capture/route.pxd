"""C face of the route: to be implemented by whoever knows flows."""

from libc.stdint cimport uint8_t

from capture.lanes cimport Lanes
from capture.records cimport FrameEntry


cdef class Route:
    cdef void take(self, Lanes lanes, const FrameEntry* entry, const uint8_t* frame) noexcept nogil
    cdef void end(self) noexcept nogil
