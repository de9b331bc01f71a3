"""C face of the HTTP/1.x framer: in-order bytes of the halves in, messages out."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from assemble.flows cimport Flow, Half
from assemble.collect cimport Origin
from assemble.framing cimport Verdict
from assemble.searching cimport Searching
from assemble.tally cimport Tally


cdef class Http1Framer(Searching):
    cdef uint64_t max_header
    cdef size_t take(self, Flow* flow, int side, const uint8_t* p, size_t n, Origin origin) noexcept nogil
    cdef bint resume(self, Flow* flow, int side, bint force) noexcept nogil
    cdef void pass_gap(self, Flow* flow, int side, uint64_t size) noexcept nogil
    cdef void finish(self, Flow* flow, int side, bint whole, uint64_t cut) noexcept nogil

    cdef size_t start(self, Flow* flow, int side, const uint8_t* p, size_t n, Origin origin) noexcept nogil
    cdef size_t more_head(self, Flow* flow, int side, const uint8_t* p, size_t n, Origin origin) noexcept nogil
    cdef size_t more_body(self, Flow* flow, int side, const uint8_t* p, size_t n, Origin origin) noexcept nogil
    cdef void head_ready(self, Flow* flow, int side, Verdict verdict) noexcept nogil
    cdef bint start_line_holds(self, Flow* flow, Half* half, size_t fresh) noexcept nogil
    cdef void check_long_line(self, Half* half) noexcept nogil
    cdef void give_up_head(self, Half* half) noexcept nogil
    cdef void pass_gap_in_body(self, Flow* flow, int side, uint64_t size) noexcept nogil
    cdef void after_cut(self, Flow* flow, int side) noexcept nogil
    cdef void cut_head(self, Flow* flow, int side, uint64_t missing) noexcept nogil
    cdef void after_message(self, Flow* flow, int side) noexcept nogil
    cdef void break_body(self, Flow* flow, int side, size_t used) noexcept nogil
