"""C face of the memory of verdicts."""

from libc.stdint cimport uint64_t

from capture.memory cimport Memory
from emit.index cimport Index


cdef enum:
    REMEMBERED = 65536       # requests; a power of two

cdef struct Slot:
    uint64_t id
    uint64_t known           # what Sieve makes of a request

cdef struct Page:            # table in emit/verdicts.pyx
    uint64_t count
    uint64_t followed
    uint64_t[6] reserved
    Slot[REMEMBERED] slots


cdef class Verdicts:
    cdef readonly Memory memory
    cdef Page* page                          # borrowed: in memory
    cdef Verdicts source                     # None: nobody is followed
    cdef Index index                         # owned: freed in __dealloc__
    cdef void remember(self, uint64_t id, uint64_t known) noexcept nogil
    cdef bint recall(self, uint64_t id, uint64_t* known) noexcept nogil
    cdef void catch_up(self) noexcept nogil
