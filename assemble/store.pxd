"""C face of the store for early bytes of one half."""

from libc.stdint cimport int64_t, uint8_t, uint32_t

from assemble.flows cimport Pool, Run, Store, Stored


cdef struct Added:          # what became of the bytes given
    uint32_t fresh          # kept
    uint32_t repeated       # there already
    uint32_t conflicting    # of the repeated: with other content

cdef struct Place:          # of an entry: its run, and where in it; (store.used, 0) is the end
    uint32_t run
    uint32_t index

cdef bint store_add(Store* store, Pool* pool, int64_t at, const uint8_t* p, uint32_t n, int64_t ts_ns,
                    uint32_t ack, uint8_t has_ack, Added* added) noexcept nogil
cdef void store_drop_first(Store* store, Pool* pool) noexcept nogil
cdef void store_clear(Store* store, Pool* pool) noexcept nogil
cdef void drain_pool(Pool* pool) noexcept nogil
cdef void store_shift(Store* store, int64_t moved) noexcept nogil


cdef inline Run* run_at(const Store* store, uint32_t number) noexcept nogil:
    return store.runs + store.first + number


cdef inline Stored* store_first(const Store* store) noexcept nogil:
    """Return the first entry of a store that is not empty."""
    return store.runs[store.first].slots + store.runs[store.first].first


cdef inline Stored* store_last(const Store* store) noexcept nogil:
    """Return the last entry of a store that is not empty."""
    cdef const Run* run = store.runs + store.first + store.used - 1
    return run.slots + run.first + run.count - 1
