"""Where an answer ends on a connection to a target, by RFC 9112 section 6.3, and what it says of the connection.

In: the bytes of a connection as they come.  Out: how many belong to the answer, its status.  Invariant: no byte is
looked at twice but those of a head that came in pieces; what is held is bounded by MOST_HEAD.
"""

from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy

from emit.answer cimport BROKEN, ENDED, INTERIM, MORE
from emit.buffer cimport free_buffer, reserve, shrink
from emit.fields cimport find, same_letters, trimmed, Text

cdef enum:
    MOST_HEAD = 1024 * 1024        # bytes of status line and headers
    MOST_LINE = 16 * 1024          # of a chunk's size and extensions
    MOST_TRAILER = 1024 * 1024
    MOST_INTERIMS = 100
    KEPT = 16 * 1024               # memory kept from one answer to the next

    HEAD = 0                       # states: a head is being read
    SIZED = 1                      # a body of `left` bytes
    UNTIL_CLOSE = 2
    CHUNK_SIZE = 3                 # the line before a chunk
    CHUNK = 4                      # `left` bytes of a chunk
    CHUNK_END = 5                  # the line end after it
    TRAILER = 6
    DONE = 7


cdef inline bint is_name(const uint8_t* at, size_t size, const char* name, size_t name_size) noexcept nogil:
    return size == name_size and same_letters(at, <const uint8_t*>name, size)


