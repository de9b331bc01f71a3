"""C face of the selection: which packets are taken, and which connections are wanted."""

from libc.stdint cimport uint8_t, uint16_t, uint64_t

from assemble.decode cimport Packet
from assemble.tally cimport Tally


cdef struct Net:              # addresses that share their first `bits`
    uint8_t[16] address
    uint16_t port             # of an output; 0: any
    uint8_t bits
    uint8_t ipv6

cdef class Nets:
    cdef Net* nets            # owned
    cdef size_t count
    cdef bint has(self, const uint8_t* address, uint8_t ipv6, uint16_t port) noexcept nogil

cdef class Selection:
    cdef bint any_port
    cdef uint8_t[65536] watched
    cdef Nets hosts
    cdef Nets own
    cdef Nets ours
    cdef int direction
    cdef uint64_t threshold   # hashes from here on are left out; 0: none is
    cdef bint plain           # nothing but ports is asked for
    cdef bint on_port(self, const Packet* packet) noexcept nogil
    cdef Tally judge(self, const Packet* packet) noexcept nogil
    cdef bint leaves_out(self, const Packet* packet) noexcept nogil
    cdef bint opens(self, const Packet* packet) noexcept nogil
