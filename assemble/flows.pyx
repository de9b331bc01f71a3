"""The flow table: one entry per connection, found by its two endpoints, in the order of its last activity.

In: decoded packets.  Out: flows, and message ids.  Invariant: a map with a single owner; a flow is in exactly one
queue.  Who sends packets knows no two flows that share a place: its hash has a secret key.
"""

from ipaddress import ip_address

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy

from assemble.decode cimport Packet
from assemble.siphash cimport new_secret, siphash
from assemble.store cimport drain_pool, store_clear


cdef enum:
    SLOTS_FIRST = 4096
    LINE_BYTES = 64         # of the cache
    CACHED_FLOWS = 512      # so few stay in a core's own cache anyway


cdef inline uint64_t mixed(uint64_t state, uint64_t word) noexcept nogil:
    """Fold one word into a hash: multiply and xor-shift, as in the finalisers of splitmix64 (Steele et al. 2014)."""
    state = (state ^ word) * <uint64_t>0xBF58476D1CE4E5B9
    state ^= state >> 29
    state *= <uint64_t>0x94D049BB133111EB
    return state ^ (state >> 32)


cdef uint64_t identity(const uint8_t* client, uint16_t client_port, const uint8_t* server, uint16_t server_port,
                       uint8_t ipv6, uint64_t realm, uint32_t ack, uint32_t ordinal) noexcept nogil:
    """Return a message's id: a pure function of client, server, acknowledgement number and ordinal (DESIGN 5).

    And of the realm, where connections with the same addresses are kept apart.
    """
    cdef uint64_t[4] words
    cdef uint64_t state = 0x52696E6774617031   # 'Ringtap1'
    memcpy(words, client, 16)
    memcpy(&words[2], server, 16)
    state = mixed(state, words[0])
    state = mixed(state, words[1])
    state = mixed(state, words[2])
    state = mixed(state, words[3])
    state = mixed(state, (<uint64_t>client_port << 32) | (<uint64_t>server_port << 8) | ipv6)
    if realm:
        state = mixed(state, realm)
    return mixed(state, (<uint64_t>ordinal << 32) | ack)


def message_id(client, uint16_t client_port, server, uint16_t server_port, uint32_t ack, uint32_t ordinal=0):
    """Return the id of the request that `client` sent with acknowledgement number `ack`; addresses as text, say."""
    here, there = (ip_address(a) for a in (client, server))
    cdef bytes packed_here = here.packed.ljust(16, b"\0")
    cdef bytes packed_there = there.packed.ljust(16, b"\0")
    return identity(packed_here, client_port, packed_there, server_port, here.version == 6, 0, ack, ordinal)


cdef extern from *:
    void prefetch "__builtin_prefetch"(const void* at) noexcept nogil


cdef inline void make_key(const Packet* packet, uint64_t* key, int* side) noexcept nogil:
    """Fill the key of a packet's flow, the same for both directions, and which side sent it."""
    cdef int order = memcmp(packet.src, packet.dst, 16)
    side[0] = order > 0 or (order == 0 and packet.sport > packet.dport)
    if side[0]:
        memcpy(key, packet.dst, 16)
        memcpy(key + 2, packet.src, 16)
        key[4] = (<uint64_t>packet.dport << 16) | packet.sport
    else:
        memcpy(key, packet.src, 16)
        memcpy(key + 2, packet.dst, 16)
        key[4] = (<uint64_t>packet.sport << 16) | packet.dport
    key[4] |= <uint64_t>packet.ipv6 << 32
    key[5] = packet.realm


cdef uint64_t flow_hash(const Packet* packet) noexcept nogil:
    """Return the hash of a packet's flow that is the same in every process and run, as `Flow.hash` has it."""
    cdef uint64_t[6] key
    cdef int _side
    make_key(packet, key, &_side)
    cdef uint64_t state = mixed(key[4], key[0] ^ (key[2] * <uint64_t>0x9E3779B97F4A7C15))
    if packet.ipv6:
        state = mixed(state, key[1])
        state = mixed(state, key[3])
    if packet.realm:
        state = mixed(state, packet.realm)
    return state


cdef void forget(Flow* flow, Pool* pool) noexcept nogil:
    """Free a flow and all that it owns."""
    cdef Half* half
    cdef int side
    for side in range(2):
        half = &flow.half[side]
        store_clear(&half.store, pool)
        free(half.held)
    free(flow.pending)
    free(flow)


