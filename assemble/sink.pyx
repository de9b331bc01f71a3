"""Where finished messages go: into message rings, or into a buffer for the library.

In: a filled MessageHeader and the message's bytes.  Out: KIND_MESSAGE records, large messages in parts.
Invariant: the parts of a message follow each other in one ring with nothing between; a flow keeps to one ring.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy

from assemble.books cimport Books
from assemble.message cimport make_message
from assemble.records cimport KIND_MESSAGE, MESSAGE_HEADER_BYTES, PART_BYTES, MessageHeader
from capture.counters cimport Counters
from capture.ring cimport Consumer, Producer

from assemble.records import MESSAGE_HEADER, part_bytes
from assemble.records import PART_BYTES as PART_BYTES_TABLE


if sizeof(MessageHeader) != MESSAGE_HEADER.size or MESSAGE_HEADER_BYTES != MESSAGE_HEADER.size \
        or PART_BYTES != PART_BYTES_TABLE:
    raise ImportError("sink: the compiled message layout differs from the table in assemble/records.py")


cdef class MessageSink:
    """A place for records; subclasses say where."""

    cdef uint8_t* reserve(self, uint64_t flow_hash, size_t size) noexcept nogil:
        return NULL

    cdef void commit(self, uint64_t flow_hash, size_t size) noexcept nogil:
        pass

    cdef void publish(self) noexcept nogil:
        pass

    cdef void begin(self, uint64_t position, uint64_t frames) noexcept nogil:
        """Hear that a batch of frames is about to be worked on, which ends at `position` of a frame ring."""
        pass

    cdef bint put(self, uint64_t flow_hash, MessageHeader* header, const uint8_t* payload) noexcept nogil:
        """Write one message of header.total bytes, in as many parts as it needs; False when there is no memory."""
        cdef uint64_t offset = 0
        cdef size_t size
        cdef uint8_t* room
        header.parts = <uint32_t>((header.total + self.part_bytes - 1) // self.part_bytes) if header.total else 1
        for part in range(header.parts):
            size = <size_t>(header.total - offset)
            if size > self.part_bytes:
                size = self.part_bytes
            header.part = part
            header.offset = offset
            room = self.reserve(flow_hash, MESSAGE_HEADER_BYTES + size)
            if room == NULL:
                return False
            memcpy(room, header, MESSAGE_HEADER_BYTES)
            memcpy(room + MESSAGE_HEADER_BYTES, payload + offset, size)
            self.commit(flow_hash, MESSAGE_HEADER_BYTES + size)
            offset += size
        return True


cdef class RingSink(MessageSink):
    """Message rings, one per worker; a flow's messages all go to the same one.  A full ring is waited for."""

    def __cinit__(self, rings, Books books=None, Counters page=None):
        self.producers = [Producer(ring) for ring in rings]
        self.books = books
        if books is not None:
            books.open(page, self.producers)
        self.count = len(self.producers)
        self.ends = <void**>malloc(self.count * sizeof(void*))
        if self.ends == NULL:
            raise MemoryError
        for at, producer in enumerate(self.producers):
            self.ends[<size_t>at] = <void*>producer
        self.part_bytes = part_bytes(min(producer.ring.largest for producer in self.producers))

    def __dealloc__(self):
        free(self.ends)

    cdef uint8_t* reserve(self, uint64_t flow_hash, size_t size) noexcept nogil:
        cdef uint8_t* room = (<Producer>self.ends[(flow_hash >> 32) % self.count]).try_reserve(size)
        if room != NULL:
            return room
        self.publish()            # what is waited for is that a worker takes what is there
        return (<Producer>self.ends[(flow_hash >> 32) % self.count]).reserve(size)

    cdef void commit(self, uint64_t flow_hash, size_t size) noexcept nogil:
        (<Producer>self.ends[(flow_hash >> 32) % self.count]).commit(KIND_MESSAGE, size)

    cdef void publish(self) noexcept nogil:
        """Let the workers see what was written; once per batch of frames, not per message."""
        cdef uint32_t at
        if self.books is not None:
            self.books.note()
        for at in range(self.count):
            (<Producer>self.ends[at]).publish()

    cdef void begin(self, uint64_t position, uint64_t frames) noexcept nogil:
        if self.books is not None:
            self.books.take(position, frames)

    def recover(self, Consumer consumer not None):
        """Go on where a process that was killed has stopped, which read this frame ring."""
        self.books.recover(consumer)

    def show_life(self, Counters page not None, name):
        """Have a counter grow while a full ring is waited for."""
        for producer in self.producers:
            producer.show_life(page, name)

    def close(self):
        """Say in every ring that nothing more will come."""
        self.publish()
        for producer in self.producers:
            producer.close()


cdef class BufferSink(MessageSink):
    """A growing buffer of whole messages, emptied by `take`."""

    def __cinit__(self):
        self.part_bytes = <size_t>-1 >> 1

    def __dealloc__(self):
        free(self.data)

    cdef uint8_t* reserve(self, uint64_t flow_hash, size_t size) noexcept nogil:
        cdef size_t needed = self.size + ((size + 7) & ~<size_t>7)
        cdef uint8_t* grown
        if needed > self.capacity:
            needed += needed // 2
            grown = <uint8_t*>realloc(self.data, needed)
            if grown == NULL:
                return NULL
            self.data = grown
            self.capacity = needed
        return self.data + self.size

    cdef void commit(self, uint64_t flow_hash, size_t size) noexcept nogil:
        self.size += (size + 7) & ~<size_t>7

    def take(self):
        """Return the messages written since the last call, as a list of Message."""
        cdef size_t at = 0
        cdef size_t size
        cdef const MessageHeader* header
        cdef list messages = []
        while at < self.size:
            header = <const MessageHeader*>(self.data + at)
            at += MESSAGE_HEADER_BYTES
            size = <size_t>header.total
            messages.append(make_message(header, PyBytes_FromStringAndSize(<const char*>self.data + at, size)))
            at += (size + 7) & ~<size_t>7
        self.size = 0
        return messages
