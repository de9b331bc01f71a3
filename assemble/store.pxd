"""C face of the store for early bytes of one half."""

from libc.stdint cimport int64_t, uint8_t, uint32_t

from assemble.flows cimport Store


cdef struct Added:          # what became of the bytes given
    uint32_t fresh          # kept
    uint32_t repeated       # there already
    uint32_t conflicting    # of the repeated: with other content

cdef bint store_add(Store* store, int64_t at, const uint8_t* p, uint32_t n, int64_t ts_ns, uint32_t ack,
                    uint8_t has_ack, Added* added) noexcept nogil
cdef void store_drop_first(Store* store) noexcept nogil
cdef void store_clear(Store* store) noexcept nogil
