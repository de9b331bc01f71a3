"""C face of telling by name what is not HTTP/1.x."""

from libc.stdint cimport uint8_t
from libc.string cimport memcmp

from assemble.framing cimport is_digit
from assemble.tally cimport Tally


cdef enum:
    NAME_MORE = 0   # begins like something that has a name; every other value is a Tally member

cdef Tally name_protocol(const uint8_t* p, size_t n, uint8_t kind) noexcept nogil

cdef inline bint ends_in_version(const uint8_t* p, size_t end) noexcept nogil:
    """Tell whether a line, without its line end, may be an HTTP/1.x request line (RFC 9112 3)."""
    while end and p[end - 1] == 32:
        end -= 1
    return end >= 9 and memcmp(p + end - 9, b" HTTP/1.", 8) == 0 and is_digit(p[end - 1])
