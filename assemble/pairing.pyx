"""Which request a response answers: in order where both directions are whole, by acknowledgement number behind a hole.

In: requests and responses of one flow.  Out: the request's id and traits.  Invariant: the queue holds the requests that
have no final response yet, oldest first, and is bounded: a flow whose responses nobody sees forgets the oldest.
"""

from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc

from assemble.flows cimport Flow, Pending


cdef enum:
    PENDING_FIRST = 8
    PENDING_MOST = 4096
    SEARCHED_MOST = 256     # each response out of step may have to look at all of them


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


cdef bint push_request(Flow* flow, uint64_t id, uint32_t ack, uint32_t seq, uint8_t traits) noexcept nogil:
    """Note that a request waits for its response; False when memory is exhausted."""
    cdef Pending* entry
    if flow.pending_count == PENDING_MOST:
        pop_request(flow)
    if flow.pending_count == flow.pending_capacity and not grow(flow):
        return False
    entry = pending_at(flow, flow.pending_count)
    entry.id = id
    entry.ack = ack
    entry.seq = seq
    entry.traits = traits
    entry.ended = entry.cut = 0
    flow.pending_count += 1
    return True


cdef Pending* matching_request(Flow* flow, const Answer* answer) noexcept nogil:
    """Return the request, now the oldest, that a response answers, or NULL.

    In step it is the oldest one.  Where messages of either direction may be lost, it is the one whose acknowledgement
    number is where the response starts (DESIGN 5), or the only one that can have been meant; those before it stay
    without a response.  It is looked for among the newest SEARCHED_MOST.
    """
    cdef Pending* oldest = pending_at(flow, 0) if flow.pending_count else NULL
    cdef Pending* found = NULL
    if oldest == NULL or <int32_t>(answer.ack - oldest.seq) <= 0:     # its server had not seen any of the request
        return NULL
    if answer.synced and not oldest.traits & TRAIT_JUMPED:
        return oldest
    if flow.pending_count > SEARCHED_MOST:
        while flow.pending_count > SEARCHED_MOST:
            pop_request(flow)
        oldest = pending_at(flow, 0)
    if may_answer(oldest, answer):
        found = find_request(flow, answer)
    if found == NULL:
        oldest.traits |= TRAIT_JUMPED    # the next response is out of step, too
    return found


cdef inline bint may_answer(const Pending* entry, const Answer* answer) noexcept nogil:
    """Tell whether a response can be the answer to a request.

    Its sender had not seen the response, and its receiver had seen some of the request.
    """
    return ((entry.traits & TRAIT_NO_ACK or <int32_t>(answer.seq - entry.ack) >= 0)
            and <int32_t>(answer.ack - entry.seq) > 0)


cdef inline bint starts_where_told(const Pending* entry, const Answer* answer) noexcept nogil:
    """Tell whether a response starts where its request's acknowledgement number said; in a SYN there is none."""
    return answer.first if entry.traits & TRAIT_NO_ACK else entry.ack == answer.seq


cdef Pending* find_request(Flow* flow, const Answer* answer) noexcept nogil:
    """Find the request of a response out of step, and forget those before it; NULL if it cannot be told.

    A client that sends several requests with one number does not wait for responses: then that number may be where an
    older one's response starts, and tells only of the oldest, with none lost before it.
    """
    cdef uint32_t count = 0
    cdef uint32_t index
    cdef Pending* entry
    cdef bint several = False
    cdef bint shared
    while count < flow.pending_count and may_answer(pending_at(flow, count), answer):
        if count and pending_at(flow, count - 1).ack == pending_at(flow, count).ack:
            several = True
        count += 1
    for index in range(count):
        entry = pending_at(flow, index)
        if starts_where_told(entry, answer):
            shared = index + 1 < count and pending_at(flow, index + 1).ack == entry.ack
            return NULL if shared and (index or entry.traits & TRAIT_JUMPED) else only_from(flow, index)
    entry = pending_at(flow, count - 1)
    if several or entry.traits & TRAIT_JUMPED or entry.cut:
        return NULL                # it is one of several, or of some that nobody saw
    if entry.ended and <int32_t>(answer.ack - entry.end) > 1:
        return NULL                # its server had seen more than this request; one may be a FIN
    return only_from(flow, count - 1)


cdef inline Pending* only_from(Flow* flow, uint32_t index) noexcept nogil:
    """Forget the requests before this one, and that any were lost before it; return it."""
    cdef Pending* entry
    while index:
        pop_request(flow)
        index -= 1
    entry = pending_at(flow, 0)
    entry.traits &= ~<uint8_t>TRAIT_JUMPED
    return entry


cdef void end_request(Flow* flow, uint64_t id, uint32_t end, bint cut) noexcept nogil:
    """Note where the newest request ended, or was cut, if it still waits."""
    cdef Pending* entry
    if flow.pending_count:
        entry = pending_at(flow, flow.pending_count - 1)
        if entry.id == id:
            entry.end = end
            entry.ended = 1
            entry.cut = cut


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
