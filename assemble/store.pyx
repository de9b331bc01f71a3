"""Early bytes of one half, kept until what is before them arrives; the bytes first seen win (DESIGN 4).

In: ranges of a stream in any order, overlapping as they like.  Out: disjoint ranges in order.
Invariant: entries are ordered by `at` and never overlap, and no run is empty.  Entries lie in runs of at most RUN_MOST,
the runs in order in a table.  An insertion moves entries of its run alone; one in some 64 also makes a run, and moves
the shorter side of the table: orders near to sorted, forwards or backwards, move nothing there.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memmove

from assemble.flows cimport Pool, Run, Store, Stored


cdef enum:
    RUN_FIRST = 4               # most stores hold a few entries only
    RUN_MOST = 128
    RUNS_FIRST = 2
    BLOCK_LEAST = 1025          # smaller ones the allocator itself keeps at hand
    BLOCK_BYTES = 1536          # a full segment on Ethernet
    POOL_MOST = 1024            # blocks kept for the next ones


cdef void search(const Store* store, int64_t at, Place* place) noexcept nogil:
    """Find the place of the first entry that ends behind `at`."""
    cdef uint32_t low = 0
    cdef uint32_t high = store.used
    cdef uint32_t middle
    cdef const Run* run
    cdef const Stored* entry
    place.run = store.used
    place.index = 0
    if store.count == 0:
        return
    entry = store_last(store)                    # most often it belongs at the end
    if entry.at + entry.size <= at:
        return
    while high - low > 1:                        # the last run that begins at or before it, or run 0
        middle = (low + high) // 2
        if run_at(store, middle).at <= at:
            low = middle
        else:
            high = middle
    place.run = low
    run = run_at(store, low)
    low = 0
    high = run.count
    while low < high:
        middle = (low + high) // 2
        entry = run.slots + run.first + middle
        if entry.at + entry.size > at:
            high = middle
        else:
            low = middle + 1
    place.index = low
    settle(store, place)


cdef inline void settle(const Store* store, Place* place) noexcept nogil:
    """Let the place behind a run's last entry be that of the next run's first."""
    if place.run < store.used and place.index == run_at(store, place.run).count:
        place.run += 1
        place.index = 0


cdef inline uint64_t block(size_t n) noexcept nogil:
    """Return what an allocation takes of memory: 8 bytes more, in steps of 16, at least 32 (malloc of glibc)."""
    return (n + 23) & ~<size_t>15 if n > 24 else 32


cdef inline uint64_t data_bytes(const Stored* entry) noexcept nogil:
    """Return what the bytes of an entry take of memory."""
    return block(BLOCK_BYTES if entry.pooled else entry.taken)


cdef uint8_t* new_data(Pool* pool, uint32_t n, uint8_t* pooled) noexcept nogil:
    """Return memory for the bytes of an entry; NULL if there is none."""
    cdef uint8_t* data = pool.first
    pooled[0] = BLOCK_LEAST <= n <= BLOCK_BYTES
    if not pooled[0]:
        return <uint8_t*>malloc(n)
    if data == NULL:
        return <uint8_t*>malloc(BLOCK_BYTES)
    pool.first = (<uint8_t**>data)[0]
    pool.count -= 1
    return data


cdef void free_data(Pool* pool, Stored* entry) noexcept nogil:
    """Give the memory of an entry back."""
    if not entry.pooled or pool.count == POOL_MOST:
        free(entry.data)
        return
    (<uint8_t**>entry.data)[0] = pool.first
    pool.first = entry.data
    pool.count += 1


cdef void drain_pool(Pool* pool) noexcept nogil:
    """Free the blocks that are not in use."""
    cdef uint8_t* data
    while pool.first != NULL:
        data = pool.first
        pool.first = (<uint8_t**>data)[0]
        free(data)


cdef bint store_add(Store* store, Pool* pool, int64_t at, const uint8_t* p, uint32_t n, int64_t ts_ns,
                    uint32_t ack, uint8_t has_ack, Added* added) noexcept nogil:
    """Copy what is new of [at, at + n) in, and compare the rest with what is there; False when memory is exhausted."""
    cdef int64_t end = at + n
    cdef uint32_t step
    cdef Place place
    cdef Stored* entry
    added.fresh = added.repeated = added.conflicting = 0
    search(store, at, &place)
    while at < end:
        entry = NULL
        if place.run < store.used:
            entry = run_at(store, place.run).slots + run_at(store, place.run).first + place.index
        if entry == NULL or entry.at > at:
            step = <uint32_t>((end if entry == NULL or entry.at > end else entry.at) - at)
            entry = insert(store, pool, &place, at, p, step)
            if entry == NULL:
                return False
            entry.ts_ns = ts_ns
            entry.ack = ack
            entry.has_ack = has_ack
            added.fresh += step
        else:
            step = <uint32_t>((end if entry.at + entry.size > end else entry.at + entry.size) - at)
            added.repeated += step
            added.conflicting += differing(entry.data + (at - entry.at), p, step)
        place.index += 1
        settle(store, &place)
        at += step
        p += step
    return True


cdef inline uint32_t differing(const uint8_t* a, const uint8_t* b, uint32_t n) noexcept nogil:
    cdef uint32_t at
    cdef uint32_t count = 0
    for at in range(n):
        count += a[at] != b[at]
    return count


cdef Stored* insert(Store* store, Pool* pool, Place* place, int64_t at, const uint8_t* p, uint32_t n) noexcept nogil:
    """Put one entry in at `place`, all others keeping their order; `place` is then its own.  NULL: no memory."""
    cdef Run* run
    cdef Stored* slot
    cdef uint8_t* data
    cdef uint8_t pooled
    if not make_place(store, place):
        return NULL
    data = new_data(pool, n, &pooled)
    run = run_at(store, place.run)
    if data == NULL:
        if run.count == 0:
            drop_run(store, place.run)
        return NULL
    memcpy(data, p, n)
    slot = run.slots + run.first + place.index
    if place.index == 0 and run.first > 0:
        run.first -= 1
        slot -= 1
    else:
        memmove(slot + 1, slot, (run.count - place.index) * sizeof(Stored))
    if place.index == 0:
        run.at = at
    run.count += 1
    store.count += 1
    slot.at = at
    slot.size = slot.taken = n
    slot.data = data
    slot.pooled = pooled
    store.bytes += data_bytes(slot)
    return slot


cdef bint make_place(Store* store, Place* place) noexcept nogil:
    """Have a free slot for an entry at `place`, which may become that of another run: the same one in their order."""
    cdef Run* run = run_at(store, place.run) if place.run < store.used else NULL
    cdef Run* previous
    if run == NULL or run.count == RUN_MOST:
        if place.index > 0:
            if not split(store, place):
                return False
        else:
            previous = run_at(store, place.run - 1) if place.run > 0 else NULL
            if previous != NULL and previous.count < RUN_MOST:
                place.run -= 1
                place.index = previous.count
            elif not add_run(store, place.run, RUN_MOST if store.used else RUN_FIRST):
                return False
    return make_slot(store, run_at(store, place.run), place.index)


cdef bint make_slot(Store* store, Run* run, uint32_t index) noexcept nogil:
    """Have a slot to move into."""
    cdef Stored* slots
    if index == 0 and run.first > 0 or run.first + run.count < run.capacity:
        return True
    if run.first > 0:
        memmove(run.slots, run.slots + run.first, run.count * sizeof(Stored))
        run.first = 0
        return True
    slots = <Stored*>realloc(run.slots, 2 * run.capacity * sizeof(Stored))
    if slots == NULL:
        return False
    store.bytes += block(2 * run.capacity * sizeof(Stored)) - block(run.capacity * sizeof(Stored))
    run.slots = slots
    run.capacity *= 2
    return True


cdef bint split(Store* store, Place* place) noexcept nogil:
    """Move the upper half of a full run to one of its own; `place` follows."""
    cdef Run* lower
    cdef Run* upper
    cdef uint32_t kept = RUN_MOST // 2
    if not add_run(store, place.run + 1, RUN_MOST):
        return False
    lower = run_at(store, place.run)
    upper = lower + 1
    memcpy(upper.slots, lower.slots + lower.first + kept, (lower.count - kept) * sizeof(Stored))
    upper.count = lower.count - kept
    upper.at = upper.slots[0].at
    lower.count = kept
    if place.index > kept:
        place.run += 1
        place.index -= kept
    return True


cdef bint add_run(Store* store, uint32_t number, uint32_t capacity) noexcept nogil:
    """Put an empty run into the table, to be filled at once."""
    cdef bint front = number < store.used // 2 or number == 0 and store.used > 0
    cdef Stored* slots
    cdef Run* run
    if not make_room(store, front):
        return False
    slots = <Stored*>malloc(capacity * sizeof(Stored))
    if slots == NULL:
        return False
    if front:
        run = run_at(store, 0)
        run.at = run.slots[run.first].at         # that of run 0 is not kept up to date
        memmove(run - 1, run, number * sizeof(Run))
        store.first -= 1
    else:
        run = run_at(store, number)
        memmove(run + 1, run, (store.used - number) * sizeof(Run))
    store.used += 1
    run = run_at(store, number)
    run.slots = slots
    run.first = run.count = 0
    run.capacity = capacity
    store.bytes += block(capacity * sizeof(Stored))
    return True


cdef bint make_room(Store* store, bint front) noexcept nogil:
    """Have a free entry of the table before the first or behind the last run; what is more than half full grows."""
    cdef uint32_t capacity = store.capacity
    cdef uint32_t first
    cdef Run* runs
    if (store.first > 0) if front else (store.first + store.used < capacity):
        return True
    if capacity and store.used <= capacity // 2:
        first = (capacity - store.used + (1 if front else 0)) // 2
        memmove(store.runs + first, store.runs + store.first, store.used * sizeof(Run))
        store.first = first
        return True
    capacity = capacity * 2 if capacity else RUNS_FIRST
    first = (capacity - store.used) // 2 if store.used else 0
    runs = <Run*>malloc(capacity * sizeof(Run))
    if runs == NULL:
        return False
    if store.used:
        memcpy(runs + first, store.runs + store.first, store.used * sizeof(Run))
    free(store.runs)
    store.bytes += block(capacity * sizeof(Run)) - (block(store.capacity * sizeof(Run)) if store.capacity else 0)
    store.runs = runs
    store.capacity = capacity
    store.first = first
    return True


cdef void drop_run(Store* store, uint32_t number) noexcept nogil:
    """Take an empty run out of the table."""
    cdef Run* run = run_at(store, number)
    store.bytes -= block(run.capacity * sizeof(Stored))
    free(run.slots)
    store.used -= 1
    if number == 0:
        store.first += 1
    else:
        memmove(run, run + 1, (store.used - number) * sizeof(Run))


cdef void store_drop_first(Store* store, Pool* pool) noexcept nogil:
    """Forget the first entry."""
    cdef Run* run = run_at(store, 0)
    store.bytes -= data_bytes(&run.slots[run.first])
    free_data(pool, &run.slots[run.first])
    run.first += 1
    run.count -= 1
    store.count -= 1
    if run.count == 0:
        drop_run(store, 0)
    if store.count == 0:
        store_clear(store, pool)


cdef void store_shift(Store* store, int64_t moved) noexcept nogil:
    """Count the places of all entries from a point `moved` bytes further on."""
    cdef uint32_t number, index
    cdef Run* run
    for number in range(store.used):
        run = run_at(store, number)
        run.at -= moved
        for index in range(run.count):
            run.slots[run.first + index].at -= moved


cdef void store_clear(Store* store, Pool* pool) noexcept nogil:
    """Forget everything and give the memory back."""
    while store.count:
        store_drop_first(store, pool)
    if store.capacity:
        store.bytes -= block(store.capacity * sizeof(Run))
    free(store.runs)
    store.runs = NULL
    store.first = store.used = store.capacity = 0
