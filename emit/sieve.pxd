"""C face of the sieve in front of an output."""

from libc.stdint cimport uint64_t

from capture.ring cimport Consumer
from emit.bucket cimport Bucket
from emit.match cimport Matcher
from emit.sampler cimport Sampler
from emit.verdicts cimport Verdicts
from emit.walk cimport Item


cdef enum Fate:
    FILTERED
    SAMPLED                 # left out of the sample
    LIMITED                 # one too many
    WANTED
    LATER                   # one too many for now

cdef class Sieve:
    cdef readonly Consumer consumer     # None: messages are asked about one by one
    cdef Matcher matcher                # None: the output has no `where`; so with these two
    cdef Sampler sampler
    cdef Bucket bucket
    cdef Verdicts verdicts
    cdef readonly bint remembers        # what becomes of a request matters to its response
    cdef uint64_t[3] counts             # by Fate: filtered, sampled, limited
    cdef uint64_t paced                 # ring position up to which `pace` has looked
    cdef bint wants(self, const Item* item) noexcept nogil
    cdef Fate judge(self, const Item* item) noexcept nogil
    cdef uint64_t about(self, const Item* item) noexcept nogil
    cdef bint matches(self, const Item* item, uint64_t known) noexcept nogil
    cdef bint leaves_out(self, const Item* item, uint64_t known) noexcept nogil
    cdef Fate limit(self, uint64_t* known) noexcept nogil
