"""What a replay's target answers, as `replayed` messages in a ring that other outputs have their messages from.

In: answers with the ids of their requests, and each request before it is sent.  Out: KIND_MESSAGE records, large ones
in parts.  Invariant: never waits; the parts of a message follow each other with nothing between; an answer is in the
ring, under way to it, or counted as dropped.

Other outputs judge an answer by its request, which they may not have come to yet: so it is judged here, for all of
them, before it is sent, and what that gave is in memory that their process follows (emit/verdicts.pyx).
"""

from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memchr, memcpy, memset

from assemble.records cimport (
    FLAG_COMPLETE, FLAG_IPV6, KIND_MESSAGE, MESSAGE_HEADER_BYTES, REPLAYED, MessageHeader,
)
from capture.counters cimport Counters
from capture.ring cimport Producer
from emit.buffer cimport free_buffer, reserve, shrink
from emit.sieve cimport Sieve
from emit.walk cimport Item

from assemble.records import MESSAGE_HEADER, part_bytes

if sizeof(MessageHeader) != MESSAGE_HEADER.size or MESSAGE_HEADER_BYTES != MESSAGE_HEADER.size:
    raise ImportError("answers: the compiled message header differs from the table in assemble/records.py")

cdef enum:
    KEEP_BYTES = 1 << 20
    SHARE = 8                 # who waits is woken when an eighth of the ring is free: it would else be record by record


