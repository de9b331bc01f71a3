"""C face of the flow table: what is kept for each connection and each of its directions."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from assemble.decode cimport Packet
from assemble.framing cimport Body, Head
from assemble.siphash cimport Secret
from assemble.tally cimport Tally


cdef enum HalfState:        # what a passive tap has seen of one direction (RFC 9293 3.3.2); table: docs/assembly.md
    UNSEEN                  # nothing yet
    PARTIAL                 # data before any SYN: held until the SYN comes or gap_timeout is over
    OPEN                    # in step: the first byte's place is known
    CLOSED                  # every byte up to the FIN or RST is delivered

cdef enum SynKind:          # flags; a side that sent both did not open the connection alone (RFC 9293 3.5)
    SYN_FIRST = 1           # without ACK
    SYN_ANSWER = 2          # with ACK

cdef enum Role:             # which side of HTTP this direction's sender is
    ROLE_UNKNOWN
    ROLE_CLIENT
    ROLE_SERVER

cdef enum Phase:            # where the framer of a half stands
    AT_START                # the next byte begins a message
    IN_HEAD                 # the head is collected in `held`
    IN_BODY
    AWAITING_PEER           # a head is in `held`, whose framing the other direction has to decide
    AWAITING_SWITCH         # a request asked for another protocol: what follows depends on the answer
    LOOKING                 # for a message start; the last bytes seen are in `held`
    NAMING                  # it may begin with another protocol; its first bytes are in `held`
    SKIPPING                # everything to the end, counted under `skip`

cdef struct Stored:         # early bytes: [at, at + size) of a half, disjoint from all others
    int64_t at
    uint32_t size
    uint32_t ack
    uint8_t has_ack
    uint8_t pooled          # data is a block of the pool
    uint32_t taken          # what was asked for it, if it is not: `size` may have become less
    int64_t ts_ns
    uint8_t* data           # owned

cdef struct Pool:           # blocks for early bytes that are not in use, each with the address of the next in front
    uint8_t* first          # owned
    uint32_t count

cdef struct Run:            # some neighbours: entries [first, first + count) of `slots`
    Stored* slots           # owned
    int64_t at              # where it begins; not kept for the first run
    uint32_t first
    uint32_t count
    uint32_t capacity

cdef struct Store:          # ordered by `at`; runs [first, first + used) of `runs` (assemble/store.pyx)
    Run* runs               # owned
    uint32_t first
    uint32_t used
    uint32_t capacity
    uint32_t count          # entries in all runs
    uint64_t bytes          # memory that it takes

cdef struct Half:
    uint8_t state           # HalfState
    uint8_t role            # Role
    uint8_t phase           # Phase
    uint8_t syns            # SynKind: the SYNs seen
    uint8_t reset           # what ended it was a RST
    uint8_t begun           # a message of it was framed
    uint8_t sent            # a message of it was handed on
    uint8_t synced          # no message can be lost since the last one
    uint8_t whole           # a whole message of it was handed on
    uint8_t line            # LinePhase, in IN_HEAD
    uint8_t acked_known     # the other side has been heard to acknowledge
    uint8_t overlong        # IN_HEAD: the head went beyond max_header and is not kept
    uint8_t cut             # AWAITING_PEER: its half ended in this head
    uint16_t skip           # Tally, in SKIPPING and LOOKING
    uint32_t base           # sequence number of offset 0; UNSEEN: the first acknowledgement number that it got
    int64_t next            # offset of the next byte to deliver
    int64_t end             # offset of the FIN or RST; -1 while not seen
    int64_t acked           # highest offset that the other side has acknowledged
    int64_t waiting_ns      # packet time since which delivery stands still, with bytes behind it; 0: it does not
    Store store
    uint64_t stored         # memory that it takes, as far as that is counted
    # the message under way
    uint8_t* held           # owned: its bytes so far, or those searched for a start
    size_t held_size
    size_t held_capacity
    size_t scanned          # of held: searched already, in LOOKING
    size_t later_at         # of held, in LOOKING: where the bytes of a later segment begin; 0: none known
    int64_t later_ns        # ... and what came with it
    uint32_t later_ack
    uint8_t later_has_ack
    uint8_t at_line         # in LOOKING: the next byte, or the first one held, begins a line, or all that is known
    Head head
    Body body
    int64_t first_ns
    int64_t last_ns
    uint32_t first_ack      # acknowledgement number that came with its first byte
    uint8_t has_ack         # ... unless it came without one
    uint32_t first_seq      # sequence number of its first byte
    uint32_t end_seq        # ... and behind the last one of the message sent last
    uint64_t missing
    uint64_t over           # bytes not kept as the message is over max_message
    uint64_t id
    uint8_t numbered        # a request was given an id
    uint8_t last_has_ack    # ... with an acknowledgement number
    uint32_t last_ack       # the newest acknowledgement number of a request of this half
    uint32_t ordinal        # how many requests since then did not bring a newer one

cdef struct Pending:        # a request that waits for its response
    uint64_t id
    uint32_t ack            # acknowledgement number that came with its first byte
    uint32_t seq            # sequence number of the byte by which its server knows of it
    uint32_t end            # sequence number behind its last byte, once `ended`
    uint8_t ended
    uint8_t cut             # it ended before its end: bytes were lost
    uint8_t traits

cdef struct Flow:
    uint64_t hash           # of the key, the same in every process: chooses the worker
    uint64_t place          # keyed hash of it: where the table has it
    uint64_t[6] key         # lower endpoint, higher endpoint, ports and family, realm
    uint16_t[2] port        # of side 0 and 1, host order
    uint8_t ipv6
    uint8_t tunnel          # switched to another protocol: no more HTTP
    uint8_t begun           # a message of it was framed
    uint16_t named          # Tally: the other protocol that it speaks; 0: none is known
    uint8_t one_sided       # nobody waits for the other direction any more
    uint8_t queue           # the one that it is in, of the table's
    uint8_t proven          # a message of it is known to have reached its receiver
    uint8_t left_out        # not wanted, for who opened it
    int64_t last_ns         # last packet, in packet time as timers have it
    int64_t queued_ns       # its place in its queue: at most last_ns
    uint64_t weight         # memory that it took when that was looked at
    Flow* before            # in its queue
    Flow* behind
    int64_t due_ns          # on the wheel: when a timer looks at it, not later than it has to
    Flow** waiting_at       # ... what points to it there; NULL: it is not on the wheel
    Flow* waiting_behind
    Half[2] half            # half[0]: sent by the lower endpoint of the key
    Pending* pending        # owned: a ring of requests without a final response
    uint32_t pending_first
    uint32_t pending_count
    uint32_t pending_capacity

cdef enum:
    WHEEL = 1024            # a power of two
    WHEEL_SHIFT = 26        # one of its slots is 2**26 ns, 67 ms

    GROUPS = 6              # by memory: below 4 KiB, 32 KiB, 256 KiB, 2 MiB, 16 MiB, and more
    CLOSING = 2 * GROUPS    # the queue of flows that have ended by themselves, oldest first
    QUEUES

cdef struct Queue:          # a doubly linked list of flows, least recently active first, nearly: see `requeue`
    Flow* head
    Flow* tail
    uint64_t weight         # of all of them

cdef uint64_t flow_hash(const Packet* packet) noexcept nogil

cdef class FlowTable:
    cdef Flow** slots       # owned: open addressing, linear probing, capacity a power of two
    cdef uint64_t capacity
    cdef readonly uint64_t count
    cdef Queue[13] queues   # QUEUES: each group's that are not proven, each group's that are, CLOSING
    cdef Pool pool          # for the stores of all flows
    cdef Secret secret      # key of `place`
    cdef Flow* wheel[1024]  # WHEEL lists of flows that wait, by `due_ns`; what is due a turn later is put back
    cdef int64_t turned     # number of the slot that was looked at last
    cdef uint64_t place_of(self, const Packet* packet) noexcept nogil
    cdef void aim(self, Packet* packet) noexcept nogil
    cdef void fetch(self, const Packet* packet) noexcept nogil
    cdef Flow* find(self, const Packet* packet) noexcept nogil
    cdef void place(self, Flow* flow) noexcept nogil
    cdef bint grow(self) noexcept nogil
    cdef Flow* add(self, const Packet* packet) noexcept nogil
    cdef void remove(self, Flow* flow) noexcept nogil
    cdef void enqueue(self, Flow* flow, uint8_t number) noexcept nogil
    cdef void dequeue(self, Flow* flow) noexcept nogil
    cdef void weigh(self, Flow* flow) noexcept nogil
    cdef Queue* heaviest(self) noexcept nogil
    cdef void requeue(self, Flow* flow) noexcept nogil
    cdef void set_closing(self, Flow* flow) noexcept nogil
    cdef void set_waiting(self, Flow* flow, int64_t due_ns) noexcept nogil
    cdef void clear_waiting(self, Flow* flow) noexcept nogil

cdef uint64_t identity(const uint8_t* client, uint16_t client_port, const uint8_t* server, uint16_t server_port,
                       uint8_t ipv6, uint64_t realm, uint32_t ack, uint32_t ordinal) noexcept nogil


cdef inline int64_t widened(const Half* half, uint32_t seq) noexcept nogil:
    """Return the offset of a sequence number: the one nearest to the next byte due (RFC 9293 3.4)."""
    return half.next + <int32_t>(seq - (half.base + <uint32_t>half.next))


cdef inline uint64_t flow_bytes(const Flow* flow) noexcept nogil:
    """Return what a flow takes of memory, but for what its halves hold."""
    return sizeof(Flow) + flow.pending_capacity * sizeof(Pending)


cdef inline uint64_t all_bytes(const Flow* flow) noexcept nogil:
    """Return what a flow takes of memory."""
    return (flow_bytes(flow) + flow.half[0].stored + flow.half[0].held_capacity
            + flow.half[1].stored + flow.half[1].held_capacity)


cdef inline bint arrived(const Half* half) noexcept nogil:
    """Tell whether a whole message has come of a half, and its receiver has acknowledged some of what it sent."""
    return half.whole and half.acked > 0


cdef inline bint awaits(const Half* half) noexcept nogil:
    """Tell whether a half waits for what the other direction says."""
    return half.phase == AWAITING_PEER or half.phase == AWAITING_SWITCH
