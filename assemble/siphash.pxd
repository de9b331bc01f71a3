"""SipHash-1-3 (Aumasson and Bernstein 2012): who does not know the key does not know what collides in a table."""

from libc.stdint cimport uint64_t


cdef struct Secret:
    uint64_t k0
    uint64_t k1

cdef Secret new_secret()


cdef inline uint64_t rotated(uint64_t word, int bits) noexcept nogil:
    return word << bits | word >> (64 - bits)


cdef inline void sip_round(uint64_t* v) noexcept nogil:
    v[0] += v[1]
    v[1] = rotated(v[1], 13) ^ v[0]
    v[0] = rotated(v[0], 32)
    v[2] += v[3]
    v[3] = rotated(v[3], 16) ^ v[2]
    v[0] += v[3]
    v[3] = rotated(v[3], 21) ^ v[0]
    v[2] += v[1]
    v[1] = rotated(v[1], 17) ^ v[2]
    v[2] = rotated(v[2], 32)


cdef inline uint64_t siphash(const Secret* secret, const uint64_t* words, size_t count) noexcept nogil:
    """Hash so many words, as if they were little-endian bytes."""
    cdef uint64_t[4] v
    cdef uint64_t last = <uint64_t>count << 59       # the number of bytes, in the highest one of a last word
    cdef size_t at
    cdef int _round
    v[0] = secret.k0 ^ <uint64_t>0x736F6D6570736575
    v[1] = secret.k1 ^ <uint64_t>0x646F72616E646F6D
    v[2] = secret.k0 ^ <uint64_t>0x6C7967656E657261
    v[3] = secret.k1 ^ <uint64_t>0x7465646279746573
    for at in range(count):
        v[3] ^= words[at]
        sip_round(v)
        v[0] ^= words[at]
    v[3] ^= last
    sip_round(v)
    v[0] ^= last
    v[2] ^= 0xFF
    for _round in range(3):
        sip_round(v)
    return v[0] ^ v[1] ^ v[2] ^ v[3]
