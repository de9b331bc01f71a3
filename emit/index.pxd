"""Finds slots by the id that each begins with: open addressing with linear probing, in this process's own memory.

In: slots of a fixed number, a power of two, wherever they are.  Out: their numbers.  Invariant: at most half of the
index is in use, so a search ends; an id is in it once.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free


cdef struct Index:
    uint32_t* at             # owned: freed by free_index; slot + 1 by hash; 0: free
    size_t mask
    const uint8_t* slots     # borrowed: `stride` bytes each, of which the first 8 are the id
    size_t stride


cdef inline bint make_index(Index* index, size_t count, const void* slots, size_t stride) noexcept nogil:
    """Make an empty index of `count` slots; False if there is no memory.  Its pages take room when they are used."""
    index.at = <uint32_t*>calloc(2 * count, sizeof(uint32_t))
    index.mask = 2 * count - 1
    index.slots = <const uint8_t*>slots
    index.stride = stride
    return index.at != NULL


cdef inline void free_index(Index* index) noexcept nogil:
    """Give the memory back."""
    free(index.at)
    index.at = NULL


cdef inline uint64_t id_at(const Index* index, size_t slot) noexcept nogil:
    return (<const uint64_t*>(index.slots + slot * index.stride))[0]


cdef inline size_t home(const Index* index, uint64_t id) noexcept nogil:
    """Return where an id is looked for first; ids are hashes, but those of others may not be."""
    return ((id * 0x9e3779b97f4a7c15u) >> 32) & index.mask


cdef inline size_t look(const Index* index, uint64_t id) noexcept nogil:
    """Return the place in the index that holds an id, or the free one where it would be."""
    cdef size_t at = home(index, id)
    while index.at[at] and id_at(index, index.at[at] - 1) != id:
        at = (at + 1) & index.mask
    return at


cdef inline void enter(Index* index, size_t slot) noexcept nogil:
    """Put a slot into the index."""
    index.at[look(index, id_at(index, slot))] = <uint32_t>slot + 1


cdef inline void forget(Index* index, uint64_t id) noexcept nogil:
    """Take an id out of the index, and close the gap, so that no chain is broken."""
    cdef size_t gap = look(index, id)
    cdef size_t at = gap
    cdef size_t wanted
    index.at[gap] = 0
    while True:
        at = (at + 1) & index.mask
        if index.at[at] == 0:
            return
        wanted = home(index, id_at(index, index.at[at] - 1))
        if ((at - wanted) & index.mask) >= ((at - gap) & index.mask):
            index.at[gap] = index.at[at]
            index.at[at] = 0
            gap = at
