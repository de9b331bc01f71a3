"""The internet checksum (RFC 1071): the sum of 16-bit words, with what carries out added in again."""

from libc.stdint cimport uint8_t, uint64_t

from assemble.cursor cimport be16


cdef inline uint64_t add_words(uint64_t total, const uint8_t* p, size_t size) noexcept nogil:
    """Add so many bytes as big-endian words, an odd last one as if a zero followed it."""
    cdef size_t at = 0
    while at + 1 < size:
        total += be16(p + at)
        at += 2
    if at < size:
        total += <uint64_t>p[at] << 8
    return total


cdef inline bint is_right(uint64_t total) noexcept nogil:
    """Tell whether a sum over data and their own checksum is what it must be: all ones."""
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total == 0xFFFF
