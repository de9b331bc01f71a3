"""C face of the choice of a sample."""

from libc.stdint cimport uint64_t

from emit.fields cimport Text
from emit.walk cimport Item


cdef class Sampler:
    cdef int by
    cdef Text name                    # borrowed: from `kept`
    cdef bytes kept
    cdef uint64_t first               # hashes from here on are in it
    cdef uint64_t count               # so many
    cdef readonly bint of_request     # only a request can tell; its response has to be told
    cdef bint leaves_out(self, const Item* item) noexcept nogil
