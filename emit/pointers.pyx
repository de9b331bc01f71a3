"""Where values lie in a JSON text, by pointers (RFC 6901): so that one can be exchanged and the rest stays as it is.

In: bytes.  Out: spans of values.  Invariant: the text is read once and only its structure matters; nothing is recursed
into deeper than MOST_DEPTH.  In a pointer `*` stands for any one name or index, `**` for any number of them.
"""

import json

from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport uint8_t, uint64_t
from libc.stdio cimport snprintf
from libc.string cimport memchr, memcmp

from emit.codings import MOST_PLACES, Undecodable

cdef enum:
    STATES = 64
    DEPTH = 512
    LITERAL = 0
    ANY = 1
    DEEP = 2

MOST_TOKENS = STATES
MOST_DEPTH = DEPTH


def tokens(str pointer not None):
    """Return the reference tokens of a pointer; ValueError if it is none."""
    if not pointer.startswith("/"):
        raise ValueError("a JSON pointer begins with /, like /user/email")
    if any(each[:1] not in ("0", "1") for each in pointer.split("~")[1:]):
        raise ValueError("~ in a JSON pointer is written ~0, and / inside a name ~1")
    found = [each.replace("~1", "/").replace("~0", "~") for each in pointer[1:].split("/")]
    if pointer.endswith("/**"):
        raise ValueError("** stands for what is between: write a name or * behind it")
    return tuple(found)


