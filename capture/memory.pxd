"""C face of a piece of shared memory."""


cdef class Memory:
    cdef readonly int fd          # owned: closed in __dealloc__
    cdef readonly size_t size
    cdef void* at                 # owned: mapping of `size` bytes, unmapped in __dealloc__
