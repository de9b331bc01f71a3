"""C face of the way by which an output hands on what answered its requests."""

from libc.stdint cimport uint8_t, uint64_t

from assemble.records cimport MessageHeader
from capture.counters cimport Counters
from capture.ring cimport Producer
from emit.buffer cimport Buffer
from emit.walk cimport Item


cdef class AnswerWriter:
    cdef readonly Producer producer
    cdef Counters counters
    cdef list kept            # sieves
    cdef void** sieves        # borrowed: from `kept`; the array owned: freed in __dealloc__
    cdef size_t count         # of sieves
    cdef uint64_t* written    # borrowed, like dropped: inside `counters`
    cdef uint64_t* dropped
    cdef size_t part_bytes
    cdef uint64_t refused     # bytes of the record that there was no room for
    cdef Buffer rest          # owned: freed in __dealloc__; the payload of the message whose parts are under way
    cdef MessageHeader header    # of that message
    cdef public bint urgent
    cdef void note(self, const Item* item) noexcept nogil
    cdef int put(self, MessageHeader* header, const uint8_t* payload) except -1 nogil
    cdef int refuse(self) noexcept nogil
    cdef bint put_part(self, MessageHeader* header, const uint8_t* payload) noexcept nogil
    cdef bint put_parts(self) noexcept nogil
