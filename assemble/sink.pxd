"""C face of where messages go."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from assemble.books cimport Books
from assemble.records cimport MessageHeader
from capture.ring cimport Producer


cdef class MessageSink:
    cdef size_t part_bytes      # most payload of one record
    cdef uint8_t* reserve(self, uint64_t flow_hash, size_t size) noexcept nogil
    cdef void commit(self, uint64_t flow_hash, size_t size) noexcept nogil
    cdef void publish(self) noexcept nogil
    cdef void begin(self, uint64_t position, uint64_t frames) noexcept nogil
    cdef bint put(self, uint64_t flow_hash, MessageHeader* header, const uint8_t* payload) noexcept nogil


cdef class RingSink(MessageSink):
    cdef Books books            # what a successor needs; None: there will be none
    cdef list producers         # keeps what `ends` borrows
    cdef void** ends            # owned array of borrowed Producers
    cdef uint32_t count


cdef class BufferSink(MessageSink):
    cdef uint8_t* data          # owned
    cdef size_t size
    cdef size_t capacity
