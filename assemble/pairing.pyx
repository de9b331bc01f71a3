"""Which request a response answers: in order where both directions are seen, by sequence number behind a hole.

In: requests and responses of one flow.  Out: the request's id and traits.  Invariant: the queue holds the requests that
have no final response yet, oldest first, and is bounded: a flow whose responses nobody sees forgets the oldest.
"""

from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc

from assemble.flows cimport Flow, Pending


cdef enum:
    PENDING_FIRST = 8
    PENDING_MOST = 4096


cdef inline Pending* pending_at(Flow* flow, uint32_t index) noexcept nogil:
    return &flow.pending[(flow.pending_first + index) & (flow.pending_capacity - 1)]


cdef bint grow(Flow* flow) noexcept nogil:
    cdef uint32_t capacity = flow.pending_capacity * 2 if flow.pending_capacity else PENDING_FIRST
    cdef Pending* grown = <Pending*>malloc(capacity * sizeof(Pending))
    cdef uint32_t index
    if grown == NULL:
        return False
    for index in range(flow.pending_count):
        grown[index] = pending_at(flow, index)[0]
    free(flow.pending)
    flow.pending = grown
    flow.pending_first = 0
    flow.pending_capacity = capacity
    return True


cdef bint push_request(Flow* flow, uint64_t id, uint32_t ack, uint8_t traits) noexcept nogil:
    """Note that a request waits for its response; False when memory is exhausted."""
    cdef Pending* entry
    if flow.pending_count == PENDING_MOST:
        pop_request(flow)
    if flow.pending_count == flow.pending_capacity and not grow(flow):
        return False
    entry = pending_at(flow, flow.pending_count)
    entry.id = id
    entry.ack = ack
    entry.traits = traits
    flow.pending_count += 1
    return True


cdef Pending* matching_request(Flow* flow, uint32_t response_seq, bint synced) noexcept nogil:
    """Return the request that a response starting at `response_seq` answers, or NULL.

    A request's acknowledgement number is where its response starts (DESIGN 5).  Behind a hole in the responses,
    requests whose responses were in it are passed over.  A request sent after this response was received is not
    answered by it.
    """
    cdef uint32_t index
    cdef Pending* entry
    if not synced:
        for index in range(flow.pending_count):
            entry = pending_at(flow, index)
            if entry.ack == response_seq and not entry.traits & TRAIT_NO_ACK:
                while index:
                    pop_request(flow)
                    index -= 1
                break
    if flow.pending_count == 0:
        return NULL
    entry = pending_at(flow, 0)
    if not entry.traits & TRAIT_NO_ACK and <int32_t>(response_seq - entry.ack) < 0:
        return NULL
    return entry


cdef void pop_request(Flow* flow) noexcept nogil:
    """Forget the oldest request."""
    flow.pending_first = (flow.pending_first + 1) & (flow.pending_capacity - 1)
    flow.pending_count -= 1


cdef bint is_pending(const Flow* flow, uint64_t id) noexcept nogil:
    """Tell whether the request with this id still waits; it would be among the newest."""
    cdef uint32_t index = flow.pending_count
    while index:
        index -= 1
        if pending_at(<Flow*>flow, index).id == id:
            return True
    return False