cdef class Answer:
    """The answer to one request after another on one connection."""

    def __dealloc__(self):
        free_buffer(&self.line)

    cdef void begin(self, bint to_head, bint to_connect) noexcept nogil:
        """Expect the answer to a request; `to_head`: to a HEAD."""
        self.to_head = to_head
        self.to_connect = to_connect
        self.state = HEAD
        self.status = 0
        self.size = self.left = self.trailer = self.head = 0
        self.keeps = False
        self.interims = 0
        shrink(&self.line, KEPT)

    cdef int feed(self, const uint8_t* at, size_t size, size_t* used) noexcept nogil:
        """Take bytes; `used` says how many belonged to the answer, or to an interim one that has ended there."""
        cdef size_t taken = 0
        cdef size_t step
        cdef int verdict = MORE
        while taken < size and verdict == MORE:
            step = 0
            if self.state == HEAD:
                verdict = self.until_blank_line(at + taken, size - taken, &step)
            elif self.state == SIZED or self.state == CHUNK:
                step = size - taken if self.left > size - taken else self.left
                self.left -= step
                if self.left == 0:
                    if self.state == SIZED:
                        verdict = ENDED
                    else:
                        self.state = CHUNK_END
            elif self.state == UNTIL_CLOSE:
                step = size - taken
            elif self.state == DONE:
                verdict = BROKEN
            else:
                verdict = self.until_line(at + taken, size - taken, &step)
            taken += step
            self.size += step
        if verdict == ENDED:
            self.state = DONE
        elif verdict == INTERIM:
            self.size = 0
        used[0] = taken
        return verdict

    cdef int close(self) noexcept nogil:
        """Say what the answer is worth, as the connection ends here."""
        if self.state != UNTIL_CLOSE:
            return BROKEN
        self.state = DONE
        return ENDED

    cdef int until_blank_line(self, const uint8_t* at, size_t size, size_t* used) noexcept nogil:
        """Look for the end of a head, which may have begun in what came before."""
        cdef size_t i = 0
        cdef size_t before = self.line.size
        cdef uint8_t last = self.line.at[before - 1] if before else 0
        cdef uint8_t last_but_one = self.line.at[before - 2] if before > 1 else 0
        cdef int verdict
        while i < size:
            i += find(at + i, size - i, c"\n")
            if i == size:
                break
            if i >= 1:
                last = at[i - 1]
                if i >= 2:
                    last_but_one = at[i - 2]
                else:
                    last_but_one = self.line.at[before - 1] if before else 0
            i += 1
            if last == c"\n" or (last == c"\r" and last_but_one == c"\n"):
                used[0] = i
                if before == 0:
                    return self.take_head(at, i)
                if reserve(&self.line, i) == NULL:
                    return BROKEN
                memcpy(self.line.at + before, at, i)
                self.line.size = before + i
                verdict = self.take_head(self.line.at, self.line.size)
                shrink(&self.line, KEPT)
                return verdict
        used[0] = size
        if before + size > MOST_HEAD or reserve(&self.line, size) == NULL:
            return BROKEN
        memcpy(self.line.at + before, at, size)
        self.line.size = before + size
        if self.line.size >= 5 and not same_letters(self.line.at, b"HTTP/", 5):
            return BROKEN                # no need to wait for the end of what is no head
        return MORE

    cdef int until_line(self, const uint8_t* at, size_t size, size_t* used) noexcept nogil:
        """Look for the end of a line of a chunked body."""
        cdef size_t end = find(at, size, c"\n")
        cdef size_t before = self.line.size
        cdef size_t whole = end + 1 if end < size else size
        cdef int verdict
        used[0] = whole
        if before + whole > MOST_LINE or reserve(&self.line, whole) == NULL:
            return BROKEN
        memcpy(self.line.at + before, at, whole)
        self.line.size = before + whole
        if end == size:
            return MORE
        verdict = self.take_line(self.line.at, self.line.size)
        self.line.size = 0
        return verdict

    cdef int take_line(self, const uint8_t* at, size_t size) noexcept nogil:
        """Act on a line of a chunked body: RFC 9112 section 7.1."""
        cdef Text text = trimmed(at, size - 1)          # without its line feed; trimmed takes a carriage return
        cdef size_t i
        cdef uint64_t n = 0
        cdef int digit
        if self.state == CHUNK_END:
            if text.size:
                return BROKEN
            self.state = CHUNK_SIZE
            return MORE
        if self.state == TRAILER:
            self.trailer += size
            if text.size == 0:
                return ENDED
            return MORE if self.trailer <= MOST_TRAILER else BROKEN
        text.size = find(text.at, text.size, c";")
        text = trimmed(text.at, text.size)
        if text.size == 0 or text.size > 15:
            return BROKEN
        for i in range(text.size):
            digit = hex_digit(text.at[i])
            if digit < 0:
                return BROKEN
            n = n << 4 | digit
        self.left = n
        self.state = CHUNK if n else TRAILER
        return MORE

    cdef int take_head(self, const uint8_t* at, size_t size) noexcept nogil:
        """Act on a head: RFC 9112 sections 4 and 6.3."""
        cdef size_t i = 0
        cdef size_t end
        if size > MOST_HEAD or size < 13 or not same_letters(at, b"HTTP/1.", 7) or at[8] != c" ":
            return BROKEN
        for i in range(9, 12):
            if not c"0" <= at[i] <= c"9":
                return BROKEN
        if c"0" <= at[12] <= c"9" or at[9] == c"0":
            return BROKEN
        self.status = (at[9] - c"0") * 100 + (at[10] - c"0") * 10 + at[11] - c"0"
        self.keeps = at[7] != c"0"
        self.chunked = self.coded = self.sized = False
        self.left = 0
        i = find(at, size, c"\n") + 1
        while i < size:
            end = i + find(at + i, size - i, c"\n")
            if self.header(at + i, end - i) == BROKEN:
                return BROKEN
            i = end + 1
        if self.status < 200 and self.status != 101:
            self.interims += 1
            return INTERIM if self.interims <= MOST_INTERIMS else BROKEN
        self.head = size
        if self.status == 101 or (self.to_connect and self.status < 300):
            self.keeps = False           # a tunnel now
            return ENDED
        if self.to_head or self.status == 204 or self.status == 304:
            return ENDED
        if self.chunked:
            self.state = CHUNK_SIZE
        elif self.sized and not self.coded:
            if self.left == 0:
                return ENDED
            self.state = SIZED
        else:
            self.keeps = False
            self.state = UNTIL_CLOSE
        return MORE

    cdef int header(self, const uint8_t* at, size_t size) noexcept nogil:
        """Take note of a header line, if it is one that framing or the connection depend on."""
        cdef size_t colon = find(at, size, c":")
        cdef Text value
        cdef Text one
        cdef size_t i
        cdef uint64_t n = 0
        if colon == size:
            return MORE
        if is_name(at, colon, b"content-length", 14):
            value = trimmed(at + colon + 1, size - colon - 1)
            value.size = find(value.at, value.size, c",")      # a list of equal ones; differing ones are not told
            value = trimmed(value.at, value.size)
            if value.size == 0 or value.size > 18:
                return BROKEN
            for i in range(value.size):
                if not c"0" <= value.at[i] <= c"9":
                    return BROKEN
                n = n * 10 + value.at[i] - c"0"
            if self.sized and n != self.left:
                return BROKEN
            self.sized = True
            self.left = n
        elif is_name(at, colon, b"transfer-encoding", 17):
            value = trimmed(at + colon + 1, size - colon - 1)
            self.chunked = value.size >= 7 and same_letters(value.at + value.size - 7, b"chunked", 7)
            self.coded = True                                  # RFC 9112 section 6.3: it overrides Content-Length
        elif is_name(at, colon, b"connection", 10):
            value = trimmed(at + colon + 1, size - colon - 1)
            while value.size:
                n = find(value.at, value.size, c",")
                one = trimmed(value.at, n)
                if is_name(one.at, one.size, b"close", 5):
                    self.keeps = False
                elif is_name(one.at, one.size, b"keep-alive", 10):
                    self.keeps = True
                n += n < value.size
                value.at += n
                value.size -= n
        return MORE

    # -- for those who ask from Python

    def expect(self, bint to_head=False, bint to_connect=False):
        """Expect the answer to a request."""
        self.begin(to_head, to_connect)

    def take(self, bytes data not None):
        """Take bytes; return (verdict, bytes used): "more", "interim", "ended" or "broken"."""
        cdef size_t used = 0
        cdef int verdict = self.feed(<const uint8_t*>data, len(data), &used)
        return ("more", "interim", "ended", "broken")[verdict], used

    def at_end(self):
        """Say what the answer is worth where the connection ends: "ended" or "broken"."""
        return "ended" if self.close() == ENDED else "broken"


cdef inline int hex_digit(uint8_t byte) noexcept nogil:
    """Return what a hexadecimal digit stands for; -1 if it is none."""
    if c"0" <= byte <= c"9":
        return byte - c"0"
    byte |= 0x20
    return byte - c"a" + 10 if c"a" <= byte <= c"f" else -1
