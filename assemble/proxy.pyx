"""The PROXY protocol: what a load balancer sends before the client's first byte (haproxy doc/proxy-protocol.txt).

In: the first bytes of a direction.  Out: the size of the header they begin with.  Invariant: what is a valid HTTP/1.x
request line is no header; the answer does not depend on the cuts.
"""

from libc.stdint cimport uint8_t
from libc.string cimport memcmp

from assemble.framing cimport FOUND, MORE, NOT_HTTP, Verdict, is_digit
from assemble.protocols cimport ends_in_version


cdef enum:
    LF = 10
    CR = 13
    SP = 32
    DOT = 46
    COLON = 58
    LINE_MOST = 107         # with its line end (2.1)
    BLOCK_LEAST = 16        # before the addresses (2.2)


cdef Verdict proxy_header(const uint8_t* p, size_t n, size_t* used) noexcept nogil:
    """Find a PROXY protocol header at p[0], version 1 or 2: FOUND, and its size; MORE; else NOT_HTTP.

    Source: haproxy doc/proxy-protocol.txt.
    """
    cdef Verdict verdict = proxy_line(p, n, used)
    return proxy_block(p, n, used) if verdict == NOT_HTTP else verdict


cdef Verdict proxy_line(const uint8_t* p, size_t n, size_t* used) noexcept nogil:
    """Find the text form: PROXY TCP4|TCP6 address address port port CR LF, or PROXY UNKNOWN and anything (2.1)."""
    cdef bint known = begins(p, n, b"PROXY TCP4 ", 11) or begins(p, n, b"PROXY TCP6 ", 11)
    cdef size_t at = 11 if known else 13
    cdef int spaces = 0
    if not known and not begins(p, n, b"PROXY UNKNOWN", 13):
        return NOT_HTTP
    while at < n and p[at] != CR:
        if p[at] == LF or at == LINE_MOST or (known and not in_address(p[at])):
            return NOT_HTTP
        spaces += p[at] == SP
        at += 1
    if at + 2 > LINE_MOST:
        return NOT_HTTP
    if at + 1 >= n:
        return MORE
    if p[at + 1] != LF or ends_in_version(p, at) or (known and spaces != 3):
        return NOT_HTTP
    used[0] = at + 2
    return FOUND


cdef inline bint begins(const uint8_t* p, size_t n, const char* text, size_t size) noexcept nogil:
    """Tell whether bytes begin with a text, as far as they go."""
    return memcmp(p, text, n if n < size else size) == 0


cdef inline bint in_address(uint8_t c) noexcept nogil:
    return is_digit(c) or c == SP or c == DOT or c == COLON or 97 <= c | 32 <= 102


cdef Verdict proxy_block(const uint8_t* p, size_t n, size_t* used) noexcept nogil:
    """Find the binary form: signature, version 2 and command, family, length, so many bytes (2.2)."""
    if not begins(p, n, b"\r\n\r\n\0\r\nQUIT\n", 12):
        return NOT_HTTP
    if n > 12 and p[12] != 0x20 and p[12] != 0x21:
        return NOT_HTTP
    if n < BLOCK_LEAST:
        return MORE
    used[0] = BLOCK_LEAST + (<size_t>p[14] << 8) + p[15]
    return FOUND if n >= used[0] else MORE


def proxy_header_of(const uint8_t[::1] data not None):
    """Give the size of the PROXY header that bytes begin with; 0: none; None: more bytes may tell."""
    cdef size_t used = 0
    cdef Verdict verdict = proxy_header(&data[0], data.shape[0], &used) if data.shape[0] else MORE
    return None if verdict == MORE else used if verdict == FOUND else 0
