"""Where the fields of a filter expression lie in a message: bounds-checked leaves, no Python (docs/filters.md).

In: a message, or its first part.  Out: spans of it, NULL for what it does not have.
"""

from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memchr, memcmp

from assemble.records cimport REQUEST, MessageHeader
from emit.walk cimport Item


cdef struct Text:                # borrowed: points into the message
    const uint8_t* at            # NULL: the message does not have it
    size_t size


cdef inline Text nothing() noexcept nogil:
    return Text(NULL, 0)


cdef inline uint8_t low(uint8_t byte) noexcept nogil:
    """Return an ASCII letter in lower case, any other byte as it is."""
    return byte | 0x20 if c'A' <= byte <= c'Z' else byte


cdef inline bint same_letters(const uint8_t* a, const uint8_t* b, size_t size) noexcept nogil:
    """Compare without regard to the case of ASCII letters."""
    cdef size_t i
    for i in range(size):
        if low(a[i]) != low(b[i]):
            return False
    return True


cdef inline size_t find(const uint8_t* at, size_t size, uint8_t byte) noexcept nogil:
    """Return where a byte is first; `size` if nowhere."""
    cdef const uint8_t* found = <const uint8_t*>memchr(at, byte, size) if size else NULL
    return found - at if found != NULL else size


cdef inline Text trimmed(const uint8_t* at, size_t size) noexcept nogil:
    """Return a span without the blanks around it."""
    while size and (at[0] == c' ' or at[0] == c'\t'):
        at += 1
        size -= 1
    while size and (at[size - 1] == c' ' or at[size - 1] == c'\t' or at[size - 1] == c'\r'):
        size -= 1
    return Text(at, size)


cdef inline Text method_of(const Item* item) noexcept nogil:
    cdef const MessageHeader* header = item.header
    if header.kind != REQUEST or header.method_len == 0 or header.method_len > item.size:
        return nothing()
    return Text(item.payload, header.method_len)


cdef inline Text target_of(const Item* item) noexcept nogil:
    """Return the target, or what of it is in the first part."""
    cdef const MessageHeader* header = item.header
    cdef size_t size = header.target_len
    if header.kind != REQUEST or size == 0 or header.target_at >= item.size:
        return nothing()
    if size > item.size - header.target_at:
        size = item.size - header.target_at
    return Text(item.payload + header.target_at, size)


cdef inline Text authority_of(Text target) noexcept nogil:
    """Return the authority of an absolute target (RFC 9112 section 3.2.2), user information included."""
    cdef size_t colon = find(target.at, target.size, c':')
    if target.size == 0 or target.at[0] == c'/' or target.size - colon < 3 or memcmp(target.at + colon, b"://", 3) != 0:
        return nothing()
    target.at += colon + 3
    target.size -= colon + 3
    target.size = find(target.at, find(target.at, target.size, c'?'), c'/')
    return target


cdef inline Text after_authority(Text target) noexcept nogil:
    """Return path and query of a target; NULL if it has no path, as with CONNECT."""
    cdef Text authority = authority_of(target)
    if authority.at != NULL:
        return Text(authority.at + authority.size, target.at + target.size - authority.at - authority.size)
    return target if target.size and (target.at[0] == c'/' or target.at[0] == c'*') else nothing()


cdef inline Text path_of(const Item* item) noexcept nogil:
    cdef Text rest = after_authority(target_of(item))
    if rest.at == NULL:
        return rest
    rest.size = find(rest.at, rest.size, c'?')
    return rest if rest.size else Text(<const uint8_t*>b"/", 1)      # "http://shop" asks for "/"


cdef inline Text query_of(const Item* item) noexcept nogil:
    """Return what follows the first question mark of a target that has a path."""
    cdef Text rest = after_authority(target_of(item))
    cdef size_t mark
    if rest.at == NULL:
        return rest
    mark = find(rest.at, rest.size, c'?')
    return Text(rest.at + mark + 1, rest.size - mark - 1) if mark < rest.size else nothing()


cdef inline Text pair(Text list_, uint8_t separator, const uint8_t* name, size_t name_size) noexcept nogil:
    """Return the value of the first `name=value` in a list with separators; empty if there is no `=`."""
    cdef Text one
    cdef size_t size, equals
    while list_.at != NULL and list_.size:
        size = find(list_.at, list_.size, separator)
        one = trimmed(list_.at, size)
        equals = find(one.at, one.size, c'=')
        if equals == name_size and memcmp(one.at, name, name_size) == 0:
            if equals < one.size:
                equals += 1
            return Text(one.at + equals, one.size - equals)
        if size < list_.size:
            size += 1
        list_.at += size
        list_.size -= size
    return nothing()


cdef inline size_t head_end(const Item* item) noexcept nogil:
    """Return where the head ends, or the first part does."""
    cdef uint64_t head = item.header.head_len
    return head if 0 < head < item.size else item.size


cdef inline Text line_of(const Item* item, size_t* at) noexcept nogil:
    """Return the header line at `at`, which moves behind it; NULL at the end of the head.  `at` 0: the start line."""
    cdef size_t end = head_end(item)
    cdef size_t begin = at[0]
    cdef size_t size
    if begin >= end:
        return nothing()
    size = find(item.payload + begin, end - begin, c'\n')
    at[0] = begin + size + 1
    if size and item.payload[begin + size - 1] == c'\r':
        size -= 1
    return Text(item.payload + begin, size) if size else nothing()


cdef inline Text next_value(const Item* item, size_t* at, const uint8_t* name, size_t name_size) noexcept nogil:
    """Return the value of the next header field of that name, behind `at`."""
    cdef Text line
    if at[0] == 0:
        line = line_of(item, at)
    while True:
        line = line_of(item, at)
        if line.at == NULL:
            return line
        if line.size > name_size and line.at[name_size] == c':' and same_letters(line.at, name, name_size):
            return trimmed(line.at + name_size + 1, line.size - name_size - 1)


cdef inline Text header_of(const Item* item, const uint8_t* name, size_t name_size) noexcept nogil:
    """Return the value of the first header field of that name."""
    cdef size_t at = 0
    return next_value(item, &at, name, name_size)


cdef inline Text cookie_of(const Item* item, const uint8_t* name, size_t name_size) noexcept nogil:
    """Return the value of the first cookie of that name, over all Cookie fields of a request."""
    cdef size_t at = 0
    cdef Text value, found
    if item.header.kind != REQUEST:
        return nothing()
    while True:
        value = next_value(item, &at, b"cookie", 6)
        if value.at == NULL:
            return value
        found = pair(value, c';', name, name_size)
        if found.at != NULL:
            return found


cdef inline Text host_of(const Item* item) noexcept nogil:
    """Return the host that a request asks for, without its port: of an absolute target, else of the Host field."""
    cdef Text host
    cdef size_t at
    if item.header.kind != REQUEST:
        return nothing()
    host = authority_of(target_of(item))
    if host.at == NULL:
        host = header_of(item, b"host", 4)
    if host.at == NULL:
        return host
    at = find(host.at, host.size, c'@')
    if at < host.size:
        host.at += at + 1
        host.size -= at + 1
    at = find(host.at, host.size, c']') if host.size and host.at[0] == c'[' else 0
    if at < host.size:
        host.size = at + find(host.at + at, host.size - at, c':')
    return host


cdef inline Text body_of(const Item* item) noexcept nogil:
    """Return the body as on the wire, or what of it is in the first part; NULL if there is not a byte."""
    cdef uint64_t head = item.header.head_len
    if not 0 < head < item.size:
        return nothing()
    return Text(item.payload + head, item.size - head)
