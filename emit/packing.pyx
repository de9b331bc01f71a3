"""Messages as the records of a recording: bodies of blocks from a ring, and back.

In: a message ring, read in place; or a body of any origin.  Out: a body in a buffer of bounded size; or its records.
Invariant: no Python per message on the way in; on the way back, nothing outside the body is read, whatever it says.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from assemble.records cimport MESSAGE_HEADER_BYTES, PART_BYTES, REPLAYED, REQUEST, MessageHeader
from emit.buffer cimport reserve
from emit.entry cimport hash_flow
from emit.lines cimport LineWriter
from emit.walk cimport Item, Place, ends_message

from assemble.records import MESSAGE_HEADER

cdef enum:
    NO_MEMORY = -1
    LENGTH_BYTES = 4      # RECORD_LENGTH in emit/blocks.py

if sizeof(MessageHeader) != MESSAGE_HEADER.size or MESSAGE_HEADER_BYTES != MESSAGE_HEADER.size:
    raise ImportError("packing: the compiled message header differs from the table in assemble/records.py")


cdef class Packer(LineWriter):
    """Records collected from one ring for one block; as a `LineWriter`, each message in parts is under way to its end.

    A message that stops short has no last part; whoever reads it sees that another one follows.
    """

    cdef readonly uint64_t records
    cdef readonly int64_t first_ns     # earliest; meaningless while there are no records
    cdef readonly int64_t last_ns

    cdef int add(self, const Item* item, Place place) noexcept nogil:
        """Add a record as it is in the ring."""
        cdef const MessageHeader* header = item.header
        cdef uint32_t length = <uint32_t>(MESSAGE_HEADER_BYTES + item.size)
        cdef uint8_t* at = reserve(&self.text, LENGTH_BYTES + <size_t>length)
        if at == NULL:
            return NO_MEMORY
        memcpy(at, &length, LENGTH_BYTES)
        memcpy(at + LENGTH_BYTES, header, MESSAGE_HEADER_BYTES)
        memcpy(at + LENGTH_BYTES + MESSAGE_HEADER_BYTES, item.payload, item.size)
        self.text.size += LENGTH_BYTES + <size_t>length
        if self.records == 0 or header.first_ns < self.first_ns:
            self.first_ns = header.first_ns
        if self.records == 0 or header.last_ns > self.last_ns:
            self.last_ns = header.last_ns
        self.records += 1
        self.messages += ends_message(header)
        self.payload_bytes += item.size
        return 0

    cdef int abort_line(self) noexcept nogil:
        """Forget the message under way."""
        self.joint.next = 0
        return 0

    @property
    def about(self):
        """What a block header says of the records: (records, messages, first_ns, last_ns)."""
        return self.records, self.messages, self.first_ns, self.last_ns

    def clear(self):
        """Empty the buffer, and its counts."""
        LineWriter.clear(self)
        self.records = 0


cdef inline bint sound(const MessageHeader* header, size_t size) noexcept nogil:
    """Tell whether a header fits itself and the `size` bytes of payload that come with it."""
    cdef uint64_t parts = header.parts if header.parts else 1
    if not REQUEST <= header.kind <= REPLAYED:
        return False
    if header.part >= parts or header.offset > header.total or size > header.total - header.offset:
        return False
    if parts == 1:
        return header.offset == 0 and size == header.total
    if header.part + 1 == parts and size != header.total - header.offset:
        return False
    return (header.part > 0) == (header.offset > 0)


def split(const uint8_t[::1] body not None):
    """Return the records of a body, and how many there were that are none.

    A record is (last_ns, first_ns, hash of its flow, parts, bytes as in a message ring).
    """
    cdef size_t size = body.shape[0]
    cdef size_t at = 0
    cdef uint32_t length
    cdef MessageHeader header
    cdef uint64_t refused = 0
    cdef list found = []
    while at < size:
        if size - at < LENGTH_BYTES:
            return found, refused + 1
        memcpy(&length, &body[at], LENGTH_BYTES)
        at += LENGTH_BYTES
        if length > size - at or length < MESSAGE_HEADER_BYTES or length > MESSAGE_HEADER_BYTES + PART_BYTES:
            return found, refused + 1
        memcpy(&header, &body[at], MESSAGE_HEADER_BYTES)
        if sound(&header, length - MESSAGE_HEADER_BYTES):
            record = PyBytes_FromStringAndSize(<const char*>&body[at], length)
            found.append((header.last_ns, header.first_ns, hash_flow(&header), header.parts, record))
        else:
            refused += 1
        at += length
    return found, refused


def hash_record(const uint8_t[::1] record not None):
    """Return (hash of its flow, first_ns, last_ns) of a record as in a message ring."""
    cdef MessageHeader header
    if record.shape[0] < MESSAGE_HEADER_BYTES:
        raise ValueError("a record that is shorter than its header")
    memcpy(&header, &record[0], MESSAGE_HEADER_BYTES)
    return hash_flow(&header), header.first_ns, header.last_ns
