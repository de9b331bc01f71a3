"""Bounds-checked steps over msgpack in memory: heads of objects, and whole objects to be passed over."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t


cdef enum Status:
    OK = 0
    SHORT = 1      # the bytes end inside an object
    BAD = 2        # 0xc1, which msgpack never uses

cdef enum Kind:
    NIL = 0
    FALSE = 1
    TRUE = 2
    UINT = 3       # n is the value
    NEGATIVE = 4
    FLOAT = 5
    STR = 6        # n bytes follow
    BIN = 7        # n bytes follow
    EXT = 8        # n bytes follow, of type `ext`
    ARRAY = 9      # n objects follow
    MAP = 10       # 2 n objects follow

cdef struct Cursor:       # borrowed: its maker keeps the memory alive
    const uint8_t* at
    size_t left           # bytes readable from `at`

cdef struct Head:
    Kind kind
    uint8_t ext
    uint64_t n


cdef inline const uint8_t* take(Cursor* c, size_t n) noexcept nogil:
    """Step over n bytes and return where they began; NULL, and nothing moves, if fewer are left."""
    if n > c.left:
        return NULL
    c.at += n
    c.left -= n
    return c.at - n


cdef inline bint take_big(Cursor* c, int size, uint64_t* value) noexcept nogil:
    """Read an unsigned big-endian number of `size` bytes."""
    cdef const uint8_t* at = take(c, size)
    cdef uint64_t n = 0
    cdef int i
    if at == NULL:
        return False
    for i in range(size):
        n = (n << 8) | at[i]
    value[0] = n
    return True


cdef inline Status sized(Cursor* c, Head* head, Kind kind, int size) noexcept nogil:
    """Read the length of an object whose first byte is read."""
    head.kind = kind
    return OK if take_big(c, size, &head.n) else SHORT


cdef inline Status ext(Cursor* c, Head* head) noexcept nogil:
    """Read the type of an ext whose length is read."""
    cdef const uint8_t* at = take(c, 1)
    head.kind = EXT
    if at == NULL:
        return SHORT
    head.ext = at[0]
    return OK


cdef inline Status read_rare_head(Cursor* c, Head* head, uint8_t first) noexcept nogil:
    """Read the heads from 0xc0 to 0xdf.  Source: the msgpack specification, table of formats."""
    cdef Status status
    cdef int width
    head.n = 0
    if first == 0xc0:
        head.kind = NIL
        return OK
    if first == 0xc1:
        return BAD
    if first <= 0xc3:
        head.kind = TRUE if first == 0xc3 else FALSE
        return OK
    if first <= 0xc6:
        return sized(c, head, BIN, 1 << (first - 0xc4))
    if first <= 0xc9:
        status = sized(c, head, EXT, 1 << (first - 0xc7))
        return status if status != OK else ext(c, head)
    if first <= 0xcb:
        width = 4 if first == 0xca else 8
        head.kind = FLOAT
        return OK if take(c, width) != NULL else SHORT
    if first <= 0xcf:
        return sized(c, head, UINT, 1 << (first - 0xcc))
    if first <= 0xd3:
        width = 1 << (first - 0xd0)
        status = sized(c, head, UINT, width)
        if status == OK and (head.n >> (8 * width - 1)) & 1:
            head.kind = NEGATIVE
        return status
    if first <= 0xd8:
        head.n = 1 << (first - 0xd4)
        return ext(c, head)
    if first <= 0xdb:
        return sized(c, head, STR, 1 << (first - 0xd9))
    if first <= 0xdd:
        return sized(c, head, ARRAY, 2 << (first - 0xdc))
    return sized(c, head, MAP, 2 << (first - 0xde))


cdef inline Status read_head(Cursor* c, Head* head) noexcept nogil:
    """Read the head of one object; what is inside it, or its bytes, follow at the cursor."""
    cdef const uint8_t* at = take(c, 1)
    cdef uint8_t first
    if at == NULL:
        return SHORT
    first = at[0]
    if first < 0x80:
        head.kind = UINT
        head.n = first
    elif first < 0x90:
        head.kind = MAP
        head.n = first & 0x0f
    elif first < 0xa0:
        head.kind = ARRAY
        head.n = first & 0x0f
    elif first < 0xc0:
        head.kind = STR
        head.n = first & 0x1f
    elif first >= 0xe0:
        head.kind = NEGATIVE
        head.n = 0
    else:
        return read_rare_head(c, head, first)
    return OK


cdef inline Status pass_objects(Cursor* c, uint64_t* count) noexcept nogil:
    """Step over `count` objects, whatever they hold; on SHORT, stop before the one that is cut, with `count` to come.

    Needs no stack: what an array or a map holds is added to what is to come, so that nesting costs nothing.
    """
    cdef Cursor before
    cdef Head head
    cdef Status status
    while count[0]:
        before = c[0]
        status = read_head(c, &head)
        if status == OK and STR <= head.kind <= EXT and take(c, head.n) == NULL:
            status = SHORT
        if status != OK:
            c[0] = before
            return status
        count[0] -= 1
        if head.kind == ARRAY:
            count[0] += head.n
        elif head.kind == MAP:
            count[0] += 2 * head.n
    return OK
