"""A payload as text, for who has no use for bytes: base64, or UTF-8.  Each leaf writes at a pointer, whose room its
caller made, and returns the end."""

from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy


cdef extern from *:
    """
    #define PAYLOAD_ROW(a) \\
        a "A" a "B" a "C" a "D" a "E" a "F" a "G" a "H" a "I" a "J" a "K" a "L" a "M" a "N" a "O" a "P" \\
        a "Q" a "R" a "S" a "T" a "U" a "V" a "W" a "X" a "Y" a "Z" a "a" a "b" a "c" a "d" a "e" a "f" \\
        a "g" a "h" a "i" a "j" a "k" a "l" a "m" a "n" a "o" a "p" a "q" a "r" a "s" a "t" a "u" a "v" \\
        a "w" a "x" a "y" a "z" a "0" a "1" a "2" a "3" a "4" a "5" a "6" a "7" a "8" a "9" a "+" a "/"
    #define PAYLOAD_ROWS(a, b, c, d) PAYLOAD_ROW(a) PAYLOAD_ROW(b) PAYLOAD_ROW(c) PAYLOAD_ROW(d)
    static const char payload_pairs[] =
        PAYLOAD_ROWS("A", "B", "C", "D") PAYLOAD_ROWS("E", "F", "G", "H") PAYLOAD_ROWS("I", "J", "K", "L")
        PAYLOAD_ROWS("M", "N", "O", "P") PAYLOAD_ROWS("Q", "R", "S", "T") PAYLOAD_ROWS("U", "V", "W", "X")
        PAYLOAD_ROWS("Y", "Z", "a", "b") PAYLOAD_ROWS("c", "d", "e", "f") PAYLOAD_ROWS("g", "h", "i", "j")
        PAYLOAD_ROWS("k", "l", "m", "n") PAYLOAD_ROWS("o", "p", "q", "r") PAYLOAD_ROWS("s", "t", "u", "v")
        PAYLOAD_ROWS("w", "x", "y", "z") PAYLOAD_ROWS("0", "1", "2", "3") PAYLOAD_ROWS("4", "5", "6", "7")
        PAYLOAD_ROWS("8", "9", "+", "/");
    #define PAYLOAD_HIGH_BITS 0x8080808080808080ULL
    """
    const char* payload_pairs      # two base64 digits for each 12 bits
    const uint64_t HIGH_BITS "PAYLOAD_HIGH_BITS"
    uint64_t __builtin_bswap64(uint64_t n) noexcept nogil


cdef inline size_t base64_size(size_t size) noexcept nogil:
    """Return how long the base64 of so many bytes is."""
    return (size + 2) // 3 * 4


cdef inline uint8_t* put_base64(uint8_t* at, const uint8_t* data, size_t size) noexcept nogil:
    """Write base64 with padding (RFC 4648 section 4)."""
    cdef size_t i = 0
    cdef uint64_t six
    while i + 8 <= size:       # six bytes at a time out of one load of eight
        memcpy(&six, data + i, 8)
        six = __builtin_bswap64(six)
        memcpy(at, payload_pairs + 2 * (six >> 52), 2)
        memcpy(at + 2, payload_pairs + 2 * ((six >> 40) & 4095), 2)
        memcpy(at + 4, payload_pairs + 2 * ((six >> 28) & 4095), 2)
        memcpy(at + 6, payload_pairs + 2 * ((six >> 16) & 4095), 2)
        at += 8
        i += 6
    while i + 3 <= size:
        memcpy(at, payload_pairs + 2 * ((data[i] << 4) | (data[i + 1] >> 4)), 2)
        memcpy(at + 2, payload_pairs + 2 * (((data[i + 1] & 15) << 8) | data[i + 2]), 2)
        at += 4
        i += 3
    if i + 1 == size:
        memcpy(at, payload_pairs + 2 * (data[i] << 4), 2)
        at[2] = at[3] = c'='
        at += 4
    elif i + 2 == size:
        memcpy(at, payload_pairs + 2 * ((data[i] << 4) | (data[i + 1] >> 4)), 2)
        at[2] = payload_pairs[2 * ((data[i + 1] & 15) << 8)]
        at[3] = c'='
        at += 4
    return at


cdef inline size_t ascii_size(const uint8_t* data, size_t size) noexcept nogil:
    """Return how many bytes at the beginning are ASCII."""
    cdef size_t i = 0
    cdef uint64_t eight
    while i + 8 <= size:
        memcpy(&eight, data + i, 8)
        if eight & HIGH_BITS:
            break
        i += 8
    while i < size and data[i] < 0x80:
        i += 1
    return i


cdef inline int character_size(const uint8_t* data, size_t size) noexcept nogil:
    """Return how many bytes the character is long that does not begin with ASCII; less than 0: so many are none.

    Those are the most that some character could begin with, and at least one (Unicode 3.9, U+FFFD Substitution of
    Maximal Subparts).
    """
    cdef uint8_t first = data[0]
    cdef uint8_t least = 0x80      # of the second byte: not longer than need be, no surrogate, none above U+10FFFF
    cdef uint8_t most = 0xbf
    cdef int whole
    cdef int i
    if 0xc2 <= first <= 0xdf:
        whole = 2
    elif 0xe0 <= first <= 0xef:
        whole = 3
        if first == 0xe0:
            least = 0xa0
        elif first == 0xed:
            most = 0x9f
    elif 0xf0 <= first <= 0xf4:
        whole = 4
        if first == 0xf0:
            least = 0x90
        elif first == 0xf4:
            most = 0x8f
    else:
        return -1
    for i in range(1, whole):
        if <size_t>i == size or not least <= data[i] <= most:
            return -i
        least = 0x80
        most = 0xbf
    return whole


cdef inline uint8_t* put_utf8(uint8_t* at, const uint8_t* data, size_t size) noexcept nogil:
    """Write bytes as UTF-8: what is, as it is; what is not becomes U+FFFD.  Takes from 1 to 3 times their room."""
    cdef size_t i = 0
    cdef size_t run
    cdef int here
    while i < size:
        if data[i] < 0x80:
            run = ascii_size(data + i, size - i)
            memcpy(at, data + i, run)
            at += run
            i += run
            continue
        here = character_size(data + i, size - i)
        if here > 0:
            memcpy(at, data + i, here)
            at += here
            i += here
        else:
            memcpy(at, b"\xef\xbf\xbd", 3)
            at += 3
            i += -here
    return at
