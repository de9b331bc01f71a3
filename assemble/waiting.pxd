"""C face of halves that stand still: delivery of stored bytes, timers, the memory budget."""

from libc.stdint cimport int64_t, uint64_t

from assemble.flows cimport Flow, FlowTable, Queue, Half, Stored
from assemble.http1 cimport Http1Framer
from assemble.store cimport store_first


cdef inline int64_t hole_end(const Half* half) noexcept nogil:
    """Return where the hole that a half stands before ends: at what is stored, or else at its FIN or RST."""
    return store_first(&half.store).at if half.store.count else half.end


cdef class Waiting:
    cdef FlowTable table
    cdef Http1Framer framer
    cdef uint64_t* tally      # borrowed: the assembler's counters
    cdef int64_t gap_ns
    cdef int64_t idle_ns
    cdef uint64_t memory
    cdef void drop_first(self, Half* half) noexcept nogil
    cdef void weigh(self, Half* half) noexcept nogil
    cdef bint drain(self, Flow* flow, int side, bint causal) noexcept nogil
    cdef void clip(self, Half* half, Stored* entry) noexcept nogil
    cdef void settle(self, Flow* flow) noexcept nogil
    cdef bint may_move(self, const Half* half) noexcept nogil
    cdef bint step(self, Flow* flow, bint causal) noexcept nogil
    cdef void open_late(self, Half* half) noexcept nogil
    cdef void close_if_ended(self, Flow* flow, int side) noexcept nogil
    cdef bint standing(self, const Half* half) noexcept nogil
    cdef void mark_waiting(self, Flow* flow, int64_t now_ns) noexcept nogil
    cdef void expire(self, const Queue* queue, int64_t now_ns) noexcept nogil
    cdef void wait_on(self, Flow* flow) noexcept nogil
    cdef void turn(self, int64_t number, int64_t now_ns) noexcept nogil
    cdef int64_t due_ns(self, Flow* flow, int side) noexcept nogil
    cdef int64_t patience(self, const Half* half) noexcept nogil
    cdef void tick(self, int64_t now_ns) noexcept nogil
    cdef bint look_after(self, Flow* flow, int side, int64_t now_ns) noexcept nogil
    cdef bint give_up(self, Flow* flow, int side) noexcept nogil
    cdef bint give_up_holes(self, Flow* flow, int client) noexcept nogil
    cdef bint give_up_hole(self, Flow* flow, int side) noexcept nogil
    cdef void lose(self, Flow* flow, int side, int64_t end) noexcept nogil
    cdef void finish(self, Flow* flow) noexcept nogil
    cdef void relieve(self, Flow* flow, int side) noexcept nogil
    cdef void keep_to_budget(self) noexcept nogil
    cdef void evict(self) noexcept nogil
    cdef void finish_all(self) noexcept nogil
