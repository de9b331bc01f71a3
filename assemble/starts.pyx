"""Looking for the next message start in bytes of which the beginning is unknown: joined late, or behind a hole.

In: bytes, cut anywhere.  Out: where a message begins, or from where on one might.  Invariant: stricter than framing in
step, so that a body that speaks of HTTP is not taken for it: whole start lines of HTTP/1.0 and 1.1, methods of capital
letters and dashes; what is found does not depend on the cuts.
"""

from libc.stdint cimport uint8_t
from libc.string cimport memcmp, memcpy, strlen

from assemble.framing cimport is_digit
from assemble.records cimport REQUEST, RESPONSE


cdef extern from "<string.h>" nogil:
    void* memmem(const void* haystack, size_t size, const void* needle, size_t needle_size)

cdef enum:
    LF = 10
    CR = 13
    SP = 32
    DASH = 45
    LINE_LOOKBACK = 1 << 20  # a request line longer than this is not found
    METHOD_LEAST = 3
    METHOD_MOST = 32
    VERSION_BYTES = 8       # HTTP/1.x

# The methods of IANA's registry (RFC 9110, 2068, 3253, 3648, 3744, 4437, 4791, 4918, 5323, 5789, 5842) and others that
# people meet (UPnP, caches, Exchange, Icecast), a space around each.
cdef const char* KNOWN = (
    b" ACL BASELINE-CONTROL BIND CHECKIN CHECKOUT CONNECT COPY DELETE GET HEAD LABEL LINK LOCK MERGE MKACTIVITY"
    b" MKCALENDAR MKCOL MKREDIRECTREF MKWORKSPACE MOVE OPTIONS ORDERPATCH PATCH POST PRI PROPFIND PROPPATCH PUT QUERY"
    b" REBIND REPORT SEARCH TRACE UNBIND UNCHECKOUT UNLINK UNLOCK UPDATE UPDATEREDIRECTREF VERSION-CONTROL"
    b" BAN BCOPY BDELETE BMOVE BPROPFIND BPROPPATCH M-SEARCH NOTIFY POLL PURGE REFRESH SOURCE SUBSCRIBE UNSUBSCRIBE ")


cdef inline bint in_method(uint8_t c) noexcept nogil:
    return 65 <= c <= 90 or c == DASH


cdef bint any_space(const uint8_t* p, size_t n) noexcept nogil:
    """Tell whether a word ends among these bytes."""
    cdef size_t at
    cdef int found = 0
    for at in range(n):
        found |= p[at] <= SP
    return found


cdef inline size_t method_before(const uint8_t* p, size_t end, size_t lowest) noexcept nogil:
    """Return where the method that ends at `end` begins; `end` itself if there is none."""
    cdef size_t at = end
    while at > lowest and in_method(p[at - 1]) and end - at < METHOD_MOST:
        at -= 1
    while at < end and p[at] == DASH:
        at += 1
    return at


cdef size_t likely_method(const uint8_t* p, size_t begin, size_t end, bint at_line) noexcept nogil:
    """Return where in the capital letters p[begin:end] the method begins; `end` if nowhere.

    What begins a line is all of it.  Elsewhere letters of what came before may stand right before it: it is the longest
    method known by name that they end in, or all of them.
    """
    cdef size_t at
    if not (p[begin - 1] == LF if begin else at_line):
        for at in range(begin, end - METHOD_LEAST + 1):
            if is_known(p + at, end - at):
                return at
    return begin if end - begin < METHOD_MOST else end


cdef inline bint is_known(const uint8_t* p, size_t n) noexcept nogil:
    cdef char[METHOD_MOST + 2] word
    word[0] = word[n + 1] = SP
    memcpy(&word[1], p, n)
    return memmem(KNOWN, strlen(KNOWN), word, n + 2) != NULL


cdef inline size_t word_before(const uint8_t* p, size_t end, size_t lowest) noexcept nogil:
    """Return where the run of bytes without spaces and controls that ends at `end` begins."""
    cdef size_t at = end
    while at > lowest and p[at - 1] > SP:
        at -= 1
    return at