cdef class AnswerWriter:
    """The writing end of one worker's answer ring; `urgent`: nobody may wait, what finds no room is dropped."""

    def __cinit__(self, Producer producer not None, Counters counters not None, sieves=()):
        cdef size_t at
        self.producer = producer
        self.counters = counters
        self.written = counters.at + <size_t>counters.index["answers"]
        self.dropped = counters.at + <size_t>counters.index["answers_dropped"]
        self.kept = list(sieves)
        self.count = len(self.kept)
        self.sieves = <void**>calloc(self.count + 1, sizeof(void*))
        if self.sieves == NULL:
            raise MemoryError
        for at in range(self.count):
            self.sieves[at] = <void*><Sieve?>self.kept[at]
        self.part_bytes = part_bytes(producer.ring.largest)

    def __dealloc__(self):
        free(self.sieves)
        free_buffer(&self.rest)

    cdef void note(self, const Item* item) noexcept nogil:
        """Note a request, whole or in its first part, before it is sent."""
        cdef size_t at
        for at in range(self.count):
            (<Sieve>self.sieves[at]).judge(item)

    cdef int put(self, MessageHeader* header, const uint8_t* payload) except -1 nogil:
        """Hand on one answer; 0, and nothing is done, if there is no room now.

        The header says id, times, both ends, FLAG_COMPLETE, FLAG_IPV6, status, length of the head, and as `total` how
        many bytes of payload there are.
        """
        cdef const uint8_t* line_end = NULL
        cdef uint8_t* copy = NULL
        if self.rest.size and not self.put_parts():
            return self.refuse()
        header.kind = REPLAYED
        header.method_len = header.target_at = header.target_len = 0
        header.missing = header.offset = header.part = 0
        if header.total:
            line_end = <const uint8_t*>memchr(payload, c'\n', min(header.total, <uint64_t>self.part_bytes))
        header.start_len = <uint32_t>(line_end - payload + 1) if line_end != NULL else 0
        header.parts = 1
        if header.total > self.part_bytes:
            header.parts = <uint32_t>((header.total + self.part_bytes - 1) // self.part_bytes)
            copy = reserve(&self.rest, header.total)
            if copy == NULL:
                with gil:
                    raise MemoryError
        self.written[0] += 1          # before it is seen: who reads the ring counts it, too
        if not self.put_part(header, payload):
            self.written[0] -= 1
            return self.refuse()
        if header.parts > 1:
            memcpy(copy, payload, header.total)
            self.rest.size = header.total
            self.header = header[0]
            self.header.part = 1
            self.put_parts()
        return 1

    cdef int refuse(self) noexcept nogil:
        """Say that there is no room; or lose the answer, where nobody may wait for any."""
        if not self.urgent:
            return 0
        self.dropped[0] += 1
        return 1

    cdef bint put_part(self, MessageHeader* header, const uint8_t* payload) noexcept nogil:
        """Write the part of a message that a header describes; False if there is no room."""
        cdef size_t size
        cdef uint8_t* room
        header.offset = <uint64_t>header.part * self.part_bytes
        size = <size_t>(header.total - header.offset)
        if header.parts > 1 and size > self.part_bytes:
            size = self.part_bytes
        room = self.producer.try_reserve(MESSAGE_HEADER_BYTES + size)
        if room == NULL:
            self.refused = MESSAGE_HEADER_BYTES + size
            return False
        memcpy(room, header, MESSAGE_HEADER_BYTES)
        memcpy(room + MESSAGE_HEADER_BYTES, payload + header.offset, size)
        self.producer.commit(KIND_MESSAGE, MESSAGE_HEADER_BYTES + size)
        self.producer.publish()
        return True

    cdef bint put_parts(self) noexcept nogil:
        """Write more parts of the message under way; False if there are some left."""
        while self.header.part < self.header.parts:
            if not self.put_part(&self.header, self.rest.at):
                return False
            self.header.part += 1
        shrink(&self.rest, KEEP_BYTES)
        return True

    def asked(self, const uint8_t[::1] record not None):
        """Note a request, given as a ring's record, before it is sent."""
        cdef Item item
        cdef size_t size = record.shape[0]
        if size < MESSAGE_HEADER_BYTES:
            raise ValueError(f"a record of {size} bytes is shorter than its header")
        memset(&item, 0, sizeof(Item))
        item.header = <const MessageHeader*>&record[0]
        item.payload = item.line = &record[0] + MESSAGE_HEADER_BYTES
        item.size = item.line_size = min(size - MESSAGE_HEADER_BYTES, item.header.total)
        with nogil:
            self.note(&item)

    def write(self, uint64_t id, uint16_t status, int64_t first_ns, int64_t last_ns, bytes src not None, uint16_t sport,
              bytes dst not None, uint16_t dport, const uint8_t[::1] payload not None, uint64_t head=0,
              bint complete=True):
        """Hand on one answer of `head` bytes and a body; False, and nothing is done, if there is no room now.

        Addresses are packed, 4 or 16 bytes; `src` is the target.  No answer: status 0, no payload, not complete.
        """
        cdef MessageHeader header
        cdef const uint8_t* at = NULL
        cdef bint v6 = len(src) == 16
        if len(src) != len(dst) or len(src) not in (4, 16):
            raise ValueError(f"addresses of {len(src)} and {len(dst)} bytes: both have 4, or both 16")
        memset(&header, 0, sizeof(MessageHeader))
        header.id = id
        header.status = status
        header.first_ns = first_ns
        header.last_ns = last_ns
        memcpy(header.src, PyBytes_AS_STRING(src), 16 if v6 else 4)
        memcpy(header.dst, PyBytes_AS_STRING(dst), 16 if v6 else 4)
        header.sport = sport
        header.dport = dport
        header.flags = (FLAG_COMPLETE if complete else 0) | (FLAG_IPV6 if v6 else 0)
        header.head_len = head
        header.total = payload.shape[0]
        if header.total:
            at = &payload[0]
        return self.put(&header, at) == 1

    def drop(self, uint64_t answers=1):
        """Count answers that are lost, as there was no room for them."""
        self.dropped[0] += answers

    def flush(self):
        """Write what is left of a message in parts; False if there still is something."""
        return self.rest.size == 0 or self.put_parts()

    def fileno(self):
        """Return the descriptor that becomes readable when there is room again, after `arm`."""
        return self.producer.fileno()

    def arm(self):
        """Ask for `fileno` to become readable once what was refused surely has room; False if it has."""
        cdef uint64_t capacity = self.producer.capacity
        cdef uint64_t room = min(max(2 * (self.refused + 3 * sizeof(uint64_t)), capacity // SHARE), capacity)
        cdef uint64_t end = self.producer.head + room
        return self.producer.arm(end - capacity if end > capacity else 0)

    def disarm(self):
        """Take back `arm`."""
        self.producer.disarm()

    def drain(self):
        """Bring the message in parts to its end, waiting for room: nobody else could."""
        while not self.flush():
            self.producer.wait_room(MESSAGE_HEADER_BYTES + self.part_bytes)

    def close(self):
        """Say that no more answers will come."""
        self.drain()
        self.producer.close()
