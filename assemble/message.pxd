"""C face of the library's message."""

from libc.stdint cimport uint64_t

from assemble.records cimport MessageHeader


cdef class Message:
    cdef MessageHeader header
    cdef readonly bytes payload
    cdef str said_method      # given by whoever made it in Python; else the payload tells
    cdef str said_target
    cdef bint made            # by whoever: what the header says of the start line is not known to be right
    cdef MessageHeader laid_out(self)
    cdef str text(self, uint64_t at, uint64_t size)
    cdef tuple fields(self)


cdef Message make_message(const MessageHeader* header, bytes payload)
