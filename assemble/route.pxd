"""C face of the route by flow."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from assemble.clock cimport Clock
from assemble.decode cimport Decoder
from capture.counters cimport Counters
from capture.lanes cimport Lanes
from capture.records cimport FrameEntry
from capture.route cimport Route


cdef class FlowRoute(Route):
    cdef readonly object settings
    cdef readonly Counters page
    cdef uint64_t* tally        # borrowed from page
    cdef Decoder decoder
    cdef uint32_t count
    cdef Clock clock
    cdef void sort(self, Lanes lanes, const FrameEntry* entry, uint16_t link, const uint8_t* frame,
                   size_t size) noexcept nogil
    cdef int64_t look(self, Lanes lanes, int64_t ts_ns) noexcept nogil
    cdef void pass_on(self, Lanes lanes, int64_t now_ns) noexcept nogil
    cdef void take_rare(self, Lanes lanes, const FrameEntry* entry, const uint8_t* frame) noexcept with gil
