"""C face of the evaluation of filter expressions."""

from libc.stdint cimport int64_t, uint8_t, uint64_t

from emit.fields cimport Text
from emit.walk cimport Item


cdef struct Network:         # of an address in network byte order, its first `bits` bits
    uint8_t[16] address
    uint8_t bits
    bint v6

cdef struct Step:            # a comparison, laid out by Matcher
    int field
    int op
    int yes                  # the step that follows if it holds; or YES, NO
    int no
    bint of_request
    bint any_case
    bint anchored
    Text name                # borrowed, like texts: from the bytes that Matcher.kept keeps alive
    Text* texts              # owned, like numbers and networks: freed in Matcher.__dealloc__
    int64_t* numbers
    Network* networks
    size_t count             # of texts, numbers or networks
    size_t subject_bytes


cdef class Matcher:
    cdef Step* steps         # owned: freed in __dealloc__
    cdef int size
    cdef int start
    cdef list kept           # bytes
    cdef list patterns       # by step; None where there is none
    cdef readonly bint by_message
    cdef readonly bint remembers
    cdef Text keep(self, bytes text)
    cdef int fill(self, Step* step, test) except -1
    cdef bint judge(self, const Item* item, uint64_t known, bint recall) noexcept nogil
    cdef uint64_t about_request(self, const Item* item) noexcept nogil
    cdef bint test(self, int at, const Item* item) noexcept nogil
    cdef bint search(self, int at, Text value) noexcept nogil
