"""C face of frame decoding."""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from assemble.cursor cimport Cursor, Realm
from assemble.fragments cimport Fragment, Fragments
from assemble.tally cimport Tally
from capture.counters cimport Counters


cdef enum:
    TCP_FIN = 1
    TCP_SYN = 2
    TCP_RST = 4
    TCP_ACK = 16

cdef struct Packet:           # one TCP segment
    const uint8_t* payload    # borrowed: from the frame, or from the fragments until the next frame
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
    uint64_t realm            # the network that the addresses belong to, where these are kept apart; else 0
    int64_t ts_ns             # as captured
    int64_t now_ns            # the time that timers run on (assemble/clock.pxd)
    uint64_t[6] key           # of its flow; set by FlowTable.aim, like what follows
    uint64_t place            # keyed hash of that: where a table has it
    int side                  # which side of the flow sent it

cdef struct Layer:            # what is behind an IP header
    uint8_t protocol
    uint8_t sealed            # all of it is here, and the addresses are those that its checksum covers


@cython.final                 # its methods are called directly, and inlined
cdef class Decoder:
    cdef readonly Counters page
    cdef Fragments fragments
    cdef uint32_t tunnels     # TUNNEL_ bits: those that are unwrapped
    cdef bint checksums
    cdef bint by_vlan
    cdef bint by_tunnel
    cdef Tally decode(self, const uint8_t* frame, size_t caplen, uint16_t link, Packet* out) noexcept nogil
    cdef Tally read_ip(self, Cursor* c, const Realm* realm, Layer* layer, Packet* out) noexcept nogil
    cdef Tally read_ipv4(self, Cursor* c, const Realm* realm, Layer* layer, Packet* out) noexcept nogil
    cdef Tally read_ipv6(self, Cursor* c, const Realm* realm, Layer* layer, Packet* out) noexcept nogil
    cdef Tally join(self, Cursor* c, Fragment* piece, const Realm* realm, Layer* layer, Packet* out) noexcept nogil
    cdef Tally read_tcp(self, Cursor* c, const Layer* layer, Packet* out) noexcept nogil
    cdef uint64_t chosen(self, const Realm* realm) noexcept nogil
