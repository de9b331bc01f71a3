"""C face of looking for message starts."""

from libc.stdint cimport uint8_t


cdef bint find_start(const uint8_t* p, size_t n, size_t scanned, uint8_t wanted, bint at_line,
                     size_t* start) noexcept nogil
cdef size_t possible_start(const uint8_t* p, size_t n) noexcept nogil
cdef bint any_space(const uint8_t* p, size_t n) noexcept nogil
