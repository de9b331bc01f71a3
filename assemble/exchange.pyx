"""Requests and responses of one flow: whose head it is, its id, whom it answers, and how its body is delimited.

In: a head that was read.  Out: the message's id and the framing of its body.  Invariant: a response is decided when all
that its server had received is delivered, or will never be, so that the order of capture does not show.
"""

from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from assemble.collect cimport Collector
from assemble.flows cimport (
    AT_START, AWAITING_PEER, AWAITING_SWITCH, CLOSED, IN_HEAD, LOOKING, NAMING, PARTIAL, ROLE_CLIENT, ROLE_SERVER,
    SKIPPING, UNSEEN, Flow, Half, Pending, identity, widened,
)
from assemble.framing cimport BAD_LENGTH, BODY_CHUNKED, BODY_INVALID, FOUND, MORE, TRAIT_CONNECT, Verdict, begin_body
from assemble.pairing cimport (
    TRAIT_JUMPED, TRAIT_NO_ACK, Answer, end_request, is_pending, matching_request, pop_request, push_request,
)
from assemble.records cimport REQUEST
from assemble.sink cimport MessageSink
from assemble.tally cimport Tally, count


cdef inline bint asks_in(const Half* client, uint32_t ack) noexcept nogil:
    """Tell whether a server that acknowledged so much had received some of the head that is being collected."""
    return client.phase == IN_HEAD and not client.overlong and <int32_t>(ack - client.first_seq) > 0


cdef inline bint in_step(const Flow* flow, int side) noexcept nogil:
    """Tell whether a request waits that a response of this half answers because no message can be lost."""
    return (flow.pending_count > 0 and flow.half[side].synced
            and not flow.pending[flow.pending_first].traits & TRAIT_JUMPED)


