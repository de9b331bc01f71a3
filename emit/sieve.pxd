"""C face of the sieve in front of an output."""

from libc.stdint cimport uint64_t

from capture.ring cimport Consumer
from emit.match cimport Matcher
from emit.verdicts cimport Verdicts
from emit.walk cimport Item


cdef class Sieve:
    cdef readonly Consumer consumer
    cdef Matcher matcher
    cdef Verdicts verdicts
    cdef readonly uint64_t filtered
    cdef bint wants(self, const Item* item) noexcept nogil
    cdef bint judge(self, const Item* item) noexcept nogil
