"""C face of the framing of answers."""

from libc.stdint cimport uint8_t, uint64_t

from emit.buffer cimport Buffer


cdef enum:
    MORE = 0         # everything was used, and the answer goes on
    INTERIM = 1      # a 1xx answer has ended; the final one follows
    ENDED = 2        # the answer has ended
    BROKEN = 3       # what came is not HTTP/1, or over a limit

cdef class Answer:
    cdef Buffer line                  # owned: freed in __dealloc__; a head or a line that came in pieces
    cdef int state
    cdef bint to_head                 # the request was a HEAD: there is no body
    cdef bint to_connect
    cdef bint chunked                 # the last transfer coding
    cdef bint coded                   # there is any
    cdef bint sized
    cdef readonly int status
    cdef readonly bint keeps          # the connection may be used for another request
    cdef readonly uint64_t head       # bytes of the final answer before its body
    cdef readonly uint64_t size       # bytes of the answer so far, interim ones left out
    cdef uint64_t left                # of a body, or of a chunk
    cdef uint64_t trailer             # bytes of the trailer section so far
    cdef int interims
    cdef void begin(self, bint to_head, bint to_connect) noexcept nogil
    cdef int feed(self, const uint8_t* at, size_t size, size_t* used) noexcept nogil
    cdef int close(self) noexcept nogil
    cdef int take_head(self, const uint8_t* at, size_t size) noexcept nogil
    cdef int take_line(self, const uint8_t* at, size_t size) noexcept nogil
    cdef int until_blank_line(self, const uint8_t* at, size_t size, size_t* used) noexcept nogil
    cdef int until_line(self, const uint8_t* at, size_t size, size_t* used) noexcept nogil
    cdef int header(self, const uint8_t* at, size_t size) noexcept nogil
