"""Writes msgpack: each leaf writes at a pointer, whose room its caller made, and returns the end."""

from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy, memmove

from emit.payload cimport put_utf8


cdef enum:
    MOST_STR_HEAD = 5


cdef inline uint8_t* put_big(uint8_t* at, uint64_t n, int size) noexcept nogil:
    """Write the low `size` bytes of n, most significant first."""
    cdef int i
    for i in range(size - 1, -1, -1):
        at[i] = <uint8_t>n
        n >>= 8
    return at + size


cdef inline uint8_t* put_uint(uint8_t* at, uint64_t n) noexcept nogil:
    """Write an unsigned integer in its shortest form."""
    if n < 0x80:
        at[0] = <uint8_t>n
        return at + 1
    if n < 0x100:
        at[0] = 0xcc
        return put_big(at + 1, n, 1)
    if n < 0x10000:
        at[0] = 0xcd
        return put_big(at + 1, n, 2)
    if n >> 32 == 0:
        at[0] = 0xce
        return put_big(at + 1, n, 4)
    at[0] = 0xcf
    return put_big(at + 1, n, 8)


cdef inline uint8_t* put_str_head(uint8_t* at, size_t size) noexcept nogil:
    """Write the head of a str of `size` bytes."""
    if size < 32:
        at[0] = <uint8_t>(0xa0 | size)
        return at + 1
    if size < 0x100:
        at[0] = 0xd9
        return put_big(at + 1, size, 1)
    if size < 0x10000:
        at[0] = 0xda
        return put_big(at + 1, size, 2)
    at[0] = 0xdb
    return put_big(at + 1, size, 4)


cdef inline uint8_t* put_bin(uint8_t* at, const uint8_t* data, size_t size) noexcept nogil:
    """Write bytes as bin."""
    if size < 0x100:
        at[0] = 0xc4
        at = put_big(at + 1, size, 1)
    elif size < 0x10000:
        at[0] = 0xc5
        at = put_big(at + 1, size, 2)
    else:
        at[0] = 0xc6
        at = put_big(at + 1, size, 4)
    memcpy(at, data, size)
    return at + size


cdef inline uint8_t* put_latin(uint8_t* at, const uint8_t* text, size_t size) noexcept nogil:
    """Write bytes, each one a Latin-1 character, as a str (which msgpack wants in UTF-8)."""
    cdef size_t high = 0
    cdef size_t i
    for i in range(size):
        high += text[i] >> 7
    at = put_str_head(at, size + high)
    if high == 0:
        memcpy(at, text, size)
        return at + size
    for i in range(size):
        if text[i] < 0x80:
            at[0] = text[i]
            at += 1
        else:
            at[0] = 0xc0 | (text[i] >> 6)
            at[1] = 0x80 | (text[i] & 0x3f)
            at += 2
    return at


cdef inline uint8_t* put_text(uint8_t* at, const uint8_t* data, size_t size) noexcept nogil:
    """Write bytes as a str, with U+FFFD for what is not UTF-8."""
    cdef uint8_t[MOST_STR_HEAD] head
    cdef uint8_t* text = put_str_head(at, size)
    cdef uint8_t* end = put_utf8(text, data, size)
    cdef size_t length = end - text
    cdef size_t before
    if length != size:       # it has grown, and its head may have
        before = put_str_head(head, length) - head
        memmove(at + before, text, length)
        memcpy(at, head, before)
        end = at + before + length
    return end
