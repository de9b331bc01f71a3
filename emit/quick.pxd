"""Reads an entry that is laid out as our own sender lays it out (emit/chunks.pyx), several times as fast as any other.

In: entries.  Out: what `read_entry` of emit/entry.pxd would give.  Invariant: a byte that is not as expected gives
False and moves nothing; the general way then says what the entry is.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from assemble.records cimport FLAG_COMPLETE, REPLAYED, REQUEST, RESPONSE
from emit.entry cimport ALWAYS, METHOD, STATUS, TARGET, Record, Span, finish, read_v4
from emit.unpack cimport Cursor

cdef extern from *:
    """
    #define QUICK_EACH 0x0101010101010101ULL
    """
    const uint64_t EACH "QUICK_EACH"        # 1 in each byte
    uint32_t __builtin_bswap32(uint32_t n) noexcept nogil
    uint64_t __builtin_bswap64(uint64_t n) noexcept nogil


cdef enum:
    MOST_QUICK = 768     # most bytes of an entry before its payload that are read this way; so many have to be there
    MOST_TEXT = 255      # of them at most in a method or target, 15 in an address


cdef inline bint passed(const uint8_t** at, const char* wanted, size_t size) noexcept nogil:
    """Step over `size` bytes if they are those that are wanted; the compiler knows the size."""
    if memcmp(at[0], wanted, size) != 0:
        return False
    at[0] += size
    return True


cdef inline bint quick_uint(const uint8_t** at, uint64_t* value) noexcept nogil:
    """Read an unsigned integer."""
    cdef uint8_t first = at[0][0]
    cdef uint32_t word
    if first < 0x80:
        value[0] = first
        at[0] += 1
    elif first == 0xcc:
        value[0] = at[0][1]
        at[0] += 2
    elif first == 0xcd:
        value[0] = (<uint64_t>at[0][1] << 8) | at[0][2]
        at[0] += 3
    elif first == 0xce:
        memcpy(&word, at[0] + 1, 4)
        value[0] = __builtin_bswap32(word)
        at[0] += 5
    elif first == 0xcf:
        memcpy(value, at[0] + 1, 8)
        value[0] = __builtin_bswap64(value[0])
        at[0] += 9
    else:
        return False
    return True


cdef inline bint quick_port(const uint8_t** at, uint16_t* port) noexcept nogil:
    cdef uint64_t n = 0
    if not quick_uint(at, &n) or n > 0xffff:
        return False
    port[0] = <uint16_t>n
    return True


cdef inline bint quick_text(const uint8_t** at, Span* text) noexcept nogil:
    """Read a str of up to MOST_TEXT bytes."""
    cdef uint8_t first = at[0][0]
    if 0xa0 <= first < 0xc0:
        text.size = first & 0x1f
        at[0] += 1
    elif first == 0xd9:
        text.size = at[0][1]
        at[0] += 2
    else:
        return False
    text.at = at[0]
    at[0] += text.size
    return True


cdef inline bint quick_characters(const uint8_t** at, uint32_t* count) noexcept nogil:
    """Read a str and count its characters, as read_characters does."""
    cdef Span text
    cdef size_t i
    cdef uint32_t n = 0
    if not quick_text(at, &text):
        return False
    for i in range(text.size):
        n += (text.at[i] & 0xc0) != 0x80
    count[0] = n
    return True


cdef inline bint quick_bin(const uint8_t** at, Span* data) noexcept nogil:
    """Read the head of a bin; whether its bytes are all there is for the caller to check."""
    cdef uint8_t first = at[0][0]
    cdef uint32_t word
    if first == 0xc4:
        data.size = at[0][1]
        at[0] += 2
    elif first == 0xc5:
        data.size = (<size_t>at[0][1] << 8) | at[0][2]
        at[0] += 3
    elif first == 0xc6:
        memcpy(&word, at[0] + 1, 4)
        data.size = __builtin_bswap32(word)
        at[0] += 5
    else:
        return False
    data.at = at[0]
    return True


cdef inline bint quick_hex(const uint8_t** at, uint64_t* value) noexcept nogil:
    """Read 16 hexadecimal digits in lower case, eight at a time; the sums carry out of no byte below 0x80."""
    cdef uint64_t n = 0
    cdef uint64_t word, digits, letters
    cdef int half
    for half in range(2):
        memcpy(&word, at[0] + 8 * half, 8)
        digits = (word + EACH * 0x50) & ~(word + EACH * 0x46)      # the high bit tells: from 0x30, below 0x3a
        letters = (word + EACH * 0x1f) & ~(word + EACH * 0x19)     # from 0x61, below 0x67
        if (word & EACH * 0x80) or ((digits | letters) & EACH * 0x80) != EACH * 0x80:
            return False
        word = (word & EACH * 0x0f) + ((letters >> 7) & EACH) * 9
        word = __builtin_bswap64(word)
        word = (word | (word >> 4)) & 0x00ff00ff00ff00ffu
        word = (word | (word >> 8)) & 0x0000ffff0000ffffu
        n = (n << 32) | ((word | (word >> 16)) & 0xffffffffu)
    value[0] = n
    at[0] += 16
    return True


cdef inline bint quick_address(const uint8_t** at, uint8_t* packed) noexcept nogil:
    """Read an IPv4 address; IPv6 takes the general way."""
    cdef Span text
    return quick_text(at, &text) and text.size <= 15 and read_v4(&text, packed)


cdef inline bint quick_ends(const uint8_t** at, Record* record) noexcept nogil:
    """Read who sent it to whom, and how long that took."""
    return (
        passed(at, b"\xa3src", 4) and quick_address(at, record.header.src)
        and passed(at, b"\xa3dst", 4) and quick_address(at, record.header.dst)
        and passed(at, b"\xa5sport", 6) and quick_port(at, &record.header.sport)
        and passed(at, b"\xa5dport", 6) and quick_port(at, &record.header.dport)
        and passed(at, b"\xabduration_us", 12) and quick_uint(at, &record.duration_us)
        and record.duration_us <= <uint64_t>1 << 48
    )


cdef inline bint quick_kind(const uint8_t** at, bint request, Record* record) noexcept nogil:
    """Read the kind, of a request or of what answers one."""
    if request:
        record.header.kind = REQUEST
        return passed(at, b"\xa4kind\xa7request", 13)
    record.header.kind = RESPONSE
    if passed(at, b"\xa4kind\xa8response", 14):
        return True
    record.header.kind = REPLAYED
    return passed(at, b"\xa4kind\xa8replayed", 14)


cdef inline bint quick_start_line(const uint8_t** at, bint request, Record* record) noexcept nogil:
    """Read method and target, or the status."""
    cdef uint64_t status = 0
    if request:
        record.known = ALWAYS | METHOD | TARGET
        return (passed(at, b"\xa6method", 7) and quick_characters(at, &record.header.method_len)
                and passed(at, b"\xa6target", 7) and quick_characters(at, &record.header.target_len))
    record.known = ALWAYS | STATUS
    if not passed(at, b"\xa6status", 7) or not quick_uint(at, &status) or status > 999:
        return False
    record.header.status = <uint16_t>status
    return True


cdef inline bint quick_rest(const uint8_t** at, Record* record) noexcept nogil:
    """Read what follows the start line, up to where the payload begins."""
    if not passed(at, b"\xa8complete", 9) or at[0][0] | 1 != 0xc3:
        return False
    record.header.flags = 64 | (FLAG_COMPLETE if at[0][0] == 0xc3 else 0)     # 64: IPv4, see read_end
    at[0] += 1
    return (passed(at, b"\xa7missing", 8) and quick_uint(at, &record.header.missing)
            and passed(at, b"\xa4head", 5) and quick_uint(at, &record.header.head_len)
            and passed(at, b"\xa7payload", 8) and quick_bin(at, &record.payload))


cdef inline bint quick_entry(Cursor* c, Record* record) noexcept nogil:
    """Read one whole message that our sender wrote, IPv4, not in parts; False if it is anything else."""
    cdef const uint8_t* at = c.at
    cdef uint32_t[2] time
    cdef bint request
    if c.left < MOST_QUICK or not passed(&at, b"\x92\xd7\x00", 3):
        return False
    memset(record, 0, sizeof(Record))
    record.header.parts = 1
    memcpy(time, at, 8)
    record.header.first_ns = <int64_t>__builtin_bswap32(time[0]) * 1000000000 + __builtin_bswap32(time[1])
    request = at[8] == 0x8d
    if not request and at[8] != 0x8c:
        return False
    at += 9
    if not passed(&at, b"\xa2id\xb0", 4) or not quick_hex(&at, &record.header.id):
        return False
    if not (quick_kind(&at, request, record) and quick_ends(&at, record)):
        return False
    if not (quick_start_line(&at, request, record) and quick_rest(&at, record)):
        return False
    if record.payload.size > c.left - <size_t>(at - c.at) or not finish(record):
        return False
    at += record.payload.size
    c.left -= at - c.at
    c.at = at
    return True
