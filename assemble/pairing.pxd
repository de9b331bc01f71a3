"""C face of pairing: which request a response answers."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from assemble.flows cimport Flow, Pending


cdef enum:
    TRAIT_NO_ACK = 128      # the request came without an acknowledgement number (TCP Fast Open, RFC 7413)

cdef bint push_request(Flow* flow, uint64_t id, uint32_t ack, uint8_t traits) noexcept nogil
cdef Pending* matching_request(Flow* flow, uint32_t response_seq, bint synced) noexcept nogil
cdef void pop_request(Flow* flow) noexcept nogil
cdef bint is_pending(const Flow* flow, uint64_t id) noexcept nogil
