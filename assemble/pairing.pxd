"""C face of pairing: which request a response answers."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from assemble.flows cimport Flow, Pending


cdef enum:
    TRAIT_JUMPED = 64       # bytes before it were lost or skipped: requests may be missing before it
    TRAIT_NO_ACK = 128      # the request came without an acknowledgement number (TCP Fast Open, RFC 7413)

cdef struct Answer:         # a response, as far as it tells whom it answers
    uint32_t seq            # sequence number of its first byte
    uint32_t ack            # acknowledgement number that came with it
    uint8_t first           # it is what its half begins with, seen from the SYN
    uint8_t synced          # no message can be lost between it and the one before

cdef bint push_request(Flow* flow, uint64_t id, uint32_t ack, uint32_t seq, uint8_t traits) noexcept nogil
cdef Pending* matching_request(Flow* flow, const Answer* answer) noexcept nogil
cdef void end_request(Flow* flow, uint64_t id, uint32_t end, bint cut) noexcept nogil
cdef void pop_request(Flow* flow) noexcept nogil
cdef bint is_pending(const Flow* flow, uint64_t id) noexcept nogil
