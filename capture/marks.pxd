"""C face of a mark."""

from libc.stdint cimport uint64_t

from capture.counters cimport Counters


cdef class Mark:
    cdef Counters page
    cdef uint64_t* at              # borrowed: page's, laid out as MARK_COUNTERS says
    cdef void write(self, uint64_t position, uint64_t amount) noexcept nogil
