"""C face of what makes a request out of a captured one."""

from libc.stdint cimport uint8_t

from assemble.records cimport MessageHeader
from emit.buffer cimport Buffer
from emit.fields cimport Text


cdef enum:
    IDEMPOTENT = 1     # flags of a request: RFC 9110 section 9.2.2
    TO_HEAD = 2
    TO_CONNECT = 4
    EXPECTS = 8        # its client waited for a 100 before it sent the body

cdef class Preparer:
    cdef bytes base
    cdef bytes authority             # None: Host stays as captured
    cdef bytes copy_header           # None, as the next: not wanted
    cdef bytes copy_parameter
    cdef Buffer out                  # owned: freed in __dealloc__
    cdef int flags                   # of the latest request
    cdef size_t head                 # bytes of it before its body
    cdef bytes prepare(self, const uint8_t* at, const MessageHeader* header, size_t size, int copy)
    cdef int put_target(self, Text target, int copy) except -1
    cdef int put_headers(self, const uint8_t* at, size_t size, bint body) except -1
    cdef int put(self, const uint8_t* at, size_t size) except -1
    cdef int put_bytes(self, bytes text) except -1
