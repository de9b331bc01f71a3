"""C face of the HTTP/1.x framer: in-order bytes of the halves in, messages out."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from assemble.flows cimport Flow, Half
from assemble.collect cimport Collector, Origin
from assemble.framing cimport Verdict
from assemble.tally cimport Tally


cdef class Http1Framer(Collector):
    cdef uint64_t max_header
    cdef bint responses
    cdef size_t take(self, Flow* flow, int side, const uint8_t* p, size_t n, Origin origin) noexcept nogil
    cdef bint resume(self, Flow* flow, int side, bint force) noexcept nogil
    cdef void pass_gap(self, Flow* flow, int side, uint64_t size) noexcept nogil
    cdef void finish(self, Flow* flow, int side, bint whole, uint64_t cut) noexcept nogil

    cdef size_t start(self, Flow* flow, int side, const uint8_t* p, size_t n, Origin origin) noexcept nogil
    cdef size_t more_head(self, Flow* flow, int side, const uint8_t* p, size_t n, Origin origin) noexcept nogil
    cdef size_t more_body(self, Flow* flow, int side, const uint8_t* p, size_t n, Origin origin) noexcept nogil
    cdef size_t look(self, Flow* flow, int side, const uint8_t* p, size_t n, Origin origin) noexcept nogil
    cdef void head_ready(self, Flow* flow, int side, Verdict verdict) noexcept nogil
    cdef size_t look_here(self, Half* half, const uint8_t* p, size_t n, Origin origin) noexcept nogil
    cdef bint start_line_holds(self, Half* half, size_t fresh) noexcept nogil
    cdef void give_up_head(self, Half* half) noexcept nogil
    cdef bint request_may_come(self, Flow* flow, int side) noexcept nogil
    cdef void pass_gap_in_body(self, Flow* flow, int side, uint64_t size) noexcept nogil
    cdef void cut_head(self, Flow* flow, int side, uint64_t missing) noexcept nogil
    cdef Verdict decide(self, Flow* flow, int side, bint force) noexcept nogil
    cdef Verdict decide_request(self, Flow* flow, int side) noexcept nogil
    cdef Verdict decide_response(self, Flow* flow, int side, bint force) noexcept nogil
    cdef void after_message(self, Flow* flow, int side) noexcept nogil
    cdef void look_for_start(self, Half* half, Tally reason) noexcept nogil
    cdef void join_late(self, Half* half) noexcept nogil
    cdef void skip_rest(self, Half* half, Tally reason) noexcept nogil
