"""Halves that stand still, and what ends it: bytes that arrive, a timer on packet time, the memory budget, the end.

In: flows with stored bytes.  Out: calls of the framer, in each half's order.  Invariant: a flow in which anything
stands still is on the table's timer wheel, at the time its wait ends or before; whatever is given up is counted.
A half may stand still for four reasons: no SYN seen yet, a hole, a response whose request has not been delivered, a
request to switch protocols whose answer is not known.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memmove

from assemble.collect cimport Origin
from assemble.flows cimport (
    AWAITING_PEER, AWAITING_SWITCH, CLOSED, CLOSING, OPEN, PARTIAL, QUEUES, ROLE_CLIENT, UNSEEN, WHEEL,
    WHEEL_SHIFT, Flow, FlowTable, Half, Queue, Stored, awaits, flow_bytes, widened,
)
from assemble.http1 cimport Http1Framer
from assemble.store cimport store_clear, store_drop_first, store_first
from assemble.tally cimport Tally, count


cdef enum:
    SHARE = 8                   # one half may hold this share of the memory: 1 / SHARE
    PATIENCE = 15               # gap timeouts to wait for a hole that the other side has not acknowledged


cdef inline bint is_answer(const Stored* entry, const Half* other) noexcept nogil:
    """Tell whether bytes were sent by one who had received something that is not delivered here yet."""
    return entry.has_ack and other.state == OPEN and widened(other, entry.ack) > other.next


cdef class Waiting:
    """The flows and their timers; `tally` is set by its owner before the first segment."""

    def __init__(self, Http1Framer framer not None, int64_t gap_ns, int64_t idle_ns, uint64_t memory):
        self.table = FlowTable()
        self.framer = framer
        self.gap_ns = gap_ns
        self.idle_ns = idle_ns
        self.memory = memory

    cdef void drop_first(self, Half* half) noexcept nogil:
        """Forget the first stored entry, which is delivered."""
        store_drop_first(&half.store, &self.table.pool)
        self.weigh(half)

    cdef void weigh(self, Half* half) noexcept nogil:
        """Count what a half's store takes of memory now."""
        count(self.tally, Tally.bytes_held, half.store.bytes - half.stored)
        half.stored = half.store.bytes

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
        entry = store_first(&half.store)
        if entry.at != half.next:
            return False
        if causal and is_answer(entry, other):
            return False
        if 0 <= half.end < entry.at + entry.size:     # stored before the FIN was seen
            self.clip(half, entry)
            return True
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
            memmove(entry.data, entry.data + used, entry.size)
        return used > 0

    cdef void clip(self, Half* half, Stored* entry) noexcept nogil:
        """Take off the first stored entry what lies behind the end of its half."""
        cdef uint32_t kept = <uint32_t>(half.end - entry.at) if half.end > entry.at else 0
        count(self.tally, Tally.skipped_after_close, entry.size - kept)
        entry.size = kept
        if kept == 0:
            self.drop_first(half)

    cdef void settle(self, Flow* flow) noexcept nogil:
        """Let both halves go on as far as what is known allows; each may free the other.

        They take turns, entry by entry, and as their senders did: what was sent in answer comes after what it answers,
        unless that is not there.
        """
        cdef bint moved = self.may_move(&flow.half[0]) or self.may_move(&flow.half[1])
        while moved:
            moved = self.step(flow, True)
            if not moved:
                moved = self.step(flow, False)

    cdef bint may_move(self, const Half* half) noexcept nogil:
        """Tell whether a step may do something for a half; not while it stands before a hole, as it does most often."""
        return (half.phase == AWAITING_PEER or half.state == OPEN and half.end >= 0 and half.next >= half.end
                or half.store.count and store_first(&half.store).at == half.next)

    cdef bint step(self, Flow* flow, bint causal) noexcept nogil:
        """Let each half go on by one stored entry, or just the first that can when the order is given up.

        By several where there is nothing of the other direction that could come between.
        """
        cdef bint moved = False
        cdef int side
        for side in range(2):        # first of all: what is drained may have been sent behind this answer
            if flow.half[side].phase == AWAITING_PEER and self.framer.resume(flow, side, False):
                moved = True
        if moved and not causal:
            return True
        for side in range(2):
            while self.drain(flow, side, causal):
                moved = True
                if flow.half[1 - side].store.count or awaits(&flow.half[1 - side]):
                    break                # its turn
            self.close_if_ended(flow, side)
            if moved and not causal:
                break
        return moved

    cdef void open_late(self, Half* half) noexcept nogil:
        """Start a half whose SYN nobody saw at the lowest byte that is there, looking for a message."""
        half.state = OPEN
        half.next = store_first(&half.store).at if half.store.count else half.end
        if half.end < half.next:
            half.end = -1
        self.framer.look_for_start(half, Tally.skipped_no_start)
        half.waiting_ns = 0

    cdef void close_if_ended(self, Flow* flow, int side) noexcept nogil:
        """Close a half once every byte up to its FIN or RST is delivered."""
        cdef Half* half = &flow.half[side]
        if half.end < 0 or half.state != OPEN or half.next < half.end or awaits(half) and half.phase != AWAITING_SWITCH:
            return
        if self.framer.hold_cut_head(flow, side):
            return
        half.state = CLOSED
        self.framer.finish(flow, side, not half.reset, 0)
        if half.reset or flow.half[1 - side].state == CLOSED:
            self.table.set_closing(flow)

    cdef bint standing(self, const Half* half) noexcept nogil:
        """Tell whether a half waits for something that a timer has to end."""
        return (half.state == PARTIAL or half.phase == AWAITING_PEER or half.store.count > 0
                or half.state == OPEN and half.end > half.next)

    cdef void mark_waiting(self, Flow* flow, int64_t now_ns) noexcept nogil:
        """Keep since when each half waits, and the time to look at the flow again."""
        cdef int side
        for side in range(2):
            if not self.standing(&flow.half[side]):
                flow.half[side].waiting_ns = 0
            elif flow.half[side].waiting_ns == 0:
                flow.half[side].waiting_ns = now_ns if now_ns else 1
        self.wait_on(flow)

    cdef void wait_on(self, Flow* flow) noexcept nogil:
        """Put a flow on the wheel for the first of its waits to end, or take it off."""
        cdef int side
        cdef bint any_waits = False
        for side in range(2):
            if flow.half[side].waiting_ns:
                self.table.set_waiting(flow, self.due_ns(flow, side))
                any_waits = True
        if not any_waits:
            self.table.clear_waiting(flow)

    cdef void tick(self, int64_t now_ns) noexcept nogil:
        """End what has waited too long, by packet time."""
        cdef const Queue* closing = &self.table.queues[<int>CLOSING]
        cdef int queue
        cdef int64_t number = self.table.turned
        cdef int64_t last = now_ns >> WHEEL_SHIFT
        if last - number >= WHEEL:
            number = last - WHEEL + 1
        if last > self.table.turned:
            self.table.turned = last
        while number <= last:
            self.turn(number, now_ns)
            number += 1
        while closing.head != NULL and closing.head.queued_ns + self.gap_ns < now_ns:
            self.finish(closing.head)
        for queue in range(CLOSING):
            self.expire(&self.table.queues[queue], now_ns)
        self.keep_to_budget()

    cdef void expire(self, const Queue* queue, int64_t now_ns) noexcept nogil:
        """End the flows of a queue that nothing was heard of for too long."""
        cdef Flow* flow
        while queue.head != NULL and queue.head.queued_ns + self.idle_ns < now_ns:
            flow = queue.head
            if flow.last_ns + self.idle_ns < now_ns:
                count(self.tally, Tally.flows_idle, 1)
                self.finish(flow)
            else:
                self.table.requeue(flow)

    cdef void turn(self, int64_t number, int64_t now_ns) noexcept nogil:
        """Look at the flows of one slot of the wheel; those whose time is not over are put back where they belong."""
        cdef Flow** slot = &self.table.wheel[number & (WHEEL - 1)]
        cdef Flow* due = slot[0]
        cdef Flow* flow
        cdef bint moved
        slot[0] = NULL
        if due != NULL:
            due.waiting_at = &due
        while due != NULL:
            flow = due
            self.table.clear_waiting(flow)
            moved = self.look_after(flow, 0, now_ns)
            moved = self.look_after(flow, 1, now_ns) or moved
            if moved:
                self.settle(flow)
                self.mark_waiting(flow, now_ns)
            else:
                self.wait_on(flow)

    cdef int64_t due_ns(self, Flow* flow, int side) noexcept nogil:
        """Return when a half's wait ends; one that awaits the other side does so as long as that waits for bytes."""
        cdef Half* half = &flow.half[side]
        cdef Half* other = &flow.half[1 - side]
        cdef int64_t due_ns = half.waiting_ns + self.patience(half)
        cdef int64_t others_ns
        if half.state == OPEN and awaits(half):
            due_ns += self.gap_ns // 4               # the other side's own hole is given up first, which may answer it
            if other.waiting_ns and not awaits(other):
                others_ns = other.waiting_ns + self.patience(other)
                return others_ns if others_ns > due_ns else due_ns
        return due_ns

    cdef int64_t patience(self, const Half* half) noexcept nogil:
        """Return how long a half may wait for bytes."""
        if half.state == OPEN and half.phase != AWAITING_PEER and half.acked_known and half.acked < hole_end(half):
            return self.gap_ns * PATIENCE            # its receiver misses them too: they will be sent again
        return self.gap_ns

    cdef bint look_after(self, Flow* flow, int side, int64_t now_ns) noexcept nogil:
        """End one half's wait if its time is over; True if it goes on."""
        cdef Half* half = &flow.half[side]
        if half.waiting_ns == 0 or now_ns < self.due_ns(flow, side):
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
        if other.state == PARTIAL:       # what it waits for may be all that is held there
            self.open_late(other)
            return True
        if not awaits(other):            # what it waits for may lie behind a hole
            if self.give_up_hole(flow, 1 - side):
                return True
            if other.state == OPEN and other.store.count and store_first(&other.store).at == other.next:
                return True              # that was freed a moment ago
            if other.state == OPEN and other.acked > other.next + 1:
                # ... or was acknowledged and never seen: a hole that nothing follows; one byte may be a FIN
                self.lose(flow, 1 - side, other.acked)
                return True
        if other.state == UNSEEN:
            flow.one_sided = 1
        return self.framer.resume(flow, side, True)

    cdef bint give_up_holes(self, Flow* flow, int client) noexcept nogil:
        """Declare what both halves stand before lost, so that they still take turns behind it; True if the client did.

        The client's first, and more of them while what follows was sent before the server went on.
        """
        cdef Half* half = &flow.half[client]
        cdef Half* server = &flow.half[1 - client]
        cdef bint moved = False
        while not awaits(half) and self.give_up_hole(flow, client):
            moved = True
            while self.step(flow, True):
                pass
            if half.store.count == 0 or is_answer(store_first(&half.store), server):
                break
        if moved and not awaits(server):
            self.give_up_hole(flow, 1 - client)
        return moved

    cdef bint give_up_hole(self, Flow* flow, int side) noexcept nogil:
        """Declare the hole lost that one half stands before, if it does."""
        cdef Half* half = &flow.half[side]
        cdef int64_t end = hole_end(half)
        if half.next <= half.end < end:
            end = half.end
        if half.state != OPEN or end <= half.next:
            return False
        if half.reset and end == half.end:      # a RST alone proves no bytes; one acknowledged may be a FIN
            half.end = end = half.acked if half.next + 1 < half.acked <= end else half.next
        if end > half.next:
            self.lose(flow, side, end)
        return True

    cdef void lose(self, Flow* flow, int side, int64_t end) noexcept nogil:
        """Declare the bytes up to `end` lost."""
        cdef Half* half = &flow.half[side]
        count(self.tally, Tally.holes, 1)
        count(self.tally, Tally.bytes_missing, end - half.next)
        self.framer.pass_gap(flow, side, end - half.next)
        half.next = end
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
        while (self.give_up_holes(flow, client) or self.give_up(flow, client)
                or self.give_up(flow, 1 - client)):
            self.settle(flow)
        for side in range(2):
            half = &flow.half[side]
            if half.state == OPEN:
                cut = half.acked - half.next     # one more may be the FIN
                self.framer.finish(flow, side, False, cut if cut > 1 else 0)
            while half.store.count:
                count(self.tally, Tally.skipped_after_close, store_first(&half.store).size)
                self.drop_first(half)
            store_clear(&half.store, &self.table.pool)
            self.weigh(half)
            self.framer.let_go(half)
        count(self.tally, Tally.bytes_held, 0 - flow_bytes(flow))
        self.table.remove(flow)
        self.tally[<int>Tally.flows_now] = self.table.count

    cdef void relieve(self, Flow* flow, int side) noexcept nogil:
        """Stop waiting on a half that holds more than its share of the memory."""
        while flow.half[side].stored > self.memory // SHARE and self.give_up(flow, side):
            self.settle(flow)

    cdef void keep_to_budget(self) noexcept nogil:
        """Note how much is held, and give up what is over the budget; after everything that may hold more."""
        if self.tally[<int>Tally.bytes_held] > self.tally[<int>Tally.bytes_held_peak]:
            self.tally[<int>Tally.bytes_held_peak] = self.tally[<int>Tally.bytes_held]
        if self.tally[<int>Tally.bytes_held] > self.memory:
            self.evict()

    cdef void evict(self) noexcept nogil:
        """End flows until the memory held is within bounds: those that have ended, then the least recently active.

        They are looked for in the queue that is heaviest.  So what comes in masses makes room for itself: connections
        that come to nothing, or few that hold much, do not displace those that carry messages, or hold little.
        """
        cdef Flow* flow
        while self.tally[<int>Tally.bytes_held] > self.memory:
            flow = self.table.queues[<int>CLOSING].head
            if flow == NULL:
                flow = self.table.heaviest().head
                if flow == NULL:
                    return
                if flow.last_ns > flow.queued_ns:
                    self.table.requeue(flow)
                    continue
            count(self.tally, Tally.flows_evicted, 1)
            self.finish(flow)

    cdef void finish_all(self) noexcept nogil:
        """End every flow, those that ended by themselves first."""
        cdef int number
        for number in range(QUEUES - 1, -1, -1):
            while self.table.queues[number].head != NULL:
                self.finish(self.table.queues[number].head)
