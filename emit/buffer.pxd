"""A growable piece of memory: reserve once per record, then write through a plain pointer."""

from libc.stdint cimport uint8_t
from libc.stdlib cimport free, realloc


cdef struct Buffer:
    uint8_t* at     # owned: freed by free_buffer, which the holder's __dealloc__ calls
    size_t size     # bytes written
    size_t room     # bytes allocated


cdef inline uint8_t* reserve(Buffer* buffer, size_t more) noexcept nogil:
    """Return where `more` bytes may be written, growing by at least half; NULL if there is no memory."""
    cdef size_t wanted = buffer.size + more
    cdef uint8_t* grown
    if wanted > buffer.room:
        if wanted < buffer.room + buffer.room // 2:
            wanted = buffer.room + buffer.room // 2
        grown = <uint8_t*>realloc(buffer.at, wanted)
        if grown == NULL:
            return NULL
        buffer.at = grown
        buffer.room = wanted
    return buffer.at + buffer.size


cdef inline void shrink(Buffer* buffer, size_t keep) noexcept nogil:
    """Empty the buffer, and give memory back if one large record has blown it up beyond `keep`."""
    cdef uint8_t* smaller
    buffer.size = 0
    if buffer.room > keep:
        smaller = <uint8_t*>realloc(buffer.at, keep)
        if smaller != NULL:
            buffer.at = smaller
            buffer.room = keep


cdef inline void free_buffer(Buffer* buffer) noexcept nogil:
    """Give the memory back."""
    free(buffer.at)
    buffer.at = NULL
    buffer.size = buffer.room = 0
