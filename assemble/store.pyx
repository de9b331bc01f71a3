"""Early bytes of one half, kept until what is before them arrives; the bytes first seen win (DESIGN 4).

In: ranges of a stream in any order, overlapping as they like.  Out: disjoint ranges in order.
Invariant: entries are ordered by `at` and never overlap.  An insertion moves the shorter side, so that orders near to
sorted, forwards or backwards, cost little; the number of entries is bounded by the memory budget.  Growing, and moving
to the middle when one side is full, each leave a quarter of the slots free on both sides: they are rare.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memmove

from assemble.flows cimport Store, Stored


cdef enum:
    SLOTS_FIRST = 8


cdef inline uint32_t search(const Store* store, int64_t at) noexcept nogil:
    """Return the index (from 0) of the first entry that ends behind `at`."""
    cdef uint32_t low = 0
    cdef uint32_t high = store.count
    cdef uint32_t middle
    cdef const Stored* entry
    if high:                                     # most often it belongs at the end
        entry = &store.slots[store.first + high - 1]
        if entry.at + entry.size <= at:
            return high
    while low < high:
        middle = (low + high) // 2
        entry = &store.slots[store.first + middle]
        if entry.at + entry.size > at:
            high = middle
        else:
            low = middle + 1
    return low


cdef bint store_add(Store* store, int64_t at, const uint8_t* p, uint32_t n, int64_t ts_ns, uint32_t ack,
                    uint8_t has_ack, Added* added) noexcept nogil:
    """Copy what is new of [at, at + n) in, and compare the rest with what is there; False when memory is exhausted."""
    cdef uint32_t index = search(store, at)
    cdef int64_t end = at + n
    cdef uint32_t step
    cdef Stored* entry
    added.fresh = added.repeated = added.conflicting = 0
    while at < end:
        entry = &store.slots[store.first + index] if index < store.count else NULL
        if entry == NULL or entry.at > at:
            step = <uint32_t>((end if entry == NULL or entry.at > end else entry.at) - at)
            if not insert(store, index, at, p, step, ts_ns, ack, has_ack):
                return False
            added.fresh += step
        else:
            step = <uint32_t>((end if entry.at + entry.size > end else entry.at + entry.size) - at)
            added.repeated += step
            added.conflicting += differing(entry.data + (at - entry.at), p, step)
        index += 1
        at += step
        p += step
    return True


cdef inline uint32_t differing(const uint8_t* a, const uint8_t* b, uint32_t n) noexcept nogil:
    cdef uint32_t at
    cdef uint32_t count = 0
    for at in range(n):
        count += a[at] != b[at]
    return count


cdef bint insert(Store* store, uint32_t index, int64_t at, const uint8_t* p, uint32_t n, int64_t ts_ns,
                 uint32_t ack, uint8_t has_ack) noexcept nogil:
    """Put one entry in at `index`, all others keeping their order."""
    cdef Stored* slot
    cdef uint8_t* data
    cdef bint front = index < store.count // 2
    if not make_room(store, front):
        return False
    data = <uint8_t*>malloc(n)
    if data == NULL:
        return False
    memcpy(data, p, n)
    slot = store.slots + store.first
    if front:
        memmove(slot - 1, slot, index * sizeof(Stored))
        store.first -= 1
        slot -= 1
    else:
        memmove(slot + index + 1, slot + index, (store.count - index) * sizeof(Stored))
    store.count += 1
    slot += index
    slot.at = at
    slot.size = n
    slot.ack = ack
    slot.has_ack = has_ack
    slot.ts_ns = ts_ns
    slot.data = data
    return True


cdef bint make_room(Store* store, bint front) noexcept nogil:
    """Have a free slot before the first entry or behind the last one; what is more than half full grows."""
    cdef uint32_t capacity = store.capacity
    cdef uint32_t first
    cdef Stored* slots
    if (store.first > 0) if front else (store.first + store.count < capacity):
        return True
    if store.count <= capacity // 2 and capacity:
        first = (capacity - store.count) // 2
        memmove(store.slots + first, store.slots + store.first, store.count * sizeof(Stored))
        store.first = first
        return True
    capacity = capacity * 2 if capacity else SLOTS_FIRST
    first = (capacity - store.count) // 2
    slots = <Stored*>malloc(capacity * sizeof(Stored))
    if slots == NULL:
        return False
    if store.count:
        memcpy(slots + first, store.slots + store.first, store.count * sizeof(Stored))
    free(store.slots)
    store.slots = slots
    store.capacity = capacity
    store.first = first
    return True


cdef void store_drop_first(Store* store) noexcept nogil:
    """Forget the first entry."""
    free(store.slots[store.first].data)
    store.first += 1
    store.count -= 1
    if store.count == 0:
        store_clear(store)


cdef void store_clear(Store* store) noexcept nogil:
    """Forget everything and give the memory back."""
    while store.count:
        store_drop_first(store)
    free(store.slots)
    store.slots = NULL
    store.capacity = 0
    store.first = 0
