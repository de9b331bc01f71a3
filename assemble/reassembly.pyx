"""TCP reassembly: segments of any order to the in-order bytes of each half (RFC 9293, seen by a passive tap; DESIGN 4).

In: decoded segments with their packet time.  Out: calls of the framer.  Invariant: 32-bit sequence numbers become
64-bit offsets in `widened` (flows.pxd) alone; every segment and every payload byte is counted in exactly one class.
What is not next, or must not be delivered yet, is stored; assemble/waiting.pyx says for what it waits and how long.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t

from assemble.collect cimport Origin
from assemble.decode cimport TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN, Packet
from assemble.flows cimport (
    CLOSED, CLOSING, OPEN, PARTIAL, ROLE_CLIENT, ROLE_SERVER, ROLE_UNKNOWN, SYN_ANSWER, SYN_FIRST, UNSEEN, Flow, Half,
    Stored, awaits, widened,
)
from assemble.store cimport Added, store_add, store_first, store_last, store_shift
from assemble.tally cimport Tally, count
from assemble.waiting cimport Waiting, hole_end


cdef enum:
    WINDOW_MOST = 1 << 30       # RFC 7323 2.3: no window is larger
    SYN_NEAR = 1 << 24          # a SYN so little below what was acknowledged is that of the same connection
    PARTIAL_MOST = 256 * 1024   # a half without SYN that holds more than this starts at what it has

cdef int64_t PARTIAL_FIRST = <int64_t>1 << 32    # the first offset of a half without SYN: what is before it is above 0


cdef inline void outlast_reset(Half* half, int64_t seen) noexcept nogil:
    """Forget a RST with bytes beyond it: who has reset says no more, so it was not his (RFC 5961 3.2)."""
    if half.reset and half.state == OPEN and seen > half.end:
        half.reset = 0
        half.end = -1


cdef inline int64_t highest_seen(const Half* half) noexcept nogil:
    """Return up to where a half is known to have sent: delivered, stored, or acknowledged."""
    cdef int64_t stored = store_last(&half.store).at + store_last(&half.store).size if half.store.count else half.next
    return stored if stored > half.acked else half.acked


cdef inline void take_roles(Half* half, Half* other) noexcept nogil:
    """Tell by the SYNs seen, at least one of `half`, who is the client: who opened the connection alone."""
    cdef uint8_t both = SYN_FIRST | SYN_ANSWER
    if half.syns == other.syns or half.syns == both or other.syns == both:
        half.role = other.role = ROLE_UNKNOWN
    elif half.syns == SYN_FIRST:
        half.role = ROLE_CLIENT
        other.role = ROLE_SERVER
    else:
        half.role = ROLE_SERVER
        other.role = ROLE_CLIENT


cdef class Reassembler(Waiting):
    """Segments in; what cannot be delivered at once waits as the base class says."""

    cdef void take(self, const Packet* packet) noexcept nogil:
        """Take one segment."""
        cdef int side = packet.side
        cdef Flow* flow
        cdef Half* half
        cdef Half* other
        cdef int64_t at
        count(self.tally, Tally.segments_data if packet.size else Tally.segments_control, 1)
        count(self.tally, Tally.bytes_payload, packet.size)
        count(self.tally, Tally.bytes_cut_by_snap_length, packet.cut)
        flow = self.flow_of(packet)
        if flow == NULL:
            return
        if packet.now_ns > flow.last_ns:
            flow.last_ns = packet.now_ns
        if flow.left_out:
            self.leave_out(flow, packet)
            return
        half = &flow.half[side]
        other = &flow.half[1 - side]
        if packet.flags & TCP_ACK:
            if other.state == UNSEEN and not other.acked_known:
                other.base = packet.ack
            other.acked_known = 1
            if (other.state == OPEN or other.state == PARTIAL) and widened(other, packet.ack) > other.acked:
                self.take_ack(other, widened(other, packet.ack), flow.last_ns)
        if packet.flags & TCP_SYN:
            self.take_syn(flow, side, packet)
        elif half.state == UNSEEN and (packet.size or packet.flags & TCP_FIN):
            half.state = PARTIAL
            half.base = packet.seq
            half.next = PARTIAL_FIRST
            flow.one_sided = 0
        if packet.flags & TCP_RST:
            self.take_reset(flow, side, packet)
        at = widened(half, packet.seq + (1 if packet.flags & TCP_SYN else 0))
        if packet.flags & TCP_FIN and half.state != UNSEEN:
            self.take_fin(half, at + packet.size + packet.cut)
        if packet.size:
            self.take_data(flow, side, at, packet)
        if half.store.count:
            self.relieve(flow, side)
        if half.end >= 0:
            self.close_if_ended(flow, side)
        if self.standing(half) or self.standing(other):
            self.settle(flow)
            self.mark_waiting(flow, flow.last_ns)
        self.table.weigh(flow)
        self.keep_to_budget()

    cdef Flow* flow_of(self, const Packet* packet) noexcept nogil:
        """Return the segment's flow, made new where that makes sense; NULL: the segment tells nothing."""
        cdef Flow* flow = self.table.find(packet)
        if flow != NULL and packet.flags & TCP_SYN and (
                self.is_new_connection(flow, packet.side, packet)
                or flow.left_out and not self.selection.leaves_out(packet)):   # it was a guess, or asked for otherwise
            self.finish(flow)
            flow = NULL
        if flow != NULL:
            return flow
        if packet.size == 0 and not packet.flags & (TCP_SYN | TCP_FIN):
            return NULL
        flow = self.table.add(packet)
        if flow == NULL:
            self.out_of_memory = True
            return NULL
        flow.left_out = self.selection.leaves_out(packet)
        count(self.tally, Tally.flows, 1)
        count(self.tally, Tally.bytes_held, sizeof(Flow))
        self.tally[<int>Tally.flows_now] = self.table.count
        return flow

    cdef void leave_out(self, Flow* flow, const Packet* packet) noexcept nogil:
        """Count a segment of a flow that is not wanted, and notice its end: it holds memory that others need."""
        cdef Half* half = &flow.half[packet.side]
        count(self.tally, Tally.segments_left_out, 1 if packet.size else 0)
        count(self.tally, Tally.skipped_left_out, packet.size)
        if packet.flags & TCP_FIN:
            half.state = CLOSED
        if packet.flags & TCP_RST or half.state == CLOSED and flow.half[1 - packet.side].state == CLOSED:
            self.table.set_closing(flow)

    cdef bint is_new_connection(self, Flow* flow, int side, const Packet* packet) noexcept nogil:
        """Tell whether a SYN begins a new connection between ports that were used before."""
        cdef Half* half = &flow.half[side]
        cdef uint32_t begin = packet.seq + 1
        cdef int64_t at = widened(half, begin)
        cdef int32_t behind
        if half.state == UNSEEN and half.acked_known:
            # the first acknowledgement that it got, in `base`, tells its SYN from that of a later connection
            behind = <int32_t>(half.base - begin)
            return behind < 0 or flow.queue == CLOSING and not packet.flags & TCP_ACK and behind >= SYN_NEAR
        if half.state == UNSEEN:
            return flow.queue == CLOSING and not packet.flags & TCP_ACK
        if half.state == PARTIAL:        # a late SYN comes before all that is held
            return (at < half.next - SYN_NEAR or 0 <= half.end < at
                    or half.store.count and store_first(&half.store).at < at)
        return begin != half.base

    cdef void take_syn(self, Flow* flow, int side, const Packet* packet) noexcept nogil:
        """A SYN tells where a half begins and who the client is."""
        cdef Half* half = &flow.half[side]
        cdef int64_t moved
        half.syns |= SYN_ANSWER if packet.flags & TCP_ACK else SYN_FIRST
        if not flow.begun:
            take_roles(half, &flow.half[1 - side])
        if half.state > PARTIAL:
            return
        if half.state == PARTIAL:        # what is held was placed relative to the first segment seen
            moved = widened(half, packet.seq + 1)
            store_shift(&half.store, moved)
            half.acked -= moved
            if half.end >= 0:
                half.end -= moved
        half.base = packet.seq + 1
        half.next = 0
        half.state = OPEN
        half.waiting_ns = 0
        flow.one_sided = 0

    cdef void take_ack(self, Half* half, int64_t acked, int64_t now_ns) noexcept nogil:
        """Note how far a half was acknowledged; if its receiver has what is missing, the wait begins anew."""
        cdef bint unacked = half.waiting_ns and half.acked < hole_end(half)
        half.acked = acked
        if unacked and half.acked >= hole_end(half):
            half.waiting_ns = now_ns
        outlast_reset(half, half.acked)

    cdef void take_fin(self, Half* half, int64_t end) noexcept nogil:
        """The first FIN tells where a half ends, and that no RST was meant which is not reached yet."""
        if half.end >= 0 and not (half.reset and half.state == OPEN):
            return
        if half.state == PARTIAL or half.next - 1 <= end <= half.next + WINDOW_MOST:
            half.end = end       # one below what is due: the FIN was taken for a lost byte
            half.reset = 0

    cdef void take_reset(self, Flow* flow, int side, const Packet* packet) noexcept nogil:
        """A RST at the next byte ends the flow (RFC 9293 3.10.7.4); further on, unless bytes follow it (RFC 5961 3.2).

        Bytes before it may have been lost to the tap alone.
        """
        cdef Half* half = &flow.half[side]
        cdef int64_t at = widened(half, packet.seq)
        if half.state == OPEN and half.end < 0:
            if highest_seen(half) <= at <= half.next + WINDOW_MOST:
                half.end = at
                half.reset = 1
        elif half.state == UNSEEN or half.state == CLOSED:
            self.table.set_closing(flow)

    cdef void take_data(self, Flow* flow, int side, int64_t at, const Packet* packet) noexcept nogil:
        """Put payload where it belongs: to the framer at once if it is next, else into the store, else aside."""
        cdef Half* half = &flow.half[side]
        cdef const uint8_t* p = packet.payload
        cdef uint32_t n = packet.size
        cdef int64_t end = at + n
        cdef Tally kind = Tally.segments_in_order
        if half.state == PARTIAL:
            self.store(half, at, p, n, packet, kind)
            if half.stored > PARTIAL_MOST:
                self.open_late(half)
            return
        outlast_reset(half, end)
        if end <= half.next:
            count(self.tally, Tally.segments_duplicate, 1)
            count(self.tally, Tally.bytes_duplicate, n)
            return
        if half.state == CLOSED or (half.end >= 0 and at >= half.end):
            count(self.tally, Tally.segments_after_close, 1)
            count(self.tally, Tally.skipped_after_close, n)
            return
        if at > half.next + WINDOW_MOST:
            count(self.tally, Tally.segments_out_of_window, 1)
            count(self.tally, Tally.skipped_out_of_window, n)
            return
        if half.end >= 0 and end > half.end:
            count(self.tally, Tally.skipped_after_close, end - half.end)
            n -= <uint32_t>(end - half.end)
            if half.end <= half.next:    # and what is before it is known
                count(self.tally, Tally.segments_duplicate, 1)
                count(self.tally, Tally.bytes_duplicate, n)
                return
        if at < half.next:
            count(self.tally, Tally.bytes_duplicate, half.next - at)
            p += half.next - at
            n -= <uint32_t>(half.next - at)
            at = half.next
            kind = Tally.segments_overlapping
        if at != half.next or half.store.count or awaits(half):
            self.store(half, at, p, n, packet, kind)
        else:
            self.deliver(flow, side, p, n, packet, kind)

    cdef void deliver(self, Flow* flow, int side, const uint8_t* p, uint32_t n, const Packet* packet,
                      Tally kind) noexcept nogil:
        """Give the framer bytes that are next; what it cannot take yet is stored."""
        cdef Half* half = &flow.half[side]
        cdef Added added
        cdef Origin origin
        cdef uint32_t used
        count(self.tally, kind, 1)
        half.waiting_ns = 0
        origin.ts_ns = packet.ts_ns
        origin.ack = packet.ack
        origin.has_ack = packet.flags & TCP_ACK
        origin.seq = half.base + <uint32_t>half.next
        used = <uint32_t>self.framer.take(flow, side, p, n, origin)
        half.next += used
        if used < n:
            self.add_bytes(half, half.next, p + used, n - used, packet, &added)

    cdef void store(self, Half* half, int64_t at, const uint8_t* p, uint32_t n, const Packet* packet,
                    Tally kind) noexcept nogil:
        """Store bytes that cannot be delivered yet, and count their segment by what was new in it."""
        cdef Added added
        cdef const Stored* last = NULL
        if half.store.count:
            last = store_last(&half.store)
        if half.state == PARTIAL and last != NULL and at < last.at or half.state == OPEN and at > half.next:
            kind = Tally.segments_reordered
        self.add_bytes(half, at, p, n, packet, &added)
        if added.repeated:
            kind = Tally.segments_overlapping if added.fresh else Tally.segments_duplicate
        count(self.tally, kind, 1)

    cdef void add_bytes(self, Half* half, int64_t at, const uint8_t* p, uint32_t n, const Packet* packet,
                        Added* added) noexcept nogil:
        if not store_add(&half.store, &self.table.pool, at, p, n, packet.ts_ns, packet.ack, packet.flags & TCP_ACK,
                         added):
            self.out_of_memory = True
            count(self.tally, Tally.skipped_evicted, n - added.fresh - added.repeated)
        self.weigh(half)
        count(self.tally, Tally.bytes_duplicate, added.repeated)
        count(self.tally, Tally.bytes_conflicting, added.conflicting)
