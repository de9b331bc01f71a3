"""C face of the token bucket."""


cdef class Bucket:
    cdef readonly double rate         # tokens for each second
    cdef readonly double most         # tokens that are kept
    cdef readonly bint waits          # whether what finds none waits for the next, or is dropped
    cdef double tokens
    cdef double at_s
    cdef bint take(self) noexcept nogil
