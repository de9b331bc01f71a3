"""C face of a page of counters."""

from libc.stdint cimport uint64_t


cdef class Counters:
    cdef readonly int fd            # owned: closed in __dealloc__
    cdef readonly tuple names
    cdef dict index
    cdef uint64_t* at               # owned: mapping of one page; entry i belongs to names[i]
