"""Collecting one message of a half until it is whole, and sending it.

In: runs of a message's bytes with their packet time.  Out: a filled header and the bytes, in the sink.
Invariant: what is held is counted in `bytes_held`, and never more than max_message bytes of one message.
"""

from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy

from assemble.flows cimport IN_BODY, Flow, Half
from assemble.framing cimport BODY_LENGTH
from assemble.records cimport (
    FLAG_COMPLETE, FLAG_INTERIM, FLAG_IPV6, FLAG_OPENS, REQUEST, RESPONSE, MessageHeader,
)
from assemble.sink cimport MessageSink
from assemble.tally cimport Tally, count


cdef enum:
    HELD_FIRST = 512
    AHEAD_MOST = 2 << 20        # no more room than this is made for bytes that are still to come


cdef class Collector:
    """What a framer does with the bytes of the message under way; `tally` is set by its owner."""

    def __init__(self, MessageSink sink not None, uint64_t max_message):
        self.sink = sink
        self.max_message = max_message

    cdef void dispatch(self, Flow* flow, int side, const uint8_t* p, size_t n, bint complete) noexcept nogil:
        """Send the message under way, whose n bytes present begin at p, and forget what was held of it."""
        cdef Half* half = &flow.half[side]
        cdef MessageHeader header
        half.end_seq = half.first_seq + <uint32_t>(n + half.over + half.missing)
        if n > self.max_message:
            count(self.tally, Tally.skipped_over_limit, n - self.max_message)
            half.over += n - self.max_message
            n = <size_t>self.max_message
        half.missing += half.over
        complete = complete and half.missing == 0
        header.id = half.id
        header.first_ns = half.first_ns
        header.last_ns = half.last_ns
        memcpy(header.src, flow.key + 2 * side, 16)
        memcpy(header.dst, flow.key + 2 * (1 - side), 16)
        header.sport = flow.port[side]
        header.dport = flow.port[1 - side]
        header.kind = half.head.kind
        header.status = half.head.status
        header.flags = (FLAG_COMPLETE if complete else 0) | (FLAG_IPV6 if flow.ipv6 else 0)
        if header.kind == REQUEST and half.syns and not half.sent:
            header.flags |= FLAG_OPENS
        half.sent = True
        header.method_len = half.head.method_len
        header.target_at = half.head.target_at
        header.target_len = half.head.target_len
        header.start_len = half.head.start_len
        header.head_len = half.head.head_len if half.head.head_len < n else n
        header.total = n
        header.missing = half.missing
        if header.kind == RESPONSE and header.status // 100 == 1 and header.status != 101:
            header.flags |= FLAG_INTERIM
            count(self.tally, Tally.responses_interim, 1)
        if not self.sink.put(flow.hash, &header, p):
            self.out_of_memory = True
        count(self.tally, Tally.messages, 1)        # once it is there: see assemble/books.pyx
        count(self.tally, Tally.messages_complete if complete else Tally.messages_incomplete, 1)
        count(self.tally, Tally.requests if header.kind == REQUEST else Tally.responses, 1)
        count(self.tally, Tally.bytes_in_messages, n)
        half.whole |= complete
        self.let_go(half)

    cdef void begin(self, Half* half, Origin origin) noexcept nogil:
        """Note where a message begins."""
        half.first_ns = half.last_ns = origin.ts_ns
        half.first_ack = origin.ack
        half.first_seq = origin.seq
        half.has_ack = origin.has_ack
        half.missing = 0
        half.over = 0
        half.head.start_len = 0

    cdef void touch(self, Half* half, Origin origin) noexcept nogil:
        """Widen the message's time to a further segment; segments may come in any order."""
        if origin.ts_ns > half.last_ns:
            half.last_ns = origin.ts_ns
        if origin.ts_ns < half.first_ns:
            half.first_ns = origin.ts_ns

    cdef void keep(self, Half* half, const uint8_t* p, size_t n) noexcept nogil:
        """Append to the message under way; beyond max_message, or without memory, bytes are counted instead."""
        cdef size_t kept = n
        if half.held_size + n > self.max_message:
            kept = <size_t>(self.max_message - half.held_size) if half.held_size < self.max_message else 0
        if kept and not self.hold(half, p, kept):
            kept = 0
        half.over += n - kept
        count(self.tally, Tally.skipped_over_limit, n - kept)

    cdef bint hold(self, Half* half, const uint8_t* p, size_t n) noexcept nogil:
        """Append to what is held; False, and nothing is appended, if there is no memory."""
        cdef size_t room = half.held_size + n
        cdef size_t ahead
        cdef uint8_t* grown
        if room > half.held_capacity:
            ahead = room if room < AHEAD_MOST else AHEAD_MOST
            if half.phase == IN_BODY and half.body.kind == BODY_LENGTH and half.body.remain < ahead:
                room += half.body.remain
            elif half.held_capacity:
                room += ahead // 2
            if room < HELD_FIRST:
                room = HELD_FIRST
            grown = <uint8_t*>realloc(half.held, room)
            if grown == NULL:
                self.out_of_memory = True
                return False
            count(self.tally, Tally.bytes_held, room - half.held_capacity)
            half.held = grown
            half.held_capacity = room
        memcpy(half.held + half.held_size, p, n)
        half.held_size += n
        return True

    cdef void let_go(self, Half* half) noexcept nogil:
        """Forget what is held."""
        if half.held_capacity:
            free(half.held)
            count(self.tally, Tally.bytes_held, 0 - <uint64_t>half.held_capacity)
            half.held = NULL
            half.held_capacity = 0
        half.held_size = 0
