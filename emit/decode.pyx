"""The entries of a chunk, `[time, record]` in msgpack, as KIND_MESSAGE records of message rings (WIRE.md, "Our
record").

In: bytes from a network, of any origin.  Out: records in the ring that the flow's hash chooses.  Invariant: nothing
outside the bytes is read, whatever they say; no Python per record, unless its message needs more than one ring
record.
"""

from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from assemble.records cimport KIND_MESSAGE, MESSAGE_HEADER_BYTES, MessageHeader
from capture.ring cimport Producer
from emit.entry cimport Record, hash_flow, read_entry
from emit.quick cimport quick_entry
from emit.unpack cimport OK, Cursor, pass_objects

from assemble.records import MESSAGE_HEADER, part_bytes
from capture.errors import MalformedTraffic

cdef enum Outcome:
    STORED = 0
    REFUSED = 1
    FULL = 2
    LARGE = 3
    BROKEN = 4
    MORE = 5

cdef enum:
    SLICE_BYTES = 4 << 20   # of entries, in one call: what inflates to millions of tiny ones takes its time in turns

if sizeof(MessageHeader) != MESSAGE_HEADER.size or MESSAGE_HEADER_BYTES != MESSAGE_HEADER.size:
    raise ImportError("decode: the compiled message header differs from the table in assemble/records.py")


cdef class Decoder:
    """Writes entries into message rings, of which it is the one producer."""

    def __cinit__(self, producers not None):
        self.producers = list(producers)
        self.count = len(self.producers)
        if self.count == 0:
            raise ValueError("no rings to write to")
        self.ends = <void**>calloc(self.count, sizeof(void*))
        self.blocked = <uint8_t*>calloc(2 * self.count, 1)
        if self.ends == NULL or self.blocked == NULL:
            raise MemoryError
        self.touched = self.blocked + self.count
        for at, producer in enumerate(self.producers):
            self.ends[<size_t>at] = <void*><Producer?>producer
        self.part_bytes = part_bytes(min(producer.ring.largest for producer in self.producers))

    def __dealloc__(self):
        free(self.ends)
        free(self.blocked)

    cdef int store(self, Record* record) noexcept nogil:
        """Write one record into its ring."""
        cdef size_t ring = (hash_flow(&record.header) >> 32) % self.count
        cdef size_t size = MESSAGE_HEADER_BYTES + record.payload.size
        cdef uint8_t* room
        if record.header.parts > 1 or record.payload.size > self.part_bytes:
            self.large = record[0]
            self.large_ring = ring
            return LARGE
        room = NULL if self.blocked[ring] else (<Producer>self.ends[ring]).try_reserve(size)
        if room == NULL:
            self.full = ring
            self.full_bytes = size
            return FULL
        memcpy(room, &record.header, MESSAGE_HEADER_BYTES)
        memcpy(room + MESSAGE_HEADER_BYTES, record.payload.at, record.payload.size)
        (<Producer>self.ends[ring]).commit(KIND_MESSAGE, size)
        self.touched[ring] = 1
        self.messages += 1
        self.message_bytes += record.payload.size
        return STORED

    cdef void publish(self) noexcept nogil:
        """Show the workers what was written."""
        cdef size_t ring
        for ring in range(self.count):
            if self.touched[ring]:
                (<Producer>self.ends[ring]).publish()

    cdef int run_entries(self, Cursor* c) noexcept nogil:
        """Take entries until there are no more, or one that cannot be dealt with here and now."""
        cdef Record record
        cdef Cursor before
        cdef uint64_t one
        cdef int outcome
        cdef size_t rest = c.left - SLICE_BYTES if c.left > SLICE_BYTES else 0
        while c.left > rest:
            before = c[0]
            if quick_entry(c, &record) or read_entry(c, &record):
                outcome = self.store(&record)
                if outcome == FULL:
                    c[0] = before
                    return FULL
                self.records += 1
                if outcome == LARGE:
                    return LARGE
            else:
                c[0] = before
                one = 1
                if pass_objects(c, &one) != OK:
                    return BROKEN
                self.records += 1
                self.refused += 1
        return MORE if c.left else STORED

    def run(self, const uint8_t[::1] entries not None, size_t at, bint show=True):
        """Take entries from offset `at` on; return (next offset, what stopped it, rings written to).

        Unless they are to be shown at once, workers see them after `show`, which comes before the next `run`.

        It stops with None at the end, "more" after a share of them, "full" before an entry whose ring has no room
        (`full`, `full_bytes`), "large" after one that needs several ring records (`take_large`).  Raises
        MalformedTraffic if this is not msgpack.
        """
        cdef size_t size = entries.shape[0]
        cdef Cursor c = Cursor(NULL, 0)
        cdef int outcome = STORED
        cdef size_t ring
        if at < size:
            c.at = &entries[0] + at
            c.left = size - at
            memset(self.touched, 0, self.count)
            with nogil:
                outcome = self.run_entries(&c)
                if show:
                    self.publish()
        else:
            memset(self.touched, 0, self.count)
        if outcome == BROKEN:
            raise MalformedTraffic("entries that are not msgpack", at=size - c.left)
        touched = [ring for ring in range(self.count) if self.touched[ring]]
        return size - c.left, (None, None, "full", "large", None, "more")[outcome], touched

    def show(self):
        """Show the workers what the latest `run` has written."""
        self.publish()

    def take_large(self):
        """Return (ring, header, payload) of the entry that `run` stopped after; the header as in MESSAGE_HEADER.

        `run` must not have been called since, and the entries must still be there.
        """
        header = bytes((<uint8_t*>&self.large.header)[:MESSAGE_HEADER_BYTES])
        payload = bytes(self.large.payload.at[:self.large.payload.size])
        return self.large_ring, header, payload

    def block(self, size_t ring, bint blocked):
        """Keep entries out of a ring while a message in parts is being written to it, or let them in again."""
        if ring >= self.count:
            raise IndexError(ring)
        self.blocked[ring] = blocked

    def take_counts(self):
        """Return (records, refused, messages, message bytes) since the last call."""
        counts = self.records, self.refused, self.messages, self.message_bytes
        self.records = self.refused = self.messages = self.message_bytes = 0
        return counts
