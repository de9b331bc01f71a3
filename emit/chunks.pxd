"""C face of the msgpack encoder."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from capture.ring cimport Consumer
from emit.buffer cimport Buffer
from emit.sieve cimport Sieve
from emit.walk cimport Item, Joint


cdef enum Form:              # of payloads
    BINARY
    BASE64
    TEXT


cdef struct Open:            # a chunk that is still being filled
    Buffer entries           # owned: freed in Chunker.__dealloc__
    uint64_t first           # ring position from which its records would be read again
    uint64_t payload_bytes
    uint32_t records
    uint32_t messages        # that end in it


cdef class Chunker:
    cdef readonly Consumer consumer
    cdef Sieve sieve         # None: every message is wanted
    cdef Open[4] open        # by kind; entry 0 is not used
    cdef Buffer line         # owned: freed in __dealloc__; a start line longer than a part
    cdef Joint under         # the message in parts that is under way
    cdef size_t chunk_bytes
    cdef uint32_t chunk_records
    cdef Form form
    cdef readonly int ready
    cdef readonly uint64_t strays
    cdef readonly uint32_t part
    cdef readonly uint32_t parts
    cdef readonly bint large     # the part that is ready is of a message that is not held in the ring
    cdef Open* chunk(self, int kind) except NULL
    cdef int run(self, uint64_t* cursor, uint64_t head, bint final) noexcept nogil
    cdef int append(self, Open* into, const Item* item) noexcept nogil
    cdef uint8_t* put_str(self, uint8_t* at, const Item* item) noexcept nogil
