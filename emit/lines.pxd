"""C face of the JSON Lines encoder."""

from libc.stdint cimport int64_t, uint64_t

from assemble.records cimport MessageHeader
from capture.ring cimport Consumer
from emit.buffer cimport Buffer
from emit.sieve cimport Sieve
from emit.walk cimport Item, Joint, Place


cdef class LineWriter:
    cdef readonly Consumer consumer
    cdef Sieve sieve                  # None: every message is wanted
    cdef Buffer text                  # owned: freed in __dealloc__
    cdef Buffer line                  # owned: freed in __dealloc__; a start line longer than a part
    cdef Joint joint
    cdef size_t keep_bytes
    cdef bint holding                 # the message under way stays in the ring until it is written
    cdef readonly uint64_t messages
    cdef readonly uint64_t payload_bytes
    cdef readonly uint64_t strays
    cdef bint windowed                # only messages that began in [from_ns, until_ns) are taken
    cdef int64_t from_ns
    cdef int64_t until_ns
    cdef readonly bint outside        # the next message did not; nothing is waiting to be written
    cdef readonly int64_t stamp_ns    # when it did
    cdef int run(self, uint64_t* cursor, uint64_t head, size_t limit, bint final) noexcept nogil
    cdef int add(self, const Item* item, Place place) noexcept nogil
    cdef int abort_line(self) noexcept nogil
    cdef int abort_after(self, Place place) noexcept nogil
    cdef bint within(self, const MessageHeader* header) noexcept nogil
