"""A captured request as it is sent to a target: the same bytes, but for Host, what is put before its path, and marks.

In: a message as captured.  Out: bytes to send.  Invariant: every header line but Host is what it was, in its place.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t
from libc.string cimport memcmp, memcpy

from assemble.records cimport MessageHeader
from emit.buffer cimport free_buffer, reserve, shrink
from emit.fields cimport Text, after_authority, authority_of, find, same_letters, trimmed
from emit.prepare cimport EXPECTS, IDEMPOTENT, TO_CONNECT, TO_HEAD

cdef enum:
    KEPT = 64 * 1024    # memory kept from one request to the next


cdef inline bint is_text(Text text, const char* wanted, size_t size) noexcept nogil:
    return text.size == size and memcmp(text.at, wanted, size) == 0


cdef inline int flags_of(Text method) noexcept nogil:
    """Say what there is to know of a method; methods are told apart by case."""
    if is_text(method, b"HEAD", 4):
        return IDEMPOTENT | TO_HEAD
    if is_text(method, b"CONNECT", 7):
        return TO_CONNECT
    if is_text(method, b"GET", 3) or is_text(method, b"PUT", 3) or is_text(method, b"DELETE", 6) \
            or is_text(method, b"OPTIONS", 7) or is_text(method, b"TRACE", 5):
        return IDEMPOTENT
    return 0


cdef class Preparer:
    """Makes requests for one target.

    `base` is put before every path; `authority`, if given, in place of the value of Host and of the authority of an
    absolute target.  `copy_header` and `copy_parameter` name marks of second and further copies.
    """

    def __cinit__(self, str base, str authority, str copy_header, str copy_parameter):
        self.base = base.encode()
        self.authority = None if authority is None else authority.encode()
        self.copy_header = None if copy_header is None else copy_header.encode()
        self.copy_parameter = None if copy_parameter is None else copy_parameter.encode()

    def __dealloc__(self):
        free_buffer(&self.out)

    cdef int put(self, const uint8_t* at, size_t size) except -1:
        if reserve(&self.out, size) == NULL:
            raise MemoryError
        memcpy(self.out.at + self.out.size, at, size)
        self.out.size += size
        return 0

    cdef int put_bytes(self, bytes text) except -1:
        return self.put(<const uint8_t*>PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))

    cdef bytes prepare(self, const uint8_t* at, const MessageHeader* header, size_t size, int copy):
        """Return a request to send, and note `flags` and `head` of it; None if the header does not fit the message."""
        cdef size_t target_end = <size_t>header.target_at + header.target_len
        cdef size_t start = header.start_len
        cdef size_t head = header.head_len
        cdef bytes request
        if header.method_len > header.target_at or target_end > start or start > head or head > size or start == 0:
            return None
        self.out.size = 0
        self.flags = flags_of(Text(at, header.method_len))
        self.put(at, header.target_at)
        self.put_target(Text(at + header.target_at, header.target_len), copy)
        self.put(at + target_end, start - target_end)
        self.put_headers(at + start, head - start, size > head)
        if copy > 1 and self.copy_header is not None:
            self.mark(copy)
        self.head = self.out.size
        request = PyBytes_FromStringAndSize(NULL, self.out.size + size - head)
        memcpy(PyBytes_AS_STRING(request), self.out.at, self.out.size)
        memcpy(PyBytes_AS_STRING(request) + self.out.size, at + head, size - head)
        shrink(&self.out, KEPT)
        return request

    cdef int put_target(self, Text target, int copy) except -1:
        """Write the target: RFC 9112 section 3.2."""
        cdef Text authority = authority_of(target)
        cdef Text rest = after_authority(target)
        cdef bytes marked
        if rest.at == NULL or is_text(target, b"*", 1):
            return self.put(target.at, target.size)
        if authority.at != NULL:
            self.put(target.at, authority.at - target.at)
            if self.authority is None:
                self.put(authority.at, authority.size)
            else:
                self.put_bytes(self.authority)
        self.put_bytes(self.base)
        if copy > 1 and self.copy_parameter is not None:
            marked = with_parameter(rest.at[:rest.size], self.copy_parameter, b"%d" % copy)
            return self.put_bytes(marked)
        return self.put(rest.at, rest.size)

    cdef int put_headers(self, const uint8_t* at, size_t size, bint body) except -1:
        """Write the header lines and the blank line; the folded lines of a Host that is replaced are left out."""
        cdef size_t i = 0
        cdef size_t kept = 0          # what is not written yet begins here
        cdef size_t end, colon
        cdef Text value
        cdef bint hosts = False
        while i < size:
            end = i + find(at + i, size - i, c"\n")
            end += end < size
            if hosts and (at[i] == c" " or at[i] == c"\t"):
                self.put(at + kept, i - kept)
                kept = i = end
                continue
            colon = find(at + i, end - i, c":")
            hosts = False
            if colon == 4 and self.authority is not None and same_letters(at + i, b"Host", 4):
                value = trimmed(at + i + 5, end - i - 5 - (end > i and at[end - 1] == c"\n"))
                hosts = True
                self.put(at + kept, i + 5 - kept)
                if value.size:        # the blank after the colon is kept as it was
                    self.put(at + i + 5, value.at - (at + i + 5))
                    self.put_bytes(self.authority)
                    kept = (value.at - at) + value.size
                else:
                    self.put_bytes(b" " + self.authority)
                    kept = end - (2 if end >= i + 7 and at[end - 2] == c"\r" else 1)
            elif body and colon == 6 and same_letters(at + i, b"Expect", 6):
                value = trimmed(at + i + 7, end - i - 7 - (at[end - 1] == c"\n"))
                if value.size == 12 and same_letters(value.at, b"100-continue", 12):
                    self.flags |= EXPECTS
            i = end
        return self.put(at + kept, size - kept)

    def mark(self, int copy):
        """Write the header that tells a copy, before the blank line."""
        cdef bytes text = self.out.at[:self.out.size]
        cdef bytes line_end = b"\r\n" if text.endswith(b"\r\n") else b"\n"
        cdef bytes line = b"%b: %d%b" % (self.copy_header, copy, line_end)
        self.out.size -= len(line_end)
        self.put_bytes(line + line_end)

    def request(self, bytes message not None, bytes header not None, int copy=1):
        """Return (request, bytes before its body, flags), or None; for those who ask from Python."""
        cdef const MessageHeader* fields = <const MessageHeader*>PyBytes_AS_STRING(header)
        cdef bytes made
        if len(header) != sizeof(MessageHeader):
            raise ValueError("a message header is expected")
        made = self.prepare(<const uint8_t*>message, fields, len(message), copy)
        return None if made is None else (made, self.head, self.flags)


def with_parameter(bytes target, bytes name, bytes value):
    """Return path and query with this parameter: in place of its value if it is there, else at the end."""
    path, mark, query = target.partition(b"?")
    pairs = query.split(b"&") if mark else []
    replaced = [name + b"=" + value if pair.partition(b"=")[0] == name else pair for pair in pairs]
    if replaced == pairs:
        replaced = [pair for pair in pairs if pair] + [name + b"=" + value]
    return path + b"?" + b"&".join(replaced)


def flags_of_method(bytes method not None):
    """Return the flags of a request with that method."""
    return flags_of(Text(<const uint8_t*>method, len(method)))