cdef class Exchange(Collector):
    """What both directions of a flow tell about each other."""

    def __init__(self, MessageSink sink not None, uint64_t max_message, bint responses):
        super().__init__(sink, max_message)
        self.responses = responses

    cdef Verdict decide(self, Flow* flow, int side, bint force) noexcept nogil:
        """Give the message whose head was read its id and its body's framing; MORE: the other direction has to tell.

        With `force` it is decided by what is known.  May turn the half to SKIPPING, when responses are not wanted.
        """
        cdef Half* half = &flow.half[side]
        cdef Half* other = &flow.half[1 - side]
        half.begun = flow.begun = 1
        if half.head.kind == REQUEST:
            half.role = ROLE_CLIENT
            other.role = ROLE_SERVER
            return self.decide_request(flow, side)
        half.role = ROLE_SERVER
        other.role = ROLE_CLIENT
        if not self.responses:
            self.skip_rest(half, Tally.skipped_responses_off)
            return FOUND
        return self.decide_response(flow, side, force)

    cdef Verdict decide_request(self, Flow* flow, int side) noexcept nogil:
        cdef Half* half = &flow.half[side]
        cdef uint8_t* client = <uint8_t*>(flow.key + 2 * side)
        cdef uint8_t* server = <uint8_t*>(flow.key + 2 * (1 - side))
        cdef uint8_t traits = half.head.traits
        cdef int32_t newer = <int32_t>(half.first_ack - half.last_ack)
        cdef uint32_t seen = half.first_seq     # the byte by which a server knows of it; searched for, its whole line
        cdef uint32_t capacity
        begin_body(&half.head, 0, &half.body)
        if half.body.kind == BODY_INVALID:
            return BAD_LENGTH
        if not half.numbered or half.has_ack and (newer > 0 or not half.last_has_ack and newer != 0):
            half.numbered = 1
            half.last_ack = half.first_ack
            half.last_has_ack = half.has_ack
            half.ordinal = 0
        else:    # the same number, or an older one on bytes that were captured late: the newest keeps ids apart
            half.ordinal += 1
        half.id = identity(client, flow.port[side], server, flow.port[1 - side], flow.ipv6, flow.key[5],
                           half.last_ack, half.ordinal)
        if not half.has_ack:
            traits |= TRAIT_NO_ACK
        if not half.synced:
            traits |= TRAIT_JUMPED
            seen += half.head.start_len - 1
        half.synced = 1
        if self.responses:
            capacity = flow.pending_capacity
            if not push_request(flow, half.id, half.first_ack, seen, traits):
                self.out_of_memory = True
            elif half.body.kind != BODY_CHUNKED:     # its end is known before its body comes, if that comes at all
                end_request(flow, half.id, half.first_seq + half.head.head_len + <uint32_t>half.body.remain, False)
            count(self.tally, Tally.bytes_held, (flow.pending_capacity - capacity) * sizeof(Pending))
        return FOUND

    cdef Verdict decide_response(self, Flow* flow, int side, bint force) noexcept nogil:
        cdef Half* half = &flow.half[side]
        cdef Half* other = &flow.half[1 - side]
        cdef uint8_t* server = <uint8_t*>(flow.key + 2 * side)
        cdef uint8_t* client = <uint8_t*>(flow.key + 2 * (1 - side))
        cdef Pending* request
        cdef uint8_t traits = 0
        cdef Answer answer
        cdef bint final = half.head.status // 100 != 1 or half.head.status == 101
        if not force and self.request_may_come(flow, side):
            return MORE
        answer.seq = half.first_seq
        answer.ack = half.first_ack
        answer.first = widened(half, half.first_seq) == 0     # joined late, it has a place far from 0
        answer.synced = half.synced
        if other.state != UNSEEN and widened(other, answer.ack) < 0:    # below its SYN: made up
            answer.ack = other.base + <uint32_t>other.next
        request = matching_request(flow, &answer)
        half.synced = 1
        if request != NULL:
            half.id = request.id
            traits = request.traits
            if final:
                pop_request(flow)
        begin_body(&half.head, traits, &half.body)
        if request == NULL:
            half.id = identity(client, flow.port[1 - side], server, flow.port[side], flow.ipv6, flow.key[5],
                               half.first_seq, 0)
            count(self.tally, Tally.responses_unpaired, 1)
            if final and asks_in(other, answer.ack):
                other.synced = 0         # this may be the answer to what is asked there, which is not whole yet
        if half.head.status == 101 or (traits & TRAIT_CONNECT and 200 <= half.head.status < 300):
            flow.tunnel = 1
        if final and other.phase == AWAITING_SWITCH and not is_pending(flow, other.id):
            other.phase = AT_START
        if flow.tunnel and other.phase == AT_START:
            other.phase = NAMING
        elif flow.tunnel and other.phase == LOOKING:
            self.skip_rest(other, Tally.skipped_tunnel)
        return BAD_LENGTH if half.body.kind == BODY_INVALID else FOUND

    cdef bint request_may_come(self, Flow* flow, int side) noexcept nogil:
        """Tell whether the server, when it answered, had received client's bytes that are not delivered here yet.

        Or some of a request whose head is not whole here, unless an older one is plainly meant.
        """
        cdef Half* client = &flow.half[1 - side]
        if flow.one_sided:
            return False
        if client.state == UNSEEN or client.state == PARTIAL:
            return True
        if client.state == CLOSED or client.phase == AWAITING_SWITCH:    # it waits for this response itself
            return False
        return (<int32_t>(flow.half[side].first_ack - (client.base + <uint32_t>client.next)) > 0
                or asks_in(client, flow.half[side].first_ack) and not in_step(flow, side))

    cdef bint hold_cut_head(self, Flow* flow, int side) noexcept nogil:
        """Let a response's head that ends with its half await the request, if that may come; True if it does."""
        cdef Half* half = &flow.half[side]
        if half.phase != IN_HEAD or half.overlong or half.head.start_len == 0 or half.head.kind == REQUEST:
            return False
        if not self.responses or not self.request_may_come(flow, side):
            return False
        half.phase = AWAITING_PEER
        half.cut = 1
        return True

    cdef void skip_rest(self, Half* half, Tally reason) noexcept nogil:
        """Count everything that is still to come, and what was held to look for a start or a name, under one reason."""
        if half.phase == LOOKING or half.phase == NAMING:
            count(self.tally, reason, half.held_size)
            self.let_go(half)
        half.phase = SKIPPING
        half.skip = reason
