"""Finds Forward frames in bytes as they arrive, without building any object.

In: the bytes of one connection, from where a frame begins, however they are cut.  Out: where the frame and its
elements begin and end.  Invariant: each byte is looked at once, though a frame comes in a thousand pieces; no size
is believed before it is compared with the limit.
"""

from libc.stdint cimport uint8_t, uint64_t

from emit.unpack cimport ARRAY, BAD, BIN, EXT, NIL, OK, SHORT, STR, Cursor, Head, Status, pass_objects, read_head

from capture.errors import MalformedTraffic

cdef enum:
    MOST_ELEMENTS = 4    # [tag, time, record, option]


cdef class FrameScanner:
    """The progress through one frame; `scan` again with more bytes of it, `reset` for the next."""

    cdef size_t most_bytes
    cdef size_t at                          # bytes of the frame looked at
    cdef size_t wanted                      # bytes of the frame that there must be for any progress
    cdef uint64_t left                      # objects still to come in the present element
    cdef int elements                       # -1: not known yet
    cdef int element                        # the present one
    cdef size_t[MOST_ELEMENTS + 1] starts   # where each element begins, and where the last ends

    def __cinit__(self, size_t most_bytes):
        self.most_bytes = most_bytes
        self.reset()

    def reset(self):
        """Begin with a new frame."""
        self.at = self.wanted = self.left = self.element = 0
        self.elements = -1

    @property
    def begun(self):
        """Whether some of the frame has been seen."""
        return self.at != 0

    def scan(self, const uint8_t[::1] data not None):
        """Look at the frame's bytes so far; return the offsets of its elements and its end, or None if it is not whole.

        A nil, which some clients send as a heartbeat, is a frame without elements.
        """
        cdef size_t size = data.shape[0]
        cdef Status status = SHORT
        if size == 0 or size < self.wanted:
            return None
        with nogil:
            status = self.advance(&data[0], size)
        if status == BAD:
            raise MalformedTraffic("not a Forward frame", at=self.at)
        if status == OK and self.at <= self.most_bytes:
            return tuple([self.starts[i] for i in range(self.elements + 1)])
        if self.at > self.most_bytes or self.wanted > self.most_bytes or self.left > self.most_bytes:
            raise MalformedTraffic(f"a frame of more than {self.most_bytes} bytes", at=self.at)
        return None

    cdef Status advance(self, const uint8_t* data, size_t size) noexcept nogil:
        """Go on from where the last call ended."""
        cdef Cursor c = Cursor(data + self.at, size - self.at)
        cdef Head head
        cdef Status status
        if self.elements < 0:
            status = read_head(&c, &head)
            if status != OK:
                return status
            if head.kind == NIL:
                self.elements = 0
            elif head.kind == ARRAY and 2 <= head.n <= MOST_ELEMENTS:
                self.elements = <int>head.n
            else:
                return BAD
            self.starts[0] = self.at = c.at - data
            self.left = 1
        while self.element < self.elements:
            status = pass_objects(&c, &self.left)
            self.at = c.at - data
            if status != OK:
                self.wanted = self.at + shortfall(&c)
                return status
            self.element += 1
            self.starts[self.element] = self.at
            self.left = 1
        return OK


cdef size_t shortfall(Cursor* c) noexcept nogil:
    """Return how many bytes the object at the cursor, which is cut, needs at least."""
    cdef Cursor ahead = c[0]
    cdef Head head
    if read_head(&ahead, &head) != OK:
        return c.left + 1
    if STR <= head.kind <= EXT:
        return (ahead.at - c.at) + head.n
    return c.left + 1


def count_nils(const uint8_t[::1] data not None):
    """Return how many heartbeats stand in a row here: a client may send a million of them."""
    cdef Py_ssize_t count = 0
    while count < data.shape[0] and data[count] == 0xc0:
        count += 1
    return count


def split_body(const uint8_t[::1] element not None):
    """Say what a frame's second element is: (mode, offset of what is inside).

    "packed": str or bin, whose bytes are entries; "forward": an array of entries; "message": anything else, a time.
    """
    cdef Cursor c = Cursor(NULL, element.shape[0])
    cdef Head head
    if c.left:
        c.at = &element[0]
    if read_head(&c, &head) != OK:
        raise MalformedTraffic("a frame's element is cut", at=0)
    offset = element.shape[0] - c.left
    if head.kind == STR or head.kind == BIN:
        return "packed", offset
    if head.kind == ARRAY:
        return "forward", offset
    return "message", offset
