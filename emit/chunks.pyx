"""Messages as msgpack entries `[EventTime, record]` in open chunks, one for each kind of message.

In: a message ring, read in place.  Out: the entries of a chunk, ready to be framed (WIRE.md, "Our record").
Invariant: no Python per message; a part of a large message fills a chunk of its own.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from assemble.records cimport (
    FLAG_COMPLETE, FLAG_IPV6, MESSAGE_HEADER_BYTES, REPLAYED, REQUEST, RESPONSE, MessageHeader,
)
from capture.ring cimport Consumer
from emit.buffer cimport free_buffer, reserve, shrink
from emit.pack cimport put_big, put_bin, put_latin, put_str_head, put_text, put_uint
from emit.payload cimport base64_size, put_base64
from emit.sieve cimport Sieve
from emit.text cimport MOST_ADDRESS, put, put_address, put_hex
from emit.walk cimport STRAY, Item, ends_message, gather, join, next_item, start_size

from assemble.records import MESSAGE_HEADER

cdef enum:
    NO_MEMORY = -1
    NO_PLACE = -2
    FIXED_BYTES = 512     # most that an entry takes besides method, target and payload
    MOST_BYTES = 4 << 20  # of a chunk's entries, unless it is one alone: collectors close above some size
    HOLD_SHARE = 4        # messages up to this share of the ring stay in it until all their parts are safe

cdef dict FORMS = {"binary": BINARY, "base64": BASE64, "text": TEXT}

if sizeof(MessageHeader) != MESSAGE_HEADER.size or MESSAGE_HEADER_BYTES != MESSAGE_HEADER.size:
    raise ImportError("chunks: the compiled message header differs from the table in assemble/records.py")


cdef inline size_t most_payload(Form form, size_t size) noexcept nogil:
    """Return how long a payload of so many bytes may be in a chunk."""
    if form == BINARY:
        return size
    return base64_size(size) if form == BASE64 else 3 * size


cdef inline uint8_t* put_host(uint8_t* at, const uint8_t* packed, bint v6) noexcept nogil:
    """Write an address as a str; its text is shorter than 46 bytes, but may need the longer head."""
    cdef uint8_t[MOST_ADDRESS] text
    cdef size_t size = put_address(text, packed, v6) - text
    at = put_str_head(at, size)
    memcpy(at, text, size)
    return at + size


cdef inline uint8_t* put_start(uint8_t* at, const MessageHeader* header) noexcept nogil:
    """Write what every entry begins with, up to the value of `duration_us`."""
    cdef bint v6 = header.flags & FLAG_IPV6
    cdef int64_t seconds = header.first_ns // 1000000000
    cdef int64_t rest = header.first_ns - seconds * 1000000000
    cdef int64_t lasted = header.last_ns - header.first_ns
    cdef uint8_t keys = 12
    if rest < 0:            # the C division rounds towards zero
        seconds -= 1
        rest += 1000000000
    if header.kind == REQUEST:
        keys = 13 if header.part == 0 else 11    # without method and target
    if header.parts > 1:
        keys += 2
    at[0] = 0x92
    at[1] = 0xd7            # fixext8 of type 0: EventTime
    at[2] = 0
    at = put_big(at + 3, <uint64_t>seconds, 4)
    at = put_big(at, <uint64_t>rest, 4)
    at[0] = 0x80 | keys
    at = put_hex(put(at + 1, b"\xa2id\xb0"), header.id)
    if header.kind == REQUEST:
        at = put(at, b"\xa4kind\xa7request\xa3src")
    else:
        at = put(at, b"\xa4kind\xa8replayed\xa3src" if header.kind == REPLAYED else b"\xa4kind\xa8response\xa3src")
    at = put_host(at, header.src, v6)
    at = put_host(put(at, b"\xa3dst"), header.dst, v6)
    at = put_uint(put(at, b"\xa5sport"), header.sport)
    at = put_uint(put(at, b"\xa5dport"), header.dport)
    return put_uint(put(at, b"\xabduration_us"), <uint64_t>(lasted // 1000 if lasted > 0 else 0))


cdef inline uint8_t* put_before(uint8_t* at, const Item* item, size_t method, size_t target) noexcept nogil:
    """Write an entry up to the value of `payload`; its maker has checked that method and target lie inside the line."""
    cdef const MessageHeader* header = item.header
    at = put_start(at, header)
    if header.kind != REQUEST:
        at = put_uint(put(at, b"\xa6status"), header.status)
    elif header.part == 0:   # later parts do not hold the start line
        at = put_latin(put(at, b"\xa6method"), item.line, method)
        at = put_latin(put(at, b"\xa6target"), item.line + header.target_at if target else item.line, target)
    at = put(at, b"\xa8complete")
    at[0] = 0xc3 if header.flags & FLAG_COMPLETE else 0xc2
    at = put_uint(put(at + 1, b"\xa7missing"), header.missing)
    at = put_uint(put(at, b"\xa4head"), header.head_len)
    return put(at, b"\xa7payload")


cdef class Chunker:
    """Chunks being filled from one ring; `ready` is the kind of the one to take next, or 0."""

    def __cinit__(
        self, Consumer consumer not None, size_t chunk_bytes, uint32_t chunk_records, Sieve sieve=None,
        str payload="binary",
    ):
        self.consumer = consumer
        self.sieve = sieve
        self.chunk_bytes = chunk_bytes
        self.chunk_records = chunk_records
        self.form = FORMS[payload]

    def __dealloc__(self):
        cdef int kind
        for kind in range(REQUEST, REPLAYED + 1):
            free_buffer(&self.open[kind].entries)
        free_buffer(&self.line)

    cdef Open* chunk(self, int kind) except NULL:
        if not REQUEST <= kind <= REPLAYED:
            raise ValueError(f"no chunk of kind {kind}")
        return &self.open[kind]

    cdef int append(self, Open* into, const Item* item) noexcept nogil:
        """Add one entry to a chunk; NO_PLACE if it has others, and would be too long with this one."""
        cdef const MessageHeader* header = item.header
        cdef size_t method = 0
        cdef size_t target = 0
        cdef size_t most
        cdef uint8_t* at
        if start_size(header) and start_size(header) <= item.line_size:
            method = header.method_len
            target = header.target_len
        most = FIXED_BYTES + 2 * (method + target) + most_payload(self.form, item.size)
        if into.entries.size + most > MOST_BYTES and into.records:
            return NO_PLACE
        at = reserve(&into.entries, most)
        if at == NULL:
            return NO_MEMORY
        if into.records == 0:
            into.first = item.start
        at = put_before(at, item, method, target)
        at = put_bin(at, item.payload, item.size) if self.form == BINARY else self.put_str(at, item)
        if header.parts > 1:
            at = put_uint(put(at, b"\xa4part"), header.part)
            at = put_uint(put(at, b"\xa5parts"), header.parts)
        into.entries.size = at - into.entries.at
        into.records += 1
        into.payload_bytes += item.size
        into.messages += ends_message(header)
        return 0

    cdef uint8_t* put_str(self, uint8_t* at, const Item* item) noexcept nogil:
        """Write a payload as a str; in base64 those of parts are that of the whole, one behind the other."""
        if self.form == TEXT:
            return put_text(at, item.payload, item.size)
        return put_base64(put_str_head(at, base64_size(item.size)), item.payload, item.size)

    cdef int run(self, uint64_t* cursor, uint64_t head, bint final) noexcept nogil:
        """Fill until one chunk is full or the records end."""
        cdef Item item
        cdef Open* into
        cdef int kind
        cdef int status
        cdef uint64_t following = cursor[0]
        while next_item(self.consumer, &following, head, &item):
            if self.sieve is not None and not self.sieve.wants(&item):
                join(&self.under, &item)
                cursor[0] = following
                continue
            kind = item.header.kind if REQUEST <= item.header.kind <= REPLAYED else RESPONSE
            into = &self.open[kind]
            if item.header.parts <= 1:
                status = self.append(into, &item)
                if status == NO_MEMORY:
                    return NO_MEMORY
                if status == NO_PLACE:
                    self.ready = kind
                    return 0              # the cursor stays before it
                join(&self.under, &item)
                if into.entries.size >= self.chunk_bytes or into.records >= self.chunk_records:
                    self.ready = kind
            elif into.records:        # a part is never mixed with others: send these first
                self.ready = kind
                return 0
            elif item.header.part == 0 and gather(self.consumer, &item, following, head, &self.line) == 0 and not final:
                return 0              # the rest of its start line has not come
            elif join(&self.under, &item) == STRAY:
                self.strays += ends_message(item.header)
            else:
                if self.append(into, &item) < 0:
                    return NO_MEMORY
                self.large = item.header.total > self.consumer.capacity // HOLD_SHARE
                if not self.large:
                    into.first = self.under.start
                self.part = item.header.part
                self.parts = item.header.parts
                self.ready = kind
            cursor[0] = following
            if self.ready:
                return 0
        cursor[0] = following
        return 0

    def fill(self, uint64_t cursor, uint64_t head, bint final=False):
        """Take records from `cursor` on until a chunk is ready or `head` is reached; return the new cursor.

        `final` says that no more will come, so that there is nothing to wait for.
        """
        cdef int status
        if self.ready:
            raise ValueError("take the chunk that is ready first")
        with nogil:
            status = self.run(&cursor, head, final)
        if status == NO_MEMORY:
            raise MemoryError
        return cursor

    @property
    def under_way(self):
        """Whether a message in parts has begun and its last part has not been taken."""
        return self.under.next != 0

    @property
    def joint(self):
        """The message in parts that is under way, as (id, position before its first part, number of the next, kind)."""
        return self.under.id, self.under.start, self.under.next, self.under.kind

    @joint.setter
    def joint(self, under_way):
        self.under.id, self.under.start, self.under.next, self.under.kind = under_way

    def records(self, int kind):
        """Return how many entries the chunk holds."""
        return self.chunk(kind).records

    def messages(self, int kind):
        """Return how many messages end in the chunk: all but the parts that are not the last."""
        return self.chunk(kind).messages

    def payload_bytes(self, int kind):
        """Return the payload bytes of the chunk's entries."""
        return self.chunk(kind).payload_bytes

    def first(self, int kind):
        """Return the ring position from which the chunk's messages could be read again; None if it is empty."""
        cdef Open* chunk = self.chunk(kind)
        return chunk.first if chunk.records else None

    def frame(self, int kind, bytes head not None, bytes tail not None):
        """Return head, length of the entries as 4 bytes big-endian, entries, and tail."""
        cdef Open* chunk = self.chunk(kind)
        cdef size_t before = len(head)
        cdef size_t after = len(tail)
        cdef size_t size = chunk.entries.size
        cdef bytes frame = PyBytes_FromStringAndSize(NULL, before + 4 + size + after)
        cdef uint8_t* at = <uint8_t*>PyBytes_AS_STRING(frame)
        memcpy(at, PyBytes_AS_STRING(head), before)
        at = put_big(at + before, size, 4)
        memcpy(at, chunk.entries.at, size)
        memcpy(at + size, PyBytes_AS_STRING(tail), after)
        return frame

    def entries(self, int kind):
        """Return a copy of the chunk's entries."""
        cdef Open* chunk = self.chunk(kind)
        return PyBytes_FromStringAndSize(<char*>chunk.entries.at, chunk.entries.size)

    def clear(self, int kind):
        """Empty the chunk, and `ready` with it if it was the one."""
        cdef Open* chunk = self.chunk(kind)
        shrink(&chunk.entries, 2 * self.chunk_bytes + 4 * FIXED_BYTES)
        chunk.records = chunk.messages = 0
        chunk.payload_bytes = 0
        if self.ready == kind:
            self.ready = self.part = self.parts = 0

    def take_strays(self):
        """Return how many messages without a beginning were passed over since the last call."""
        cdef uint64_t strays = self.strays
        self.strays = 0
        return strays
