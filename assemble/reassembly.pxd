"""C face of TCP reassembly: decoded segments in, in-order bytes to the framer."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from assemble.decode cimport Packet
from assemble.flows cimport Flow, FlowTable, Half
from assemble.http1 cimport Http1Framer
from assemble.store cimport Added
from assemble.tally cimport Tally


cdef class Reassembler:
    cdef FlowTable table
    cdef Http1Framer framer
    cdef uint64_t* tally      # borrowed: the assembler's counters
    cdef int64_t gap_ns
    cdef int64_t idle_ns
    cdef uint64_t memory
    cdef bint out_of_memory
    cdef void take(self, const Packet* packet) noexcept nogil
    cdef void tick(self, int64_t now_ns) noexcept nogil
    cdef void finish_all(self) noexcept nogil

    cdef Flow* flow_of(self, const Packet* packet, int* side) noexcept nogil
    cdef bint is_new_connection(self, Flow* flow, int side, const Packet* packet) noexcept nogil
    cdef void take_syn(self, Flow* flow, int side, const Packet* packet) noexcept nogil
    cdef void take_reset(self, Flow* flow, int side, const Packet* packet) noexcept nogil
    cdef void take_data(self, Flow* flow, int side, int64_t at, const Packet* packet) noexcept nogil
    cdef void deliver(self, Flow* flow, int side, const uint8_t* p, uint32_t n, const Packet* packet,
                      Tally kind) noexcept nogil
    cdef void store(self, Half* half, int64_t at, const uint8_t* p, uint32_t n, const Packet* packet,
                    Tally kind) noexcept nogil
    cdef void add_bytes(self, Half* half, int64_t at, const uint8_t* p, uint32_t n, const Packet* packet,
                        Added* added) noexcept nogil
    cdef void drop_first(self, Half* half) noexcept nogil
    cdef bint drain(self, Flow* flow, int side, bint causal) noexcept nogil
    cdef bint step(self, Flow* flow, bint causal) noexcept nogil
    cdef void settle(self, Flow* flow) noexcept nogil
    cdef void open_late(self, Half* half) noexcept nogil
    cdef void close_if_ended(self, Flow* flow, int side) noexcept nogil
    cdef bint standing(self, const Half* half) noexcept nogil
    cdef void mark_waiting(self, Flow* flow, int64_t now_ns) noexcept nogil
    cdef bint look_after(self, Flow* flow, int side, int64_t now_ns) noexcept nogil
    cdef bint give_up(self, Flow* flow, int side) noexcept nogil
    cdef bint give_up_hole(self, Flow* flow, int side) noexcept nogil
    cdef void lose(self, Flow* flow, int side, int64_t hole_end) noexcept nogil
    cdef void finish(self, Flow* flow) noexcept nogil
    cdef void relieve(self, Flow* flow, int side) noexcept nogil
    cdef void evict(self) noexcept nogil
