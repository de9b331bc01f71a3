"""Telling by its first bytes what is not HTTP/1.x, so that it is counted by name and never guessed into messages.

In: the first bytes of a direction.  Out: a counter.  Invariant: what is, or may still become, an HTTP/1.x start line is
never named; while the bytes begin like any pattern there is no answer, so that the answer does not depend on the cuts.
"""

import re

from libc.stdint cimport uint8_t
from libc.string cimport memchr, memcmp, memset

from assemble.framing cimport is_digit
from assemble.patterns import PATTERNS
from assemble.tally import ASSEMBLE_COUNTERS


cdef enum:
    LF = 10
    CR = 13
    SP = 32
    TAB = 9
    DEL = 127
    HEAD_MOST = 36          # bytes that a pattern looks at
    TAIL_MOST = 12
    PATTERNS_MOST = 128
    LINE_MOST = 8192        # a line longer than this has no name

cdef enum Rest:             # of the line, behind a pattern's first bytes
    ANYTHING                # there need not be a line
    TEXT
    WORD
    DIGITS

cdef enum Match:
    NO
    MAYBE
    YES

cdef struct Compiled:
    int name                # a Tally member
    uint8_t sender
    uint8_t rest
    uint8_t size
    uint8_t tail_size
    uint8_t[TAIL_MOST] tail
    uint8_t[HEAD_MOST] at   # for each of the first bytes, which of `classes` it is in

cdef Compiled[PATTERNS_MOST] patterns
cdef size_t pattern_count = 0
cdef uint8_t[256][256] classes      # each a set of bytes
memset(classes, 0, sizeof(classes))


def _members(item):
    """Give the bytes that one item of a pattern's head stands for."""
    ranges = (part.partition("-") for part in ("00-ff" if item == ".." else item).split("|"))
    return frozenset(byte for low, _, high in ranges for byte in range(int(low, 16), int(high or low, 16) + 1))


def _places(head):
    """Give the bytes that are allowed at each place of a pattern's head."""
    for item in re.findall(r"'[^']*'|\S+", head):
        if item.startswith("'"):
            yield from (frozenset([byte]) for byte in item.strip("'").encode())
        else:
            yield _members(item)


def _compile():
    """Lay the table out for C."""
    global pattern_count
    cdef Compiled* compiled
    cdef size_t i
    numbers = {}
    for pattern in PATTERNS:
        places = list(_places(pattern.head))
        assert pattern_count < PATTERNS_MOST and len(places) <= HEAD_MOST and len(pattern.tail) <= TAIL_MOST
        compiled = &patterns[pattern_count]
        compiled.name = ASSEMBLE_COUNTERS.index("skipped_" + pattern.name)
        compiled.sender = pattern.sender
        compiled.rest = {"": ANYTHING, "text": TEXT, "word": WORD, "digits": DIGITS}[pattern.rest]
        compiled.size = len(places)
        compiled.tail_size = len(pattern.tail)
        for i, byte in enumerate(pattern.tail.encode()):
            compiled.tail[i] = byte
        for i, members in enumerate(places):
            compiled.at[i] = numbers.setdefault(members, len(numbers))   # raises when there are too many
            for byte in members:
                classes[compiled.at[i]][<uint8_t>byte] = 1
        pattern_count += 1


_compile()


cdef Tally name_protocol(const uint8_t* p, size_t n, uint8_t kind) noexcept nogil:
    """Name what begins at p[0], sent by the client (REQUEST), the server (RESPONSE) or either (0).

    NAME_MORE while more bytes may tell; skipped_not_http if it has no name.
    """
    cdef size_t i
    cdef Match match
    for i in range(pattern_count):
        if kind and patterns[i].sender and patterns[i].sender != kind:
            continue
        match = head_matches(&patterns[i], p, n)
        if match != NO:     # those before it are out for good, so that those behind it cannot change the answer
            return <Tally>(patterns[i].name if match == YES else NAME_MORE)
    return Tally.skipped_not_http


cdef Match head_matches(const Compiled* pattern, const uint8_t* p, size_t n) noexcept nogil:
    """Hold bytes against one pattern."""
    cdef size_t i
    for i in range(n if n < pattern.size else pattern.size):
        if not classes[pattern.at[i]][p[i]]:
            return NO
    if n < pattern.size:
        return MAYBE
    return YES if pattern.rest == ANYTHING else line_matches(pattern, p, n)


cdef Match line_matches(const Compiled* pattern, const uint8_t* p, size_t n) noexcept nogil:
    """Hold the rest of a line against a pattern whose first bytes are there."""
    cdef const uint8_t* lf
    cdef size_t end, i
    n = n if n < LINE_MOST else LINE_MOST
    lf = <const uint8_t*>memchr(p, LF, n)
    end = lf - p if lf != NULL else n
    if end > pattern.size and p[end - 1] == CR:
        end -= 1
    elif lf != NULL and pattern.rest == DIGITS:
        return NO
    for i in range(pattern.size, end):
        if not goes_on(p[i], pattern.rest):
            return NO
    if lf == NULL:
        return MAYBE if n < LINE_MOST else NO
    if ends_in_version(p, end) or (end >= 7 and memcmp(p, b"HTTP/1.", 7) == 0):
        return NO
    if end < pattern.tail_size or memcmp(p + end - pattern.tail_size, pattern.tail, pattern.tail_size) != 0:
        return NO
    return YES


cdef inline bint goes_on(uint8_t c, uint8_t rest) noexcept nogil:
    if rest == DIGITS:
        return is_digit(c)
    return (c > SP and c != DEL) or (rest == TEXT and (c == SP or c == TAB))


def protocol_of(const uint8_t[::1] data not None, uint8_t kind=0):
    """Give the counter for bytes that begin a direction, from the client (1), the server (2) or either; None: more."""
    cdef Tally name
    if data.shape[0] == 0:
        return None
    name = name_protocol(&data[0], data.shape[0], kind)
    return None if <int>name == NAME_MORE else ASSEMBLE_COUNTERS[<int>name]
