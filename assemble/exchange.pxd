"""C face of deciding messages: ids, pairs, delimiting."""

from assemble.collect cimport Collector
from assemble.flows cimport Flow, Half
from assemble.framing cimport Verdict
from assemble.tally cimport Tally


cdef class Exchange(Collector):
    cdef bint responses
    cdef Verdict decide(self, Flow* flow, int side, bint force) noexcept nogil
    cdef bint hold_cut_head(self, Flow* flow, int side) noexcept nogil
    cdef void skip_rest(self, Half* half, Tally reason) noexcept nogil

    cdef Verdict decide_request(self, Flow* flow, int side) noexcept nogil
    cdef Verdict decide_response(self, Flow* flow, int side, bint force) noexcept nogil
    cdef bint request_may_come(self, Flow* flow, int side) noexcept nogil
