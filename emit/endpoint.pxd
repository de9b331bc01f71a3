"""What endpoint a request is for: its method and path, with what only names a thing replaced by `*`.

In: a method and a target, of any origin.  Out: a name of at most NAME_BYTES.  A segment of the path is replaced if it
is a number, a UUID, or 16 hexadecimal digits and more; an ending, as in 17.png, stays.
"""

from libc.stdint cimport uint8_t
from libc.string cimport memcpy

from emit.fields cimport Text, after_authority, find


cdef enum:
    NAME_BYTES = 214
    METHOD_BYTES = 24
    UUID_BYTES = 36
    LONG_HEX = 16
    ENDING_BYTES = 5


cdef inline bint is_digit(uint8_t byte) noexcept nogil:
    return c'0' <= byte <= c'9'


cdef inline bint is_hex(uint8_t byte) noexcept nogil:
    return is_digit(byte) or c'a' <= (byte | 0x20) <= c'f'


cdef inline size_t ending_of(const uint8_t* at, size_t size) noexcept nogil:
    """Return how long the ending of a segment is, with its dot: a letter and up to four more bytes."""
    cdef size_t n
    for n in range(2, ENDING_BYTES + 2):
        if n < size and at[size - n] == c'.':
            return n if c'a' <= (at[size - n + 1] | 0x20) <= c'z' else 0
    return 0


cdef inline bint names_a_thing(const uint8_t* at, size_t size) noexcept nogil:
    """Tell whether a segment, without its ending, is one of many of its kind."""
    cdef size_t digits = 0
    cdef size_t hexes = 0
    cdef size_t dashes = 0
    cdef size_t i
    for i in range(size):
        digits += is_digit(at[i])
        hexes += is_hex(at[i])
        dashes += at[i] == c'-' and (i == 8 or i == 13 or i == 18 or i == 23)
    if size and digits == size:
        return True
    return (size >= LONG_HEX and hexes == size) or (size == UUID_BYTES and dashes == 4 and hexes == UUID_BYTES - 4)


cdef inline size_t name_endpoint(uint8_t* name, Text method, Text target) noexcept nogil:
    """Write the name of an endpoint, cut where it is too long, and return its length."""
    cdef Text path = after_authority(target)
    cdef const uint8_t* at
    cdef size_t left, size, ending, kept
    cdef size_t n = method.size if method.size < METHOD_BYTES else METHOD_BYTES
    if path.at == NULL:            # CONNECT, or nothing that we know
        path = target
    at = path.at
    left = find(at, path.size, c'?')
    memcpy(name, method.at, n)
    name[n] = c' '
    n += 1
    if left == 0:
        name[n] = c'/'
        return n + 1
    while n < NAME_BYTES:
        size = find(at, left, c'/')
        ending = ending_of(at, size)
        kept = size
        if names_a_thing(at, size - ending):
            name[n] = c'*'
            n += 1
            at += size - ending
            left -= size - ending
            kept = ending
        if kept > NAME_BYTES - n:
            kept = NAME_BYTES - n
        memcpy(name + n, at, kept)
        n += kept
        at += kept
        left -= kept
        if left == 0 or n == NAME_BYTES:
            break
        name[n] = c'/'
        n += 1
        at += 1
        left -= 1
    return n
