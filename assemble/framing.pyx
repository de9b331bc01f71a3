"""Where HTTP/1.x messages begin and end in a byte stream (RFC 9112); no storage, no time, no connections.

In: bytes, cut anywhere.  Out: verdicts and lengths.  Invariant: the result for a stream does not depend on its cuts;
only the headers that framing needs are looked at, once, and nothing is allocated.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memset

from assemble.records cimport REQUEST, RESPONSE


cdef extern from "<strings.h>" nogil:
    int strncasecmp(const char* a, const char* b, size_t n)

cdef enum:
    LF = 10
    CR = 13
    SP = 32
    TAB = 9
    COLON = 58
    SEMICOLON = 59
    DEL = 127

cdef uint64_t LENGTH_MOST = <uint64_t>1 << 62

# RFC 9110 5.6.2: which bytes make a token.
cdef uint8_t[256] IS_TOKEN
memset(IS_TOKEN, 0, 256)
for _byte in bytearray(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"):
    IS_TOKEN[<uint8_t>_byte] = 1


cdef inline bint is_space(uint8_t c) noexcept nogil:
    return c == SP or c == TAB or c == CR or c == LF


cdef Verdict parse_head(const uint8_t* p, size_t n, Head* head) noexcept nogil:
    """Read a start line and header block that begins at p[0]; MORE until the blank line is there (RFC 9112 2.1)."""
    cdef const uint8_t* lf = <const uint8_t*>memchr(p, LF, n)
    cdef size_t at
    if lf == NULL:
        return MORE if may_start(p, n) else NOT_HTTP
    memset(head, 0, sizeof(Head))
    at = lf - p + 1
    head.start_len = <uint32_t>at
    if not parse_start_line(p, at, head):
        return NOT_HTTP
    while at < n:
        if p[at] == LF:
            at += 1
            break
        if p[at] == CR:
            if at + 1 == n:
                return MORE
            if p[at + 1] == LF:
                at += 2
                break
        lf = <const uint8_t*>memchr(p + at, LF, n - at)
        if lf == NULL:
            return MORE
        note_header(p + at, p + n, lf, head)
        at = lf - p + 1
    else:
        return MORE
    head.head_len = <uint32_t>at
    return FOUND


cdef bint parse_start_line(const uint8_t* p, size_t n, Head* head) noexcept nogil:
    """Read a status line or a request line with its line end (RFC 9112 3, 4); False if it is neither.

    Spaces in the target, around it and behind the version are let pass: servers do, and the message is no other for it.
    """
    cdef size_t end = n - 1
    cdef size_t at = 0
    cdef size_t target
    if end and p[end - 1] == CR:
        end -= 1
    if end >= 12 and memcmp(p, b"HTTP/1.", 7) == 0:
        if not (is_digit(p[7]) and p[8] == SP and is_digit(p[9]) and is_digit(p[10]) and is_digit(p[11])):
            return False
        if end > 12 and p[12] != SP:
            return False
        head.kind = RESPONSE
        head.status = <uint16_t>((p[9] - 48) * 100 + (p[10] - 48) * 10 + (p[11] - 48))
        return True
    while at < end and IS_TOKEN[p[at]]:
        at += 1
    while end > at and p[end - 1] == SP:
        end -= 1
    # the least there can be behind the method: SP target SP HTTP/1.x
    if at == 0 or end < at + 11 or p[at] != SP:
        return False
    if memcmp(p + end - 9, b" HTTP/1.", 8) != 0 or not is_digit(p[end - 1]):
        return False
    target, end = at + 1, end - 9
    while target < end and p[target] == SP:
        target += 1
    while end > target and p[end - 1] == SP:
        end -= 1
    if target == end or any_control(p + target, end - target):
        return False
    head.kind = REQUEST
    head.method_len = <uint32_t>at
    head.target_at = <uint32_t>target
    head.target_len = <uint32_t>(end - target)
    if at == 4 and memcmp(p, b"HEAD", 4) == 0:
        head.traits = TRAIT_HEAD
    elif at == 7 and memcmp(p, b"CONNECT", 7) == 0:
        head.traits = TRAIT_CONNECT
    return True


cdef bint parse_cut_head(const uint8_t* p, size_t n, Head* head) noexcept nogil:
    """Read the start line of a head that ended before its blank line; False if not even that line is whole."""
    cdef const uint8_t* lf = <const uint8_t*>memchr(p, LF, n)
    if lf == NULL:
        return False
    memset(head, 0, sizeof(Head))
    head.start_len = <uint32_t>(lf - p + 1)
    head.head_len = <uint32_t>n
    return parse_start_line(p, head.start_len, head)


cdef bint may_start(const uint8_t* p, size_t n) noexcept nogil:
    """Tell whether bytes without a line end may still become a start line; independent of how they were cut."""
    cdef size_t at = 0
    if memcmp(p, b"HTTP/", n if n < 5 else 5) == 0:
        return n < 7 or memcmp(p, b"HTTP/1.", 7) == 0
    while at < n and IS_TOKEN[p[at]]:
        at += 1
    if at == n:
        return True
    if at == 0:
        return p[0] == CR and n == 1
    if p[n - 1] == CR:
        n -= 1
    return p[at] == SP and not any_control(p + at, n - at)


cdef inline bint any_control(const uint8_t* p, size_t n) noexcept nogil:
    """Tell whether there is a byte that no target and no method has, not even one that is let pass."""
    cdef size_t i
    cdef int found = 0
    for i in range(n):      # no branch: the compiler takes many bytes at once
        found |= (p[i] < SP) | (p[i] == DEL)
    return found


cdef void note_header(const uint8_t* line, const uint8_t* end, const uint8_t* lf, Head* head) noexcept nogil:
    """Take from one header line what framing needs."""
    cdef uint8_t first = line[0] | 32
    cdef size_t name
    cdef const uint8_t* colon
    if first != 99 and first != 116 and first != 117:   # c, t, u
        return
    colon = <const uint8_t*>memchr(line, COLON, lf - line)
    if colon == NULL:
        return
    name = colon - line
    while name and (line[name - 1] == SP or line[name - 1] == TAB):
        name -= 1
    if first == 99:
        if name == 14 and strncasecmp(<const char*>line, b"content-length", 14) == 0:
            if not note_length(colon + 1, fold_end(lf, end), head):
                head.bad_length = 1
    elif first == 116:
        if name == 17 and strncasecmp(<const char*>line, b"transfer-encoding", 17) == 0:
            note_encoding(colon + 1, fold_end(lf, end), head)
    elif name == 7 and strncasecmp(<const char*>line, b"upgrade", 7) == 0 and head.kind == REQUEST:
        head.traits |= TRAIT_UPGRADE


cdef const uint8_t* fold_end(const uint8_t* lf, const uint8_t* end) noexcept nogil:
    """Return where a header value ends when the lines that continue it are counted in (obs-fold, RFC 9112 5.2)."""
    while lf + 1 < end and (lf[1] == SP or lf[1] == TAB):
        lf = <const uint8_t*>memchr(lf + 1, LF, end - lf - 1)
        if lf == NULL:
            return end
    return lf


cdef bint note_length(const uint8_t* p, const uint8_t* end, Head* head) noexcept nogil:
    """Read a Content-Length: digits, or a list of the same number again and again (RFC 9112 6.3, rule 5)."""
    cdef uint64_t value
    cdef bint any_value = False
    while True:
        while p < end and is_space(p[0]):
            p += 1
        if p == end or not is_digit(p[0]):
            return False
        value = 0
        while p < end and is_digit(p[0]):
            if value > LENGTH_MOST // 10:
                return False
            value = value * 10 + (p[0] - 48)
            p += 1
        if value > LENGTH_MOST:
            return False
        if (any_value or head.has_length) and value != head.length:
            return False
        any_value = True
        head.length = value
        head.has_length = 1
        while p < end and is_space(p[0]):
            p += 1
        if p == end:
            return True
        if p[0] != 44:   # comma
            return False
        p += 1


cdef void note_encoding(const uint8_t* p, const uint8_t* end, Head* head) noexcept nogil:
    """Read a Transfer-Encoding list; of several header lines the last coding counts (RFC 9112 6.1)."""
    cdef const uint8_t* name
    cdef size_t size
    cdef bint plain
    while p < end:
        while p < end and (is_space(p[0]) or p[0] == 44):
            p += 1
        name = p
        while p < end and not is_space(p[0]) and p[0] != 44 and p[0] != 59:
            p += 1
        size = p - name
        while p < end and is_space(p[0]):
            p += 1
        plain = p == end or p[0] == 44 or size and p[0] == 59     # nothing, or parameters behind a name
        while p < end and p[0] != 44:
            p += 1
        if plain and (size == 0 or size == 8 and strncasecmp(<const char*>name, b"identity", 8) == 0):
            continue
        head.has_encoding = 1
        head.chunked = plain and size == 7 and strncasecmp(<const char*>name, b"chunked", 7) == 0


cdef size_t find_head_end(const uint8_t* p, size_t n, uint8_t* phase) noexcept nogil:
    """Return how many of these bytes belong to the head, when its blank line ends among them; else 0, phase carried."""
    cdef const uint8_t* lf
    cdef size_t at = 0
    while at < n:
        if phase[0] == LINE_EMPTY:
            if p[at] == LF:
                return at + 1
            phase[0] = LINE_CR if p[at] == CR else LINE_CONTENT
            at += 1
        elif phase[0] == LINE_CR and p[at] == LF:
            return at + 1
        else:
            lf = <const uint8_t*>memchr(p + at, LF, n - at)
            if lf == NULL:
                phase[0] = LINE_CONTENT
                return 0
            phase[0] = LINE_EMPTY
            at = lf - p + 1
    return 0


cdef void begin_body(const Head* head, uint8_t request_traits, Body* body) noexcept nogil:
    """Decide how the body is delimited (RFC 9112 6.3, rules 1 to 8, in that order)."""
    body.phase = CHUNK_SIZE_FIRST
    body.remain = 0
    body.line = 0
    if head.kind == RESPONSE:
        if head.status // 100 == 1 or head.status == 204 or head.status == 304 or request_traits & TRAIT_HEAD:
            body.kind = BODY_NONE
            return
        if request_traits & TRAIT_CONNECT and head.status // 100 == 2:
            body.kind = BODY_NONE
            return
    if head.chunked:
        body.kind = BODY_CHUNKED
    elif head.has_encoding:
        body.kind = BODY_CLOSE if head.kind == RESPONSE else BODY_INVALID
    elif head.bad_length:
        body.kind = BODY_INVALID
    elif head.has_length:
        body.kind = BODY_LENGTH if head.length else BODY_NONE
        body.remain = head.length
    else:
        body.kind = BODY_CLOSE if head.kind == RESPONSE else BODY_NONE


cdef Verdict pass_body(Body* body, const uint8_t* p, size_t n, size_t* used) noexcept nogil:
    """Go on over a body: FOUND once it has ended, after `used` of these bytes; MORE: all used; else BAD_LENGTH."""
    if body.kind == BODY_CHUNKED:
        return pass_chunked(body, p, n, used)
    if body.kind == BODY_LENGTH:
        used[0] = n if n < body.remain else body.remain
        body.remain -= used[0]
        return MORE if body.remain else FOUND
    used[0] = n if body.kind == BODY_CLOSE else 0
    return MORE if body.kind == BODY_CLOSE else FOUND


cdef Verdict pass_chunked(Body* body, const uint8_t* p, size_t n, size_t* used) noexcept nogil:
    """Go on over a chunked body (RFC 9112 7.1); a bare LF ends a line too (RFC 9112 2.2)."""
    cdef size_t at = 0
    cdef size_t step
    cdef const uint8_t* lf
    cdef Verdict verdict = MORE
    while at < n and verdict == MORE:
        if body.phase == CHUNK_DATA:
            step = n - at if n - at < body.remain else body.remain
            at += step
            body.remain -= step
            if body.remain == 0:
                body.phase = CHUNK_DATA_END
        elif body.phase == CHUNK_EXTENSION or body.phase == CHUNK_TRAILER:
            lf = <const uint8_t*>memchr(p + at, LF, n - at)
            if lf == NULL:
                at = n
            else:
                at = lf - p + 1
                body.phase = CHUNK_DATA if body.remain else CHUNK_TRAILER_FIRST
        else:
            verdict = pass_chunk_byte(body, p[at])
            if verdict != BAD_LENGTH:
                at += 1
                body.line = body.line + 1 if in_size_line(body) else 0
    used[0] = at
    return verdict


cdef inline bint in_size_line(const Body* body) noexcept nogil:
    return body.phase == CHUNK_SIZE or body.phase == CHUNK_SIZE_END or body.phase == CHUNK_SIZE_LF


cdef inline Verdict pass_chunk_byte(Body* body, uint8_t c) noexcept nogil:
    """Go on over one byte that is neither data nor part of an extension or trailer."""
    cdef int digit
    if body.phase == CHUNK_SIZE_FIRST or body.phase == CHUNK_SIZE:
        digit = hex_value(c)
        if digit >= 0:
            if body.remain > LENGTH_MOST // 16:
                return BAD_LENGTH
            body.remain = body.remain * 16 + <uint64_t>digit
            body.phase = CHUNK_SIZE
            return MORE
        if body.phase == CHUNK_SIZE_FIRST:
            return BAD_LENGTH
        body.phase = CHUNK_SIZE_END
    if c == LF:
        if body.phase == CHUNK_TRAILER_FIRST or body.phase == CHUNK_TRAILER_LF:
            return FOUND
        if body.phase == CHUNK_DATA_END or body.phase == CHUNK_DATA_LF:
            body.phase = CHUNK_SIZE_FIRST
        else:
            body.phase = CHUNK_DATA if body.remain else CHUNK_TRAILER_FIRST
    elif body.phase == CHUNK_TRAILER_FIRST:
        body.phase = CHUNK_TRAILER_LF if c == CR else CHUNK_TRAILER
    elif body.phase == CHUNK_TRAILER_LF:
        body.phase = CHUNK_TRAILER
    elif c == CR and body.phase == CHUNK_DATA_END:
        body.phase = CHUNK_DATA_LF
    elif c == CR and body.phase == CHUNK_SIZE_END:
        body.phase = CHUNK_SIZE_LF
    elif c == SEMICOLON and body.phase == CHUNK_SIZE_END:
        body.phase = CHUNK_EXTENSION
    elif not ((c == SP or c == TAB) and body.phase == CHUNK_SIZE_END):
        return BAD_LENGTH
    return MORE


cdef inline int hex_value(uint8_t c) noexcept nogil:
    if is_digit(c):
        return c - 48
    c |= 32
    return c - 87 if 97 <= c <= 102 else -1