cdef inline uint8_t group_of(uint64_t weight) noexcept nogil:
    """Return the group of a flow that takes so much memory."""
    cdef uint8_t group = 0
    weight >>= 12
    while weight and group < GROUPS - 1:
        weight >>= 3
        group += 1
    return group


cdef class FlowTable:
    """Flows by their endpoints, with all that they own; who removes one has counted what it held."""

    def __cinit__(self):
        self.secret = new_secret()
        self.capacity = SLOTS_FIRST
        self.slots = <Flow**>calloc(self.capacity, sizeof(Flow*))
        if self.slots == NULL:
            raise MemoryError

    def __dealloc__(self):
        cdef uint64_t at
        if self.slots != NULL:
            for at in range(self.capacity):
                if self.slots[at] != NULL:
                    forget(self.slots[at], &self.pool)
            free(self.slots)
        drain_pool(&self.pool)

    cdef inline uint64_t place_of(self, const Packet* packet) noexcept nogil:
        """Hash a packet's key: the words of it that are not always 0."""
        cdef uint64_t[2] words
        if packet.ipv6 or packet.realm:
            return siphash(&self.secret, packet.key, 6)
        memcpy(words, packet.key, 4)
        memcpy(<uint8_t*>words + 4, packet.key + 2, 4)
        words[1] = packet.key[4]
        return siphash(&self.secret, words, 2)

    cdef void aim(self, Packet* packet) noexcept nogil:
        """Learn where a packet's flow is looked for, and have the cache fetch that place; see `fetch`."""
        make_key(packet, packet.key, &packet.side)
        packet.place = self.place_of(packet)
        prefetch(&self.slots[packet.place & (self.capacity - 1)])

    cdef void fetch(self, const Packet* packet) noexcept nogil:
        """Have the cache fetch a packet's flow: with many connections it comes from memory, a hundred cycles away."""
        cdef const uint8_t* flow = <const uint8_t*>self.slots[packet.place & (self.capacity - 1)]
        cdef size_t at = 0
        if self.count > CACHED_FLOWS and flow != NULL:
            while at < sizeof(Flow):
                prefetch(flow + at)
                at += LINE_BYTES

    cdef Flow* find(self, const Packet* packet) noexcept nogil:
        """Return the flow of a packet that was aimed, or NULL."""
        cdef uint64_t at = packet.place & (self.capacity - 1)
        cdef Flow* flow = self.slots[at]
        while flow != NULL:
            if flow.place == packet.place and memcmp(flow.key, packet.key, sizeof(packet.key)) == 0:
                return flow
            at = (at + 1) & (self.capacity - 1)
            flow = self.slots[at]
        return NULL

    cdef Flow* add(self, const Packet* packet) noexcept nogil:
        """Make the flow of a packet that was aimed, which must not be there yet; NULL when memory is exhausted."""
        cdef int side = packet.side
        if self.count * 2 >= self.capacity and not self.grow():
            return NULL
        cdef Flow* flow = <Flow*>calloc(1, sizeof(Flow))
        if flow == NULL:
            return NULL
        memcpy(flow.key, packet.key, sizeof(packet.key))
        flow.hash = flow_hash(packet)
        flow.place = packet.place
        flow.port[side] = packet.sport
        flow.port[1 - side] = packet.dport
        flow.ipv6 = packet.ipv6
        flow.last_ns = flow.queued_ns = packet.now_ns
        for side in range(2):
            flow.half[side].end = -1
            flow.half[side].synced = 1
        self.place(flow)
        self.count += 1
        flow.weight = sizeof(Flow)
        self.enqueue(flow, 0)
        return flow

    cdef void place(self, Flow* flow) noexcept nogil:
        cdef uint64_t at = flow.place & (self.capacity - 1)
        while self.slots[at] != NULL:
            at = (at + 1) & (self.capacity - 1)
        self.slots[at] = flow

    cdef bint grow(self) noexcept nogil:
        cdef Flow** old = self.slots
        cdef uint64_t size = self.capacity
        cdef uint64_t at
        cdef Flow** slots = <Flow**>calloc(size * 2, sizeof(Flow*))
        if slots == NULL:
            return False
        self.slots = slots
        self.capacity = size * 2
        for at in range(size):
            if old[at] != NULL:
                self.place(old[at])
        free(old)
        return True

    cdef void remove(self, Flow* flow) noexcept nogil:
        """Forget a flow and free it; the entries behind it in its probe run move up (no tombstones)."""
        cdef uint64_t mask = self.capacity - 1
        cdef uint64_t hole = flow.place & mask
        cdef uint64_t at
        while self.slots[hole] != flow:
            hole = (hole + 1) & mask
        at = hole
        while True:
            at = (at + 1) & mask
            if self.slots[at] == NULL:
                break
            # An entry may fill the hole unless its own place lies behind the hole, cyclically.
            if ((at - (self.slots[at].place & mask)) & mask) >= ((at - hole) & mask):
                self.slots[hole] = self.slots[at]
                hole = at
        self.slots[hole] = NULL
        self.count -= 1
        self.dequeue(flow)
        self.clear_waiting(flow)
        forget(flow, &self.pool)

    cdef void enqueue(self, Flow* flow, uint8_t number) noexcept nogil:
        """Put a flow at the end of a queue."""
        cdef Queue* queue = &self.queues[number]
        flow.queue = number
        queue.weight += flow.weight
        flow.before = queue.tail
        flow.behind = NULL
        if queue.tail != NULL:
            queue.tail.behind = flow
        else:
            queue.head = flow
        queue.tail = flow

    cdef void dequeue(self, Flow* flow) noexcept nogil:
        """Take a flow out of its queue."""
        cdef Queue* queue = &self.queues[flow.queue]
        queue.weight -= flow.weight
        if flow.before != NULL:
            flow.before.behind = flow.behind
        else:
            queue.head = flow.behind
        if flow.behind != NULL:
            flow.behind.before = flow.before
        else:
            queue.tail = flow.before

    cdef void requeue(self, Flow* flow) noexcept nogil:
        """Move a flow that was active since it was queued to the end of its queue: the order is mended lazily."""
        self.dequeue(flow)
        flow.queued_ns = flow.last_ns
        self.enqueue(flow, flow.queue)

    cdef void set_closing(self, Flow* flow) noexcept nogil:
        """Have a flow whose directions have both ended wait for late repetitions only."""
        if flow.queue != CLOSING:
            self.dequeue(flow)
            flow.queued_ns = flow.last_ns
            self.enqueue(flow, CLOSING)

    cdef void weigh(self, Flow* flow) noexcept nogil:
        """Look at what a flow takes of memory and what has come of it, and put it into the queue of its like."""
        cdef uint64_t weight = all_bytes(flow)
        cdef uint8_t number = group_of(weight)
        if not flow.proven and (arrived(&flow.half[0]) or arrived(&flow.half[1])):
            flow.proven = 1
        if flow.proven:
            number += GROUPS
        if number == flow.queue or flow.queue == CLOSING:
            self.queues[flow.queue].weight += weight - flow.weight
            flow.weight = weight
            return
        self.dequeue(flow)
        flow.weight = weight
        flow.queued_ns = flow.last_ns
        self.enqueue(flow, number)

    cdef Queue* heaviest(self) noexcept nogil:
        """Return the queue, but for CLOSING, whose flows take the most memory."""
        cdef Queue* found = &self.queues[0]
        cdef int number
        for number in range(1, CLOSING):
            if self.queues[number].weight > found.weight:
                found = &self.queues[number]
        return found

    cdef void set_waiting(self, Flow* flow, int64_t due_ns) noexcept nogil:
        """Have a timer look at a flow at this time; one that looks sooner does, and puts it back."""
        cdef int64_t number = due_ns >> WHEEL_SHIFT
        cdef Flow** slot
        if flow.waiting_at != NULL and flow.due_ns <= due_ns:
            return
        self.clear_waiting(flow)
        slot = &self.wheel[(number if number > self.turned else self.turned) & (WHEEL - 1)]
        flow.due_ns = due_ns
        flow.waiting_at = slot
        flow.waiting_behind = slot[0]
        if slot[0] != NULL:
            slot[0].waiting_at = &flow.waiting_behind
        slot[0] = flow

    cdef void clear_waiting(self, Flow* flow) noexcept nogil:
        """Take a flow off the wheel."""
        if flow.waiting_at != NULL:
            flow.waiting_at[0] = flow.waiting_behind
            if flow.waiting_behind != NULL:
                flow.waiting_behind.waiting_at = flow.waiting_at
            flow.waiting_at = NULL
