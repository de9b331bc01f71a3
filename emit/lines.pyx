"""Messages as JSON Lines (DESIGN 10): one line each, pure ASCII, the payload in base64.

In: a message ring, read in place.  Out: text, in a buffer of bounded size, to be written where lines go.
Invariant: no Python per message; a message in several parts is one line, written part by part.
"""

from cpython.buffer cimport PyBUF_READ
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.stdint cimport int64_t, uint8_t, uint64_t

from assemble.records cimport (
    FLAG_COMPLETE, FLAG_IPV6, MESSAGE_HEADER_BYTES, REPLAYED, REQUEST, MessageHeader,
)
from capture.ring cimport Consumer
from emit.buffer cimport free_buffer, reserve, shrink
from emit.payload cimport base64_size, put_base64
from emit.sieve cimport Sieve
from emit.text cimport put, put_address, put_decimal, put_hex, put_seconds, text_hex
from emit.walk cimport (
    FIRST, LAST, MIDDLE, STRAY, WHOLE, Item, Joint, Place, ends_message, gather, join, next_item, start_size,
)

from assemble.records import MESSAGE_HEADER

cdef enum:
    NO_MEMORY = -1
    FIXED_BYTES = 512     # most that a line takes besides method, target and payload
    HOLD_SHARE = 4        # messages up to this share of the ring are begun only when all their parts are there

if sizeof(MessageHeader) != MESSAGE_HEADER.size or MESSAGE_HEADER_BYTES != MESSAGE_HEADER.size:
    raise ImportError("lines: the compiled message header differs from the table in assemble/records.py")

cdef uint8_t[256] ESCAPES      # 0: as it is; 1: \u00XX; else the letter after the backslash


cdef void fill_table() noexcept:
    cdef int i
    for i in range(256):
        ESCAPES[i] = 0 if 0x20 <= i <= 0x7e else 1
    ESCAPES[c'"'] = c'"'
    ESCAPES[c'\\'] = c'\\'
    ESCAPES[c'\b'] = c'b'
    ESCAPES[c'\f'] = c'f'
    ESCAPES[c'\n'] = c'n'
    ESCAPES[c'\r'] = c'r'
    ESCAPES[c'\t'] = c't'


fill_table()


cdef inline uint8_t* put_string(uint8_t* at, const uint8_t* text, size_t size) noexcept nogil:
    """Write bytes, each one a Latin-1 character, as a JSON string in ASCII (RFC 8259 section 7)."""
    cdef size_t i
    cdef uint8_t escape
    at[0] = c'"'
    at += 1
    for i in range(size):
        escape = ESCAPES[text[i]]
        if escape == 0:
            at[0] = text[i]
            at += 1
        elif escape != 1:
            at[0] = c'\\'
            at[1] = escape
            at += 2
        else:
            at = put(at, b"\\u00")
            at[0] = text_hex[text[i] >> 4]
            at[1] = text_hex[text[i] & 15]
            at += 2
    at[0] = c'"'
    return at + 1


cdef inline uint8_t* put_line_start(uint8_t* at, const Item* item, size_t method, size_t target) noexcept nogil:
    """Write a line up to where the payload's base64 begins."""
    cdef const MessageHeader* header = item.header
    cdef bint v6 = header.flags & FLAG_IPV6
    at = put_hex(put(at, b'{"id":"'), header.id)
    if header.kind == REQUEST:
        at = put(at, b'","kind":"request","ts":')
    else:
        at = put(at, b'","kind":"replayed","ts":' if header.kind == REPLAYED else b'","kind":"response","ts":')
    at = put_seconds(at, header.first_ns)
    at = put_seconds(put(at, b',"duration":'), header.last_ns - header.first_ns)
    at = put_address(put(at, b',"src":"'), header.src, v6)
    at = put_decimal(put(at, b'","sport":'), header.sport)
    at = put_address(put(at, b',"dst":"'), header.dst, v6)
    at = put_decimal(put(at, b'","dport":'), header.dport)
    if header.kind == REQUEST:
        at = put_string(put(at, b',"method":'), item.line, method)
        at = put_string(put(at, b',"target":'), item.line + header.target_at if target else item.line, target)
    else:
        at = put_decimal(put(at, b',"status":'), header.status)
    at = put(at, b',"complete":true,"missing":' if header.flags & FLAG_COMPLETE else b',"complete":false,"missing":')
    return put(put_decimal(at, header.missing), b',"payload":"')


cdef inline bint starts_message(const MessageHeader* header) noexcept nogil:
    return header.parts <= 1 or header.part == 0


cdef int all_here(Consumer consumer, uint64_t cursor, uint64_t head) noexcept nogil:
    """Say whether the message in parts that begins at `cursor` ends before `head`: 1 yes, 0 not yet, -1 never."""
    cdef Joint ahead = Joint(0, 0, 0, 0)
    cdef Item item
    cdef Place place
    cdef bint begun = False
    while next_item(consumer, &cursor, head, &item):
        place = join(&ahead, &item)
        if place == LAST:
            return 1
        if begun and place != MIDDLE:
            return -1
        begun = True
    return 0


