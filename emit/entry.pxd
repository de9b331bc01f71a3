"""Reads one entry, `[time, record]` in msgpack, into a message header: bounds-checked leaves, no Python (WIRE.md)."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy, memset

from assemble.records cimport FLAG_COMPLETE, FLAG_INTERIM, FLAG_IPV6, REPLAYED, REQUEST, RESPONSE, MessageHeader
from emit.unpack cimport (
    ARRAY, BIN, EXT, FALSE, MAP, OK, STR, TRUE, UINT, Cursor, Head, pass_objects, read_head, take,
)


cdef extern from "<arpa/inet.h>" nogil:
    enum:
        AF_INET
        AF_INET6
    int inet_pton(int family, const char* text, void* packed)

cdef enum:
    MOST_ADDRESS = 46
    MOST_PARTS = 1 << 20
    EVENT_TIME_BYTES = 8

cdef enum Key:           # bits of Record.known
    ID = 1
    KIND = 2
    SRC = 4
    DST = 8
    SPORT = 16
    DPORT = 32
    METHOD = 64
    TARGET = 128
    STATUS = 256
    PAYLOAD = 512
    PART = 1024
    PARTS = 2048
    TEXT = 4096          # the payload is a str
    ALWAYS = 575         # ID | KIND | SRC | DST | SPORT | DPORT | PAYLOAD

cdef struct Span:            # borrowed: points into the entries
    const uint8_t* at
    size_t size

cdef struct Record:          # what one entry says
    MessageHeader header
    Span payload
    uint64_t duration_us
    uint64_t known           # bits of the keys that were there


cdef inline bint same(const Span* key, const char* name) noexcept nogil:
    return memcmp(key.at, name, key.size) == 0


cdef inline bint read_span(Cursor* c, Span* span) noexcept nogil:
    """Read a str or bin."""
    cdef Head head
    if read_head(c, &head) != OK or (head.kind != STR and head.kind != BIN):
        return False
    span.size = head.n
    span.at = take(c, head.n)
    return span.at != NULL


cdef inline int read_payload(Cursor* c, Span* span) noexcept nogil:
    """Read a payload; return its bits, -1 if it is none."""
    cdef bint binary = c.left and 0xc4 <= c.at[0] <= 0xc6
    if not read_span(c, span):
        return -1
    return PAYLOAD if binary else PAYLOAD | TEXT


cdef inline bint read_uint(Cursor* c, uint64_t most, uint64_t* value) noexcept nogil:
    """Read an integer from 0 to `most`."""
    cdef Head head
    if read_head(c, &head) != OK or head.kind != UINT or head.n > most:
        return False
    value[0] = head.n
    return True


cdef inline bint read_small(Cursor* c, uint32_t most, uint32_t* value) noexcept nogil:
    """Read an integer from 0 to `most` into 32 bits."""
    cdef uint64_t wide = 0
    if not read_uint(c, most, &wide):
        return False
    value[0] = <uint32_t>wide
    return True


cdef inline bint read_hex(Cursor* c, uint64_t* value) noexcept nogil:
    """Read a str of 1 to 16 hexadecimal digits."""
    cdef Span text
    cdef uint64_t n = 0
    cdef uint8_t digit
    cdef size_t i
    if not read_span(c, &text) or not 0 < text.size <= 16:
        return False
    for i in range(text.size):
        digit = text.at[i]
        if c'0' <= digit <= c'9':
            digit -= c'0'
        elif c'a' <= (digit | 0x20) <= c'f':
            digit = (digit | 0x20) - c'a' + 10
        else:
            return False
        n = (n << 4) | digit
    value[0] = n
    return True


cdef inline bint read_v4(const Span* text, uint8_t* packed) noexcept nogil:
    """Read dotted decimal: four numbers up to 255 of at most three digits."""
    cdef size_t i
    cdef uint32_t n = 0
    cdef int digits = 0
    cdef int at = 0
    for i in range(text.size):
        if c'0' <= text.at[i] <= c'9' and digits < 3:
            n = n * 10 + text.at[i] - c'0'
            digits += 1
        elif text.at[i] == c'.' and digits and n < 256 and at < 3:
            packed[at] = <uint8_t>n
            at += 1
            n = digits = 0
        else:
            return False
    packed[3] = <uint8_t>n
    return at == 3 and digits > 0 and n < 256


cdef inline bint read_address(Cursor* c, uint8_t* packed, bint* v6) noexcept nogil:
    """Read an address as text."""
    cdef Span text
    cdef char[MOST_ADDRESS] copy
    if not read_span(c, &text) or not 0 < text.size < MOST_ADDRESS:
        return False
    v6[0] = False
    if read_v4(&text, packed):
        return True
    memcpy(copy, text.at, text.size)
    copy[text.size] = 0
    v6[0] = True
    return memchr(copy, 0, text.size) == NULL and inet_pton(AF_INET6, copy, packed) == 1


cdef inline bint read_characters(Cursor* c, uint32_t* count) noexcept nogil:
    """Read a str in UTF-8 and count its characters; each was one byte on the wire."""
    cdef Span text
    cdef size_t n = 0
    cdef size_t i
    if not read_span(c, &text):
        return False
    for i in range(text.size):
        n += (text.at[i] & 0xc0) != 0x80
    if n >> 32:
        return False
    count[0] = <uint32_t>n
    return True


cdef inline bint read_time(Cursor* c, int64_t* ns) noexcept nogil:
    """Read a time: seconds, EventTime, or [either, metadata]."""
    cdef Head head
    cdef const uint8_t* at
    cdef uint64_t seconds = 0
    cdef uint64_t rest = 0
    cdef uint64_t one = 1
    cdef bint nested = False
    cdef int i
    if read_head(c, &head) != OK:
        return False
    if head.kind == ARRAY and head.n == 2:
        nested = True
        if read_head(c, &head) != OK:
            return False
    if head.kind == UINT and head.n >> 33 == 0:
        seconds = head.n
    elif head.kind == EXT and head.ext == 0 and head.n == EVENT_TIME_BYTES:
        at = take(c, EVENT_TIME_BYTES)
        if at == NULL:
            return False
        for i in range(4):
            seconds = (seconds << 8) | at[i]
            rest = (rest << 8) | at[4 + i]
    else:
        return False
    ns[0] = <int64_t>(seconds * 1000000000 + rest)
    return not nested or pass_objects(c, &one) == OK


cdef inline bint read_kind(Cursor* c, uint8_t* kind) noexcept nogil:
    cdef Span text
    if not read_span(c, &text):
        return False
    if text.size == 7 and same(&text, b"request"):
        kind[0] = REQUEST
    elif text.size == 8 and same(&text, b"response"):
        kind[0] = RESPONSE
    elif text.size == 8 and same(&text, b"replayed"):
        kind[0] = REPLAYED
    else:
        return False
    return True


cdef inline bint read_complete(Cursor* c, uint8_t* flags) noexcept nogil:
    cdef Head head
    if read_head(c, &head) != OK or (head.kind != TRUE and head.kind != FALSE):
        return False
    if head.kind == TRUE:
        flags[0] |= FLAG_COMPLETE
    else:
        flags[0] &= <uint8_t>~FLAG_COMPLETE
    return True


cdef inline bint read_end(Cursor* c, uint8_t* packed, uint8_t* flags) noexcept nogil:
    """Read one of the two addresses."""
    cdef bint v6 = False
    if not read_address(c, packed, &v6):
        return False
    flags[0] |= FLAG_IPV6 if v6 else 64      # 64: one of them is IPv4; both bits together are refused
    return True


cdef inline bint read_port(Cursor* c, uint16_t* port) noexcept nogil:
    cdef uint64_t n = 0
    if not read_uint(c, 0xffff, &n):
        return False
    port[0] = <uint16_t>n
    return True


cdef inline int read_value(Cursor* c, const Span* key, Record* record) noexcept nogil:
    """Read the value of one key; return its bit, 0 if it is none of ours, -1 if its value is not what it must be."""
    cdef MessageHeader* header = &record.header
    cdef uint64_t n = 0
    cdef uint64_t one = 1
    if key.size == 2 and same(key, b"id"):
        return ID if read_hex(c, &header.id) else -1
    if key.size == 3:
        if same(key, b"src"):
            return SRC if read_end(c, header.src, &header.flags) else -1
        if same(key, b"dst"):
            return DST if read_end(c, header.dst, &header.flags) else -1
    elif key.size == 4:
        if same(key, b"kind"):
            return KIND if read_kind(c, &header.kind) else -1
        if same(key, b"head"):
            return 0 if read_uint(c, <uint64_t>-1, &header.head_len) else -1
        if same(key, b"part"):
            return PART if read_small(c, MOST_PARTS, &header.part) else -1
    elif key.size == 5:
        if same(key, b"sport"):
            return SPORT if read_port(c, &header.sport) else -1
        if same(key, b"dport"):
            return DPORT if read_port(c, &header.dport) else -1
        if same(key, b"parts"):
            return PARTS if read_small(c, MOST_PARTS, &header.parts) else -1
    elif key.size == 6:
        if same(key, b"method"):
            return METHOD if read_characters(c, &header.method_len) else -1
        if same(key, b"target"):
            return TARGET if read_characters(c, &header.target_len) else -1
        if same(key, b"status"):
            if not read_uint(c, 999, &n):
                return -1
            header.status = <uint16_t>n
            return STATUS
    elif key.size == 7:
        if same(key, b"payload"):
            return read_payload(c, &record.payload)
        if same(key, b"missing"):
            return 0 if read_uint(c, <uint64_t>-1, &header.missing) else -1
    elif key.size == 8 and same(key, b"complete"):
        return 0 if read_complete(c, &header.flags) else -1
    elif key.size == 11 and same(key, b"duration_us"):
        return 0 if read_uint(c, <uint64_t>1 << 48, &record.duration_us) else -1
    return 0 if pass_objects(c, &one) == OK else -1


cdef inline bint finish(Record* record) noexcept nogil:
    """Derive what a record does not say; false if something is missing or does not fit together."""
    cdef MessageHeader* header = &record.header
    cdef const uint8_t* line_end
    cdef bint v6 = header.flags & FLAG_IPV6
    if record.known & ALWAYS != ALWAYS or (v6 and header.flags & 64):
        return False
    if header.parts < 1 or header.part >= header.parts:
        return False
    header.flags &= 63
    header.last_ns = header.first_ns + <int64_t>record.duration_us * 1000
    header.total = record.payload.size
    if header.kind != REQUEST:
        if not record.known & STATUS:
            return False
        header.method_len = header.target_len = 0
        if header.kind == RESPONSE and 100 <= header.status < 200 and header.status != 101:
            header.flags |= FLAG_INTERIM
    else:
        header.status = 0
        if header.part == 0:
            if record.known & (METHOD | TARGET) != METHOD | TARGET:
                return False
            header.target_at = header.method_len + 1 if header.method_len else 0
            if header.parts == 1 and <uint64_t>header.target_at + header.target_len > record.payload.size:
                return False         # of a message in parts, this is checked when it is whole
    if header.part == 0 and record.payload.size:
        line_end = <const uint8_t*>memchr(record.payload.at, c'\n', record.payload.size)
        if line_end != NULL and <size_t>(line_end - record.payload.at) >> 31 == 0:
            header.start_len = <uint32_t>(line_end - record.payload.at + 1)
        elif record.known & TEXT and 0 < header.head_len <= record.payload.size:
            # A head without a line end, or even a blank: base64, which would be taken for what was on the wire.
            return line_end != NULL or memchr(record.payload.at, c' ', record.payload.size) != NULL
    return True


cdef inline bint read_entry(Cursor* c, Record* record) noexcept nogil:
    """Read one entry; false if it is cut, or not a message of ours."""
    cdef Head head
    cdef Span key
    cdef uint64_t pairs
    cdef int bit
    memset(record, 0, sizeof(Record))
    record.header.flags = FLAG_COMPLETE
    record.header.parts = 1
    if read_head(c, &head) != OK or head.kind != ARRAY or head.n != 2:
        return False
    if not read_time(c, &record.header.first_ns) or read_head(c, &head) != OK or head.kind != MAP:
        return False
    pairs = head.n
    while pairs:
        if not read_span(c, &key):
            return False
        bit = read_value(c, &key, record)
        if bit < 0:
            return False
        record.known |= <uint64_t>bit
        pairs -= 1
    return finish(record)


cdef inline uint64_t mix(uint64_t n) noexcept nogil:
    """Spread every bit over the whole word (the finaliser of SplitMix64)."""
    n = (n ^ (n >> 30)) * 0xbf58476d1ce4e5b9u
    n = (n ^ (n >> 27)) * 0x94d049bb133111ebu
    return n ^ (n >> 31)


cdef inline uint64_t hash_end(const uint8_t* address, uint16_t port) noexcept nogil:
    cdef uint64_t[2] words
    memcpy(words, address, 16)
    return mix(mix(words[0] + port) ^ words[1])


cdef inline uint64_t hash_flow(const MessageHeader* header) noexcept nogil:
    """Return the same for both directions of a flow: the ends are added."""
    return mix(hash_end(header.src, header.sport) + hash_end(header.dst, header.dport))
