"""C face of the decoder of entries."""

from libc.stdint cimport uint8_t, uint64_t

from emit.entry cimport Record
from emit.unpack cimport Cursor


cdef class Decoder:
    cdef readonly list producers    # keeps what `ends` borrows
    cdef void** ends                # owned array of borrowed Producers
    cdef uint8_t* blocked           # owned: by ring, 1 while nothing may be written
    cdef uint8_t* touched           # owned: by ring, 1 if the present call wrote
    cdef size_t count
    cdef readonly size_t part_bytes
    cdef readonly uint64_t records
    cdef readonly uint64_t refused
    cdef readonly uint64_t messages
    cdef readonly uint64_t message_bytes
    cdef readonly size_t full           # the ring that had no room
    cdef readonly size_t full_bytes     # payload for which there was none
    cdef Record large                   # the message that needs several records
    cdef size_t large_ring
    cdef int run_entries(self, Cursor* c) noexcept nogil
    cdef int store(self, Record* record) noexcept nogil
    cdef void publish(self) noexcept nogil
