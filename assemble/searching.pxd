"""C face of looking for message starts."""

from libc.stdint cimport uint8_t

from assemble.collect cimport Origin
from assemble.flows cimport Flow, Half
from assemble.opening cimport Opening
from assemble.tally cimport Tally


cdef class Searching(Opening):
    cdef size_t look(self, Flow* flow, int side, const uint8_t* p, size_t n, Origin origin) noexcept nogil
    cdef void skip_looking(self, Half* half, const uint8_t* p, size_t n) noexcept nogil
    cdef void look_for_start(self, Half* half, Tally reason) noexcept nogil

    cdef void drop_older(self, Half* half, size_t start) noexcept nogil
    cdef size_t look_here(self, Half* half, const uint8_t* p, size_t n, Origin origin) noexcept nogil
