"""C face of frame decoding."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t

from assemble.tally cimport Tally


cdef enum:
    TCP_FIN = 1
    TCP_SYN = 2
    TCP_RST = 4
    TCP_ACK = 16

cdef struct Cursor:           # borrowed: its maker keeps the memory alive
    const uint8_t* at
    size_t left               # bytes readable from `at`

cdef struct Packet:           # one TCP segment; `payload` is borrowed from the frame
    const uint8_t* payload
    uint32_t size             # payload bytes present
    uint32_t cut              # payload bytes on the wire but not in the capture (snap length)
    uint8_t[16] src           # IPv4: the first 4 bytes, the rest 0
    uint8_t[16] dst
    uint16_t sport
    uint16_t dport
    uint32_t seq
    uint32_t ack
    uint8_t flags             # TCP_ bits
    uint8_t ipv6
    int64_t ts_ns

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

cdef Tally decode_frame(const uint8_t* frame, size_t caplen, uint16_t link, Packet* out) noexcept nogil