cdef class Pointers:
    """Some pointers, looked for together."""

    cdef list kept                     # bytes of the tokens
    cdef uint8_t[STATES] kind
    cdef bint[STATES] last
    cdef int[STATES] pointer           # which one a token is of
    cdef uint64_t start
    cdef const uint8_t* text           # borrowed during `find`
    cdef size_t size
    cdef size_t at
    cdef list found

    def __cinit__(self, pointers):
        cdef int state = 0
        self.kept = []
        self.start = 0
        for number, pointer in enumerate(pointers):
            parts = tokens(pointer)
            if state + len(parts) > STATES:
                raise ValueError(f"too many pointers: write at most {STATES} names in all of them")
            self.start |= <uint64_t>1 << state
            for part in parts:
                self.kept.append(part.encode())
                self.kind[state] = DEEP if part == "**" else ANY if part == "*" else LITERAL
                self.pointer[state] = number
                self.last[state] = False
                state += 1
            self.last[state - 1] = True
        self.start = self.closed(self.start)

    cdef uint64_t closed(self, uint64_t mask) noexcept:
        """Add what follows `**` where that may stand for nothing."""
        cdef int state
        for state in range(STATES):
            if mask >> state & 1 and self.kind[state] == DEEP:
                mask |= <uint64_t>1 << (state + 1)
        return mask

    cdef uint64_t step(self, uint64_t mask, const uint8_t* name, size_t size, int* pointer) noexcept:
        """Return what may follow a name or an index, and the pointer that ends with it, or -1."""
        cdef uint64_t following = 0
        cdef int state
        cdef bytes token
        pointer[0] = -1
        for state in range(STATES):
            if not mask >> state & 1:
                continue
            if self.kind[state] == DEEP:
                following |= <uint64_t>1 << state
                continue
            token = <bytes>self.kept[state]
            if self.kind[state] == LITERAL and (
                <size_t>len(token) != size or memcmp(PyBytes_AS_STRING(token), name, size) != 0
            ):
                continue
            if self.last[state]:
                pointer[0] = self.pointer[state]
            else:
                following |= <uint64_t>1 << (state + 1)
        return self.closed(following)

    def find(self, bytes text not None):
        """Return (start, end, number of the pointer) of each value, in order; ValueError if this is no JSON.

        Several texts may follow each other, as in JSON Lines.  What lies in a value that was found is not looked at.
        """
        self.text = <const uint8_t*>PyBytes_AS_STRING(text)
        self.size = len(text)
        self.at = 3 if text.startswith(b"\xef\xbb\xbf") else 0
        self.found = []
        self.blanks()
        if self.at == self.size:
            raise ValueError("nothing is there")
        while self.at < self.size:
            self.value(self.start, -1, 0)
            self.blanks()
        return self.found

    cdef void blanks(self) noexcept:
        while self.at < self.size and self.text[self.at] in (c' ', c'\t', c'\r', c'\n', 0x1e):
            self.at += 1

    cdef int take(self, uint8_t byte) except -1:
        """Pass one byte that has to come."""
        if self.at >= self.size or self.text[self.at] != byte:
            raise ValueError(f"no JSON at byte {self.at}")
        self.at += 1
        return 0

    cdef int value(self, uint64_t mask, int pointer, int depth) except -1:
        """Pass one value, and note it if a pointer ends there."""
        cdef size_t start = self.at
        cdef uint8_t first = self.text[self.at] if self.at < self.size else 0
        if depth > DEPTH:
            raise ValueError("nested too deeply")
        if pointer >= 0:
            mask = 0
        if first == c'{' or first == c'[':
            self.members(mask, depth, first == c'{')
        elif first == c'"':
            self.string()
        else:
            self.scalar()
        if pointer >= 0:
            if len(self.found) >= MOST_PLACES:
                raise Undecodable("more than a body may have")
            self.found.append((start, self.at, pointer))
        return 0

    cdef int members(self, uint64_t mask, int depth, bint named) except -1:
        """Pass an object or an array."""
        cdef uint8_t end = c'}' if named else c']'
        cdef uint64_t index = 0
        cdef size_t size
        cdef uint64_t following = 0
        cdef int pointer = -1
        cdef char[24] digits
        self.at += 1
        self.blanks()
        if self.at < self.size and self.text[self.at] == end:
            self.at += 1
            return 0
        while True:
            self.blanks()
            if named:
                following = self.name(mask, &pointer)
                self.blanks()
                self.take(c':')
                self.blanks()
            elif mask:
                size = snprintf(digits, 24, b"%lu", <unsigned long>index)
                following = self.step(mask, <const uint8_t*>digits, size, &pointer)
                index += 1
            self.value(following, pointer, depth + 1)
            self.blanks()
            if self.at < self.size and self.text[self.at] == end:
                self.at += 1
                return 0
            self.take(c',')

    cdef uint64_t name(self, uint64_t mask, int* pointer) except? 0:
        """Pass a name, and return what may follow it."""
        cdef size_t start = self.at + 1
        cdef size_t size
        cdef bytes plain
        if self.at >= self.size or self.text[self.at] != c'"':
            raise ValueError(f"no JSON at byte {self.at}")
        self.string()
        pointer[0] = -1
        if mask == 0:
            return 0
        size = self.at - 1 - start
        if size and memchr(self.text + start, c'\\', size) != NULL:
            plain = json.loads(self.text[start - 1:self.at], strict=False).encode("utf-8", "surrogatepass")
            return self.step(mask, <const uint8_t*>PyBytes_AS_STRING(plain), len(plain), pointer)
        return self.step(mask, self.text + start, size, pointer)

    cdef int string(self) except -1:
        """Pass a string."""
        self.at += 1
        while self.at < self.size:
            if self.text[self.at] == c'"':
                self.at += 1
                return 0
            self.at += 2 if self.text[self.at] == c'\\' else 1
        self.at = self.size
        raise ValueError("a string has no end")

    cdef int scalar(self) except -1:
        """Pass a number or a word; which ones there are does not matter here."""
        cdef size_t start = self.at
        cdef uint8_t byte
        while self.at < self.size:
            byte = self.text[self.at]
            if not (c'0' <= byte <= c'9' or c'a' <= byte | 0x20 <= c'z' or byte in (c'+', c'-', c'.')):
                break
            self.at += 1
        if self.at == start:
            raise ValueError(f"no JSON at byte {self.at}")
        return 0
