"""C face of TCP reassembly: decoded segments in, in-order bytes to the framer."""

from libc.stdint cimport int64_t, uint8_t, uint32_t

from assemble.decode cimport Packet
from assemble.flows cimport Flow, Half
from assemble.selection cimport Selection
from assemble.store cimport Added
from assemble.tally cimport Tally
from assemble.waiting cimport Waiting


cdef class Reassembler(Waiting):
    cdef bint out_of_memory
    cdef Selection selection
    cdef void take(self, const Packet* packet) noexcept nogil
    cdef Flow* flow_of(self, const Packet* packet) noexcept nogil
    cdef void leave_out(self, Flow* flow, const Packet* packet) noexcept nogil
    cdef bint is_new_connection(self, Flow* flow, int side, const Packet* packet) noexcept nogil
    cdef void take_syn(self, Flow* flow, int side, const Packet* packet) noexcept nogil
    cdef void take_ack(self, Half* half, int64_t acked, int64_t now_ns) noexcept nogil
    cdef void take_fin(self, Half* half, int64_t end) noexcept nogil
    cdef void take_reset(self, Flow* flow, int side, const Packet* packet) noexcept nogil
    cdef void take_data(self, Flow* flow, int side, int64_t at, const Packet* packet) noexcept nogil
    cdef void deliver(self, Flow* flow, int side, const uint8_t* p, uint32_t n, const Packet* packet,
                      Tally kind) noexcept nogil
    cdef void store(self, Half* half, int64_t at, const uint8_t* p, uint32_t n, const Packet* packet,
                    Tally kind) noexcept nogil
    cdef void add_bytes(self, Half* half, int64_t at, const uint8_t* p, uint32_t n, const Packet* packet,
                        Added* added) noexcept nogil
