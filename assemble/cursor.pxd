"""The bounded read: where in a frame decode stands, how far it may go, and which network it has gone into."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t


cdef struct Cursor:           # borrowed: its maker keeps the memory alive
    const uint8_t* at
    size_t left               # bytes readable from `at`

cdef struct Realm:            # which of several networks with the same addresses: folds of ids, 0 where there are none
    uint64_t vlan             # VLAN tags
    uint64_t tunnel           # tunnel ids that are the same in both directions
    uint64_t one_way          # tunnel ids that each receiver chooses for itself

cdef inline const uint8_t* take(Cursor* c, size_t n) noexcept nogil:
    """Step over n bytes and return where they began; NULL, and nothing moves, if fewer are left."""
    if n > c.left:
        return NULL
    c.at += n
    c.left -= n
    return c.at - n

cdef inline uint16_t be16(const uint8_t* p) noexcept nogil:
    return <uint16_t>((<uint32_t>p[0] << 8) | p[1])

cdef inline uint32_t be32(const uint8_t* p) noexcept nogil:
    return (<uint32_t>p[0] << 24) | (<uint32_t>p[1] << 16) | (<uint32_t>p[2] << 8) | p[3]

cdef inline void fold(uint64_t* state, uint64_t word) noexcept nogil:
    """Fold one id into a realm: multiply and xor-shift, so that the order of the ids counts; never gives 0."""
    cdef uint64_t x = (state[0] + word + 1) * <uint64_t>0x9E3779B97F4A7C15
    x = (x ^ (x >> 32)) * <uint64_t>0xBF58476D1CE4E5B9
    state[0] = (x ^ (x >> 29)) | 1
