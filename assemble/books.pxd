"""C face of an assembler's books."""

from libc.stdint cimport uint64_t

from capture.memory cimport Memory


cdef enum:
    MOST_RINGS = 64


cdef struct Place:              # how far an assembler has come in its frame ring
    uint64_t position           # behind the batch that it works on, or the last
    uint64_t frames             # in all batches up to there

cdef struct Slot:               # what was true when the message rings were last published
    uint64_t[64] heads          # MOST_RINGS: of each ring
    uint64_t[64] sequences
    uint64_t[256] tally         # MOST_TALLIES

cdef struct Pages:
    uint64_t place              # which of `places` holds
    uint64_t slot               # which of `slots` holds
    Place[2] places
    Slot[2] slots


cdef class Books:
    cdef Memory memory
    cdef Pages* pages           # borrowed: inside memory
    cdef uint64_t* tally        # borrowed from `page`
    cdef object page            # of counters
    cdef list producers         # keeps what `ends` borrows
    cdef void* ends[64]         # borrowed Producers
    cdef uint64_t count         # of them
    cdef void take(self, uint64_t position, uint64_t frames) noexcept nogil
    cdef void note(self) noexcept nogil