cdef bint find_start(const uint8_t* p, size_t n, size_t scanned, uint8_t wanted, bint at_line,
                     size_t* start) noexcept nogil:
    """Look for the first message start in p[0:n], of which `scanned` bytes were searched before.

    `wanted` is REQUEST, RESPONSE or 0 for either; `at_line` tells whether p[0] begins a line, or all that is there.
    """
    cdef const uint8_t* hit
    cdef size_t at = scanned - 16 if scanned > 16 else 0
    while at < n:
        hit = <const uint8_t*>memmem(p + at, n - at, b"HTTP/1.", 7)
        if hit == NULL or hit + 8 >= p + n:
            return False
        at = hit - p
        if wanted != REQUEST and is_status_line(hit, n - at):
            start[0] = at
            return True
        if wanted != RESPONSE and request_line_before(p, at, n, at_line, start):
            return True
        at += 7
    return False


cdef bint is_status_line(const uint8_t* p, size_t n) noexcept nogil:
    return (n > 12 and (p[7] == 48 or p[7] == 49) and p[8] == SP and 49 <= p[9] <= 57 and is_digit(p[10])
            and is_digit(p[11]) and (p[12] == SP or p[12] == LF or (p[12] == CR and n > 13 and p[13] == LF)))


cdef bint request_line_before(const uint8_t* p, size_t version, size_t n, bint at_line, size_t* start) noexcept nogil:
    """Walk back from an HTTP version to the method of its request line; the line has to be whole."""
    cdef size_t lowest = version - LINE_LOOKBACK if version > LINE_LOOKBACK else 0
    cdef size_t target
    if version < METHOD_LEAST + 3 or not (p[version + 7] == 48 or p[version + 7] == 49) or p[version - 1] != SP:
        return False
    if not (p[version + 8] == LF or (p[version + 8] == CR and version + 9 < n and p[version + 9] == LF)):
        return False
    target = word_before(p, version - 1, lowest)
    if target == version - 1 or target == lowest or p[target - 1] != SP:
        return False
    start[0] = method_before(p, target - 1, lowest)
    if target - 1 - start[0] < METHOD_LEAST:
        return False
    start[0] = likely_method(p, start[0], target - 1, at_line)
    return start[0] < target - 1


cdef size_t possible_start(const uint8_t* p, size_t n) noexcept nogil:
    """Return from where on p[0:n] may be the beginning of a start line that goes on behind n; n if nowhere."""
    cdef size_t lowest = n - LINE_LOOKBACK if n > LINE_LOOKBACK else 0
    cdef size_t end = n - 1 if n and p[n - 1] == CR else n
    cdef size_t last = word_before(p, end, lowest)         # the last three words, the last one perhaps empty
    cdef size_t size = end - last
    cdef size_t middle, at
    if last > lowest and p[last - 1] == SP:
        middle = word_before(p, last - 1, lowest)
        if middle < last - 1 and middle > lowest and p[middle - 1] == SP and begins_version(p + last, size):
            at = method_before(p, middle - 1, lowest)
            if middle - 1 - at >= METHOD_LEAST and (end == n or size == VERSION_BYTES):
                return at
        if (last - 1 - middle >= VERSION_BYTES and size <= 3 and (end == n or size == 3)
                and begins_version(p + last - 1 - VERSION_BYTES, VERSION_BYTES)):
            return last - 1 - VERSION_BYTES
        if end < n:
            return n
        at = method_before(p, last - 1, lowest)
        if last - 1 - at >= METHOD_LEAST:
            return at
    if end < n:
        return n
    at = method_before(p, end, lowest)
    for size in range(VERSION_BYTES if end - last > VERSION_BYTES else end - last, end - at, -1):
        if begins_version(p + end - size, size):
            return end - size
    return at


cdef bint begins_version(const uint8_t* p, size_t n) noexcept nogil:
    """Tell whether n bytes are, or begin, HTTP/1.0 or HTTP/1.1."""
    if n > VERSION_BYTES or memcmp(p, b"HTTP/1.", n if n < 7 else 7) != 0:
        return False
    return n < VERSION_BYTES or p[7] == 48 or p[7] == 49
