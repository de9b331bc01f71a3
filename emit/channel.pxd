"""C face of a socket to a target, with TLS or without."""

from libc.stdint cimport uint8_t


cdef enum:
    LATER = -1       # what a channel says besides a number of bytes: nothing goes now
    NEVER = -2       # it is broken

cdef class Channel:
    cdef object socket
    cdef int fd
    cdef bint tls
    cdef ssize_t write(self, bytes data, size_t start, size_t end) except? -3
    cdef ssize_t read(self, uint8_t* room, size_t size) except? -3
    cdef bint stirs(self) noexcept
    cdef bint arrived(self) except -1
