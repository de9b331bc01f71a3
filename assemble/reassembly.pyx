"""TCP reassembly: segments of any order to the in-order bytes of each half (RFC 9293, seen by a passive tap; DESIGN 4).

In: decoded segments with their packet time.  Out: calls of the framer.  Invariant: 32-bit sequence numbers become
64-bit offsets in `widened` alone; every segment and every payload byte is counted in exactly one class.
A half may stand still for four reasons, each ended by what it waits for or by a timer: no SYN seen yet, a hole, a
response whose request has not been delivered, a request to switch protocols whose answer is not known.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memmove

from assemble.collect cimport Origin
from assemble.decode cimport TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN, Packet
from assemble.flows cimport (
    AT_START, AWAITING_PEER, AWAITING_SWITCH, CLOSED, IN_HEAD, OPEN, PARTIAL, ROLE_CLIENT, ROLE_SERVER, UNSEEN,
    Flow, FlowTable, Half, Pending, Stored,
)
from assemble.http1 cimport Http1Framer
from assemble.store cimport Added, store_add, store_clear, store_drop_first
from assemble.tally cimport Tally, count


cdef enum:
    WINDOW_MOST = 1 << 30       # RFC 7323 2.3: no window is larger
    PARTIAL_MOST = 256 * 1024   # a half without SYN that holds more than this starts at what it has
    SHARE = 8                   # one half may hold this share of the memory: 1 / SHARE
    PATIENCE = 15               # gap timeouts to wait for a hole that the other side has not acknowledged


cdef inline int64_t widened(const Half* half, uint32_t seq) noexcept nogil:
    """Return the offset of a sequence number: the one nearest to the next byte due (RFC 9293 3.4)."""
    return half.next + <int32_t>(seq - (half.base + <uint32_t>half.next))


cdef inline bint awaits(const Half* half) noexcept nogil:
    return half.phase == AWAITING_PEER or half.phase == AWAITING_SWITCH


cdef class Reassembler:
    """The flows and their timers; `tally` is set by its owner before the first segment."""

    def __cinit__(self, Http1Framer framer not None, int64_t gap_ns, int64_t idle_ns, uint64_t memory):
        self.table = FlowTable()
        self.framer = framer
        self.gap_ns = gap_ns
        self.idle_ns = idle_ns
        self.memory = memory

    cdef void take(self, const Packet* packet) noexcept nogil:
        """Take one segment."""
        cdef int side
        cdef Flow* flow
        cdef Half* half
        cdef Half* other
        cdef int64_t at, end
        count(self.tally, Tally.segments_data if packet.size else Tally.segments_control, 1)
        count(self.tally, Tally.bytes_payload, packet.size)
        count(self.tally, Tally.bytes_cut_by_snap_length, packet.cut)
        flow = self.flow_of(packet, &side)
        if flow == NULL:
            return
        if packet.ts_ns > flow.last_ns:
            flow.last_ns = packet.ts_ns
        half = &flow.half[side]
        other = &flow.half[1 - side]
        if packet.flags & TCP_ACK:
            other.acked_known = 1
            if (other.state == OPEN or other.state == PARTIAL) and widened(other, packet.ack) > other.acked:
                other.acked = widened(other, packet.ack)
        if packet.flags & TCP_SYN:
            self.take_syn(flow, side, packet)
        elif half.state == UNSEEN and (packet.size or packet.flags & TCP_FIN):
            half.state = PARTIAL
            half.base = packet.seq
            flow.one_sided = 0
        if packet.flags & TCP_RST:
            self.take_reset(flow, side, packet)
        at = widened(half, packet.seq + (1 if packet.flags & TCP_SYN else 0))
        if packet.flags & TCP_FIN and half.end < 0 and half.state != UNSEEN:
            end = at + packet.size + packet.cut   # one below what is due: the FIN was taken for a lost byte
            if half.state == PARTIAL or half.next - 1 <= end <= half.next + WINDOW_MOST:
                half.end = end
        if packet.size:
            self.take_data(flow, side, at, packet)
        if half.stored > self.memory // SHARE:
            self.relieve(flow, side)
        if half.end >= 0:
            self.close_if_ended(flow, side)
        if half.store.count or other.store.count or other.phase == AWAITING_PEER or self.standing(half):
            self.settle(flow)
            self.mark_waiting(flow, flow.last_ns)
        if self.tally[<int>Tally.bytes_held] > self.tally[<int>Tally.bytes_held_peak]:
            self.tally[<int>Tally.bytes_held_peak] = self.tally[<int>Tally.bytes_held]
        if self.tally[<int>Tally.bytes_held] > self.memory:
            self.evict()

    cdef Flow* flow_of(self, const Packet* packet, int* side) noexcept nogil:
        """Return the segment's flow, made new where that makes sense; NULL: the segment tells nothing."""
        cdef Flow* flow = self.table.find(packet, side)
        if flow != NULL and packet.flags & TCP_SYN and self.is_new_connection(flow, side[0], packet):
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
        count(self.tally, Tally.flows, 1)
        count(self.tally, Tally.bytes_held, sizeof(Flow))
        self.tally[<int>Tally.flows_now] = self.table.count
        return flow

    cdef bint is_new_connection(self, Flow* flow, int side, const Packet* packet) noexcept nogil:
        """Tell whether a SYN begins a new connection between ports that were used before."""
        cdef Half* half = &flow.half[side]
        cdef uint32_t begin = packet.seq + 1
        cdef int64_t at = widened(half, begin)
        if half.state == UNSEEN:
            return flow.closing and not packet.flags & TCP_ACK
        if half.state == PARTIAL:        # a late SYN comes before all that is held
            return (at < -<int64_t>WINDOW_MOST or 0 <= half.end < at
                    or half.store.count and half.store.slots[half.store.first].at < at)
        return begin != half.base

    cdef void take_syn(self, Flow* flow, int side, const Packet* packet) noexcept nogil:
        """A SYN tells where a half begins and who the client is."""
        cdef Half* half = &flow.half[side]
        cdef uint8_t role = ROLE_SERVER if packet.flags & TCP_ACK else ROLE_CLIENT
        cdef int64_t moved
        cdef uint32_t index
        if half.state > PARTIAL:
            return
        if half.state == PARTIAL:        # what is held was placed relative to the first segment seen
            moved = widened(half, packet.seq + 1)
            for index in range(half.store.count):
                half.store.slots[half.store.first + index].at -= moved
            half.acked -= moved
            if half.end >= 0:
                half.end -= moved
        half.base = packet.seq + 1
        half.next = 0
        half.state = OPEN
        half.waiting_ns = 0
        half.role = role
        flow.half[1 - side].role = ROLE_CLIENT if role == ROLE_SERVER else ROLE_SERVER
        flow.one_sided = 0

    cdef void take_reset(self, Flow* flow, int side, const Packet* packet) noexcept nogil:
        """A RST within the window ends the flow; what is on its way still counts (RFC 9293 3.10.7.4, RFC 5961 3)."""
        cdef Half* half = &flow.half[side]
        cdef int64_t at = widened(half, packet.seq)
        if half.state == OPEN and half.end < 0:
            if half.next <= at <= half.next + WINDOW_MOST:
                half.end = at
                half.reset = 1
                self.table.set_closing(flow)
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
            last = &half.store.slots[half.store.first + half.store.count - 1]
        if half.state == PARTIAL and last != NULL and at < last.at or half.state == OPEN and at > half.next:
            kind = Tally.segments_reordered
        self.add_bytes(half, at, p, n, packet, &added)
        if added.repeated:
            kind = Tally.segments_overlapping if added.fresh else Tally.segments_duplicate
        count(self.tally, kind, 1)

    cdef void add_bytes(self, Half* half, int64_t at, const uint8_t* p, uint32_t n, const Packet* packet,
                        Added* added) noexcept nogil:
        cdef uint32_t before = half.store.count
        cdef uint64_t cost
        if not store_add(&half.store, at, p, n, packet.ts_ns, packet.ack, packet.flags & TCP_ACK, added):
            self.out_of_memory = True
            count(self.tally, Tally.skipped_evicted, n - added.fresh - added.repeated)
        cost = added.fresh + (half.store.count - before) * sizeof(Stored)
        half.stored += cost
        count(self.tally, Tally.bytes_held, cost)
        count(self.tally, Tally.bytes_duplicate, added.repeated)
        count(self.tally, Tally.bytes_conflicting, added.conflicting)

    cdef void drop_first(self, Half* half) noexcept nogil:
        """Forget the first stored entry, which is delivered."""
        cdef uint64_t cost = half.store.slots[half.store.first].size + sizeof(Stored)
        half.stored -= cost
        count(self.tally, Tally.bytes_held, 0 - cost)
        store_drop_first(&half.store)

    cdef bint drain(self, Flow* flow, int side, bint causal) noexcept nogil:
        """Deliver one stored entry if it is due; True if anything moved.

        With `causal` only if what its sender had received by then is delivered too.
        """
        cdef Half* half = &flow.half[side]
        cdef Half* other = &flow.half[1 - side]
        cdef Stored* entry
        cdef Origin origin
        cdef uint32_t used
        if half.state != OPEN or half.store.count == 0 or awaits(half):
            return False
        entry = &half.store.slots[half.store.first]
        if entry.at != half.next:
            return False
        if causal and entry.has_ack and other.state == OPEN and widened(other, entry.ack) > other.next:
            return False
        origin.ts_ns = entry.ts_ns
        origin.ack = entry.ack
        origin.has_ack = entry.has_ack
        origin.seq = half.base + <uint32_t>half.next
        used = <uint32_t>self.framer.take(flow, side, entry.data, entry.size, origin)
        half.next += used
        half.waiting_ns = 0
        if used == entry.size:
            self.drop_first(half)
        else:
            entry.at += used
            entry.size -= used
            half.stored -= used
            count(self.tally, Tally.bytes_held, 0 - <uint64_t>used)
            memmove(entry.data, entry.data + used, entry.size)
        return used > 0

    cdef void settle(self, Flow* flow) noexcept nogil:
        """Let both halves go on as far as what is known allows; each may free the other.

        They take turns, entry by entry, and as their senders did: what was sent in answer comes after what it answers,
        unless that is not there.
        """
        cdef bint moved = True
        while moved:
            moved = self.step(flow, True)
            if not moved:
                moved = self.step(flow, False)

    cdef bint step(self, Flow* flow, bint causal) noexcept nogil:
        """Let each half go on by one stored entry, or just the first that can when the order is given up."""
        cdef bint moved = False
        cdef int side
        for side in range(2):
            if flow.half[side].phase == AWAITING_PEER and self.framer.resume(flow, side, False):
                moved = True
            moved = self.drain(flow, side, causal) or moved
            self.close_if_ended(flow, side)
            if moved and not causal:
                break
        return moved

    cdef void open_late(self, Half* half) noexcept nogil:
        """Start a half whose SYN nobody saw at the lowest byte that is there, looking for a message."""
        half.state = OPEN
        half.next = half.store.slots[half.store.first].at if half.store.count else half.end
        if half.end < half.next:
            half.end = -1
        self.framer.look_for_start(half, Tally.skipped_no_start)
        half.waiting_ns = 0

    cdef void close_if_ended(self, Flow* flow, int side) noexcept nogil:
        """Close a half once every byte up to its FIN or RST is delivered."""
        cdef Half* half = &flow.half[side]
        if half.end < 0 or half.state != OPEN or half.next < half.end or awaits(half) and half.phase != AWAITING_SWITCH:
            return
        half.state = CLOSED
        self.framer.finish(flow, side, not half.reset, 0)
        if flow.half[1 - side].state == CLOSED:
            self.table.set_closing(flow)

    cdef bint standing(self, const Half* half) noexcept nogil:
        """Tell whether a half waits for something that a timer has to end."""
        return (half.state == PARTIAL or half.phase == AWAITING_PEER or half.store.count > 0
                or half.state == OPEN and half.end > half.next)

    cdef void mark_waiting(self, Flow* flow, int64_t now_ns) noexcept nogil:
        """Keep the list of waiting flows, and since when each half waits."""
        cdef int side
        cdef bint any_waits = False
        for side in range(2):
            if not self.standing(&flow.half[side]):
                flow.half[side].waiting_ns = 0
                continue
            any_waits = True
            if flow.half[side].waiting_ns == 0:
                flow.half[side].waiting_ns = now_ns if now_ns else 1
        if any_waits:
            self.table.set_waiting(flow)
        else:
            self.table.clear_waiting(flow)

    cdef void tick(self, int64_t now_ns) noexcept nogil:
        """End what has waited too long, by packet time."""
        cdef Flow* flow = self.table.waiting
        cdef Flow* following
        cdef bint moved
        while flow != NULL:
            following = flow.waiting_behind
            moved = self.look_after(flow, 0, now_ns)
            moved = self.look_after(flow, 1, now_ns) or moved
            if moved:
                self.settle(flow)
                self.mark_waiting(flow, now_ns)
            elif flow.half[0].waiting_ns == 0 and flow.half[1].waiting_ns == 0:
                self.table.clear_waiting(flow)
            flow = following
        while self.table.closing.head != NULL and self.table.closing.head.queued_ns + self.gap_ns < now_ns:
            self.finish(self.table.closing.head)
        while self.table.idle.head != NULL and self.table.idle.head.queued_ns + self.idle_ns < now_ns:
            flow = self.table.idle.head
            if flow.last_ns + self.idle_ns < now_ns:
                count(self.tally, Tally.flows_idle, 1)
                self.finish(flow)
            else:
                self.table.requeue(flow)

    cdef bint look_after(self, Flow* flow, int side, int64_t now_ns) noexcept nogil:
        """End one half's wait if its time is over; True if it goes on."""
        cdef Half* half = &flow.half[side]
        cdef int64_t hole_end
        cdef int64_t limit_ns = self.gap_ns
        if half.waiting_ns == 0:
            return False
        if half.state == OPEN and awaits(half):
            limit_ns += limit_ns // 4    # the peer's own hole is given up first, which may answer it
        elif half.state == OPEN:
            hole_end = half.store.slots[half.store.first].at if half.store.count else half.end
            if half.acked_known and half.acked < hole_end:
                limit_ns *= PATIENCE     # its receiver misses it too: it will be sent again
        if now_ns - half.waiting_ns < limit_ns:
            return False
        if half.state == PARTIAL:
            self.open_late(half)
            return True
        return self.give_up(flow, side)

    cdef bint give_up(self, Flow* flow, int side) noexcept nogil:
        """Stop waiting for whatever one half waits for; False if it waits for nothing."""
        cdef Half* half = &flow.half[side]
        cdef Half* other = &flow.half[1 - side]
        if not awaits(half):
            return self.give_up_hole(flow, side)
        if half.phase == AWAITING_SWITCH and half.store.count == 0:
            return False
        if not awaits(other):            # what it waits for may lie behind a hole
            if self.give_up_hole(flow, 1 - side):
                return True
            if other.state == OPEN and (
                    other.acked > other.next + 1 or other.acked > other.next and other.phase != AT_START):
                # ... or was acknowledged and never seen: a hole that nothing follows; one byte may be a FIN
                self.lose(flow, 1 - side, other.acked)
                return True
        if other.state == UNSEEN:
            flow.one_sided = 1
        return self.framer.resume(flow, side, True)

    cdef bint give_up_hole(self, Flow* flow, int side) noexcept nogil:
        """Declare the hole lost that one half stands before, if it does."""
        cdef Half* half = &flow.half[side]
        cdef int64_t hole_end = half.store.slots[half.store.first].at if half.store.count else half.end
        if half.next <= half.end < hole_end:
            hole_end = half.end
        if half.state != OPEN or hole_end <= half.next:
            return False
        self.lose(flow, side, hole_end)
        return True

    cdef void lose(self, Flow* flow, int side, int64_t hole_end) noexcept nogil:
        """Declare the bytes up to `hole_end` lost."""
        cdef Half* half = &flow.half[side]
        count(self.tally, Tally.holes, 1)
        count(self.tally, Tally.bytes_missing, hole_end - half.next)
        self.framer.pass_gap(flow, side, hole_end - half.next)
        half.next = hole_end
        half.waiting_ns = 0

    cdef void finish(self, Flow* flow) noexcept nogil:
        """End a flow: give up every wait, clients' first, send what is there, and forget it."""
        cdef int side
        cdef int client
        cdef Half* half
        cdef int64_t cut
        for side in range(2):
            if flow.half[side].state == PARTIAL:
                self.open_late(&flow.half[side])
        client = 1 if flow.half[1].role == ROLE_CLIENT else 0
        self.settle(flow)
        while self.give_up(flow, client) or self.give_up(flow, 1 - client):
            self.settle(flow)
        for side in range(2):
            half = &flow.half[side]
            if half.state == OPEN:
                cut = half.acked - half.next     # one more may be the FIN
                self.framer.finish(flow, side, False, cut if cut > 1 or half.phase == IN_HEAD and cut > 0 else 0)
            while half.store.count:
                count(self.tally, Tally.skipped_after_close, half.store.slots[half.store.first].size)
                self.drop_first(half)
            store_clear(&half.store)
            self.framer.let_go(half)
        count(self.tally, Tally.bytes_held, 0 - (sizeof(Flow) + flow.pending_capacity * sizeof(Pending)))
        self.table.remove(flow)
        self.tally[<int>Tally.flows_now] = self.table.count

    cdef void relieve(self, Flow* flow, int side) noexcept nogil:
        """Stop waiting on a half that holds more than its share of the memory."""
        while flow.half[side].stored > self.memory // SHARE and self.give_up(flow, side):
            self.settle(flow)

    cdef void evict(self) noexcept nogil:
        """End flows, least recently active first, until the memory held is within bounds."""
        cdef Flow* flow
        while self.tally[<int>Tally.bytes_held] > self.memory:
            flow = self.table.closing.head
            if flow == NULL:
                flow = self.table.idle.head
                if flow == NULL:
                    return
                if flow.last_ns > flow.queued_ns:
                    self.table.requeue(flow)
                    continue
            count(self.tally, Tally.flows_evicted, 1)
            self.finish(flow)

    cdef void finish_all(self) noexcept nogil:
        """End every flow, those that ended by themselves first."""
        while self.table.closing.head != NULL:
            self.finish(self.table.closing.head)
        while self.table.idle.head != NULL:
            self.finish(self.table.idle.head)