cdef class LineWriter:
    """Lines collected from one ring; `view` is what to write, `clear` says that it is written."""

    def __cinit__(self, Consumer consumer not None, size_t keep_bytes, Sieve sieve=None):
        self.consumer = consumer
        self.sieve = sieve
        self.keep_bytes = keep_bytes

    def __dealloc__(self):
        free_buffer(&self.text)
        free_buffer(&self.line)

    cdef int add(self, const Item* item, Place place) noexcept nogil:
        """Add a line, or a part's share of one."""
        cdef const MessageHeader* header = item.header
        cdef size_t method = 0
        cdef size_t target = 0
        cdef uint8_t* at
        if start_size(header) and start_size(header) <= item.line_size:
            method = header.method_len
            target = header.target_len
        at = reserve(&self.text, FIXED_BYTES + 6 * (method + target) + base64_size(item.size))
        if at == NULL:
            return NO_MEMORY
        if place == WHOLE or place == FIRST:
            at = put_line_start(at, item, method, target)
        at = put_base64(at, item.payload, item.size)
        if place == WHOLE or place == LAST:
            at = put(at, b'"}\n')
            self.messages += 1
        self.payload_bytes += item.size
        self.text.size = at - self.text.at
        return 0

    cdef int abort_line(self) noexcept nogil:
        """End the line under way: its message stops short, because who wrote it into the ring died."""
        cdef uint8_t* at = reserve(&self.text, FIXED_BYTES)
        if at == NULL:
            return NO_MEMORY
        self.text.size = put(at, b'","aborted":true}\n') - self.text.at
        self.joint.next = 0
        return 0

    cdef int run(self, uint64_t* cursor, uint64_t head, size_t limit, bint final) noexcept nogil:
        """Add lines until there are `limit` bytes of text or the records end."""
        cdef Item item
        cdef Place place
        cdef bint begun
        cdef int here
        cdef uint64_t following = cursor[0]
        while self.text.size < limit and next_item(self.consumer, &following, head, &item):
            begun = self.joint.next != 0
            if self.sieve is not None and not self.sieve.wants(&item):
                if begun and self.abort_line() < 0:       # what follows is another message
                    return NO_MEMORY
                cursor[0] = following
                continue
            if self.windowed and starts_message(item.header) and not self.within(item.header):
                if begun and self.abort_line() < 0:
                    return NO_MEMORY
                self.outside = self.text.size == 0
                self.stamp_ns = item.header.first_ns
                return 0                       # the cursor stays before it
            here = 1
            if item.header.parts > 1 and item.header.part == 0:
                self.holding = item.header.total <= self.consumer.capacity // HOLD_SHARE
                if self.holding:
                    here = all_here(self.consumer, item.start, head)
                if here == 1 and gather(self.consumer, &item, following, head, &self.line) == 0:
                    here = 0 if not final else -1
                if here == 0 and not final:
                    return 0                   # the cursor stays before its first part
            place = join(&self.joint, &item)
            if begun and place != MIDDLE and place != LAST and self.abort_after(place) < 0:
                return NO_MEMORY
            if here != 1:
                self.joint.next = 0            # never whole: its other parts are strays now
            elif place == STRAY:
                self.strays += ends_message(item.header)
            elif self.add(&item, place) < 0:
                return NO_MEMORY
            cursor[0] = following
        if self.text.size < limit:
            cursor[0] = following
        if final and self.joint.next and following == head:
            return self.abort_line()
        return 0

    cdef bint within(self, const MessageHeader* header) noexcept nogil:
        """Tell whether a message began in the time that is being written."""
        return self.from_ns <= header.first_ns < self.until_ns

    cdef int abort_after(self, Place place) noexcept nogil:
        """Abort the line under way, keeping what `join` has just remembered of the message that follows."""
        cdef Joint joint = self.joint
        cdef int status = self.abort_line()
        self.joint = joint
        return status

    def fill(self, uint64_t cursor, uint64_t head, size_t limit, bint final=False):
        """Take records from `cursor` on until `limit` bytes or `head` is reached; return the new cursor.

        A message in parts is begun only when it is there as a whole, if the ring can hold that; `final` says that no
        more will come, so that there is nothing to wait for.
        """
        cdef int status
        self.outside = False
        with nogil:
            status = self.run(&cursor, head, limit, final)
        if status == NO_MEMORY:
            raise MemoryError
        return cursor

    def set_window(self, int64_t from_ns, int64_t until_ns):
        """Take only messages that began in [from_ns, until_ns) from now on; another one ends `fill`."""
        self.windowed = True
        self.from_ns = from_ns
        self.until_ns = until_ns

    def safe(self, uint64_t cursor):
        """Return the position to go on from after a crash, once everything up to `cursor` is written."""
        return self.joint.start if self.joint.next and self.holding else cursor

    @property
    def size(self):
        """Bytes of text to be written."""
        return self.text.size

    @property
    def mid_line(self):
        """Whether the text ends inside a line."""
        return self.joint.next != 0

    def view(self):
        """Return the text; borrowed: valid until the next `fill` or `clear`."""
        return PyMemoryView_FromMemory(<char*>self.text.at, self.text.size, PyBUF_READ)

    def clear(self):
        """Empty the buffer, and its counts."""
        shrink(&self.text, self.keep_bytes)
        self.messages = self.payload_bytes = 0

    def take_strays(self):
        """Return how many messages without a beginning were passed over since the last call."""
        cdef uint64_t strays = self.strays
        self.strays = 0
        return strays
