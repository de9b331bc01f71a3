"""C face of collecting messages: shared by all framers."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from assemble.flows cimport Flow, Half
from assemble.sink cimport MessageSink


cdef struct Origin:          # where a run of in-order bytes came from
    int64_t ts_ns
    uint32_t ack
    uint32_t seq             # of its first byte
    uint8_t has_ack          # False in a SYN with data (TCP Fast Open)

cdef class Collector:
    cdef MessageSink sink
    cdef uint64_t* tally     # borrowed: the assembler's counters
    cdef uint64_t max_message
    cdef bint out_of_memory  # something could not be stored; the assembler raises
    cdef void begin(self, Half* half, Origin origin) noexcept nogil
    cdef void touch(self, Half* half, Origin origin) noexcept nogil
    cdef void keep(self, Half* half, const uint8_t* p, size_t n) noexcept nogil
    cdef bint hold(self, Half* half, const uint8_t* p, size_t n) noexcept nogil
    cdef void let_go(self, Half* half) noexcept nogil
    cdef void dispatch(self, Flow* flow, int side, const uint8_t* p, size_t n, bint complete) noexcept nogil
