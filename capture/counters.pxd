"""C face of a page of counters."""

from libc.stdint cimport uint64_t

from capture.memory cimport Memory


cdef class Counters:
    cdef Memory memory
    cdef readonly tuple names
    cdef dict index
    cdef uint64_t* at               # borrowed: in memory; entry i belongs to names[i]
