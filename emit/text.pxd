"""Numbers and addresses as text: each leaf writes at a pointer, whose room its caller made, and returns the end."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, strlen


cdef enum:
    MOST_ADDRESS = 46    # INET6_ADDRSTRLEN of <netinet/in.h>
    MOST_DECIMAL = 20    # digits of 2**64 - 1
    MOST_SECONDS = 32    # sign, 10 digits and more, point, 9 decimals


cdef extern from *:
    """
    static const char text_pairs[] =
        "0001020304050607080910111213141516171819202122232425262728293031323334353637383940414243444546474849"
        "5051525354555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899";
    static const char text_hex[] = "0123456789abcdef";
    """
    const char* text_pairs
    const char* text_hex


cdef inline uint8_t* put(uint8_t* at, const char* literal) noexcept nogil:
    """Write a string literal; the compiler knows its length."""
    cdef size_t size = strlen(literal)
    memcpy(at, literal, size)
    return at + size


cdef inline uint8_t* put_decimal(uint8_t* at, uint64_t n) noexcept nogil:
    """Write n in decimal."""
    cdef uint8_t[20] digits
    cdef size_t left = 20
    while n >= 100:
        left -= 2
        memcpy(digits + left, text_pairs + 2 * (n % 100), 2)
        n //= 100
    if n >= 10:
        left -= 2
        memcpy(digits + left, text_pairs + 2 * n, 2)
    else:
        left -= 1
        digits[left] = <uint8_t>(48 + n)
    memcpy(at, digits + left, 20 - left)
    return at + 20 - left


cdef inline uint8_t* put_hex(uint8_t* at, uint64_t n) noexcept nogil:
    """Write n as 16 hexadecimal digits."""
    cdef int i
    for i in range(15, -1, -1):
        at[i] = text_hex[n & 15]
        n >>= 4
    return at + 16


cdef inline uint8_t* put_seconds(uint8_t* at, int64_t ns) noexcept nogil:
    """Write nanoseconds as seconds with nine decimals."""
    cdef uint64_t n = <uint64_t>ns
    cdef uint32_t rest
    cdef int i
    if ns < 0:
        at[0] = 45
        at += 1
        n = 0 - n
    rest = <uint32_t>(n % 1000000000)
    at = put_decimal(at, n // 1000000000)
    at[0] = 46
    at[9] = <uint8_t>(48 + rest % 10)
    rest //= 10
    for i in range(7, 0, -2):
        memcpy(at + i, text_pairs + 2 * (rest % 100), 2)
        rest //= 100
    return at + 10


cdef inline uint8_t* put_byte(uint8_t* at, uint8_t n) noexcept nogil:
    """Write one byte's value in decimal."""
    if n >= 100:
        at[0] = <uint8_t>(48 + n // 100)
        memcpy(at + 1, text_pairs + 2 * (n % 100), 2)
        return at + 3
    if n >= 10:
        memcpy(at, text_pairs + 2 * n, 2)
        return at + 2
    at[0] = <uint8_t>(48 + n)
    return at + 1


cdef inline uint8_t* put_v4(uint8_t* at, const uint8_t* packed) noexcept nogil:
    """Write an IPv4 address in dotted decimal."""
    at = put_byte(at, packed[0])
    at[0] = 46
    at = put_byte(at + 1, packed[1])
    at[0] = 46
    at = put_byte(at + 1, packed[2])
    at[0] = 46
    return put_byte(at + 1, packed[3])


cdef inline uint8_t* put_group(uint8_t* at, uint32_t n) noexcept nogil:
    """Write 16 bits in hexadecimal without leading zeros."""
    if n >= 0x1000:
        at[0] = text_hex[n >> 12]
        at += 1
    if n >= 0x100:
        at[0] = text_hex[(n >> 8) & 15]
        at += 1
    if n >= 0x10:
        at[0] = text_hex[(n >> 4) & 15]
        at += 1
    at[0] = text_hex[n & 15]
    return at + 1


cdef inline uint8_t* put_v6(uint8_t* at, const uint8_t* packed) noexcept nogil:
    """Write an IPv6 address as RFC 5952 wants it: the first longest run of zero groups as "::", IPv4-mapped dotted."""
    cdef uint32_t[8] groups
    cdef int best = -1
    cdef int best_size = 1     # a single zero group is written out
    cdef int run = 0
    cdef int i
    for i in range(8):
        groups[i] = (<uint32_t>packed[2 * i] << 8) | packed[2 * i + 1]
        run = run + 1 if groups[i] == 0 else 0
        if run > best_size:
            best_size = run
            best = i - run + 1
    if best == 0 and best_size == 5 and groups[5] == 0xffff:
        return put_v4(put(at, b"::ffff:"), packed + 12)
    i = 0
    while i < 8:
        if i == best:
            at = put(at, b"::")
            i += best_size
            continue
        if i and i != best + best_size:
            at[0] = 58
            at += 1
        at = put_group(at, groups[i])
        i += 1
    return at


cdef inline uint8_t* put_address(uint8_t* at, const uint8_t* packed, bint v6) noexcept nogil:
    """Write an address: dotted decimal, or RFC 5952 text; at most MOST_ADDRESS bytes."""
    return put_v6(at, packed) if v6 else put_v4(at, packed)
