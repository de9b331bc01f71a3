"""C face of IP reassembly: fragments in, whole datagrams out."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from assemble.cursor cimport Cursor
from assemble.siphash cimport Secret
from assemble.tally cimport Tally


cdef enum:
    UNIT = 8                   # fragments begin at multiples of this (RFC 791 3.2, RFC 8200 4.5)
    MOST_BYTES = 65535         # no datagram is longer
    COVER_WORDS = 128          # 8192 units, a bit each

cdef struct Fragment:          # one IP fragment; `data` is borrowed from the frame
    uint8_t[16] src            # IPv4: the first 4 bytes, the rest 0
    uint8_t[16] dst
    uint64_t realm             # fragments of different realms (VLAN, tunnel) never meet
    uint32_t ident
    uint8_t protocol           # IPv6: the fragment header's next header
    uint8_t ipv6
    uint32_t offset            # bytes
    uint8_t more               # it is not the last
    const uint8_t* data
    size_t size                # bytes present
    size_t cut                 # bytes on the wire but not in the capture (snap length)
    int64_t now_ns             # packet time, as timers have it

cdef enum State:
    JOINING                    # pieces are missing
    WIDE                       # ... of one that takes much memory
    LENT                       # whole: its bytes are borrowed until the next frame
    JOINED                     # whole a moment ago: kept to know a repetition by

cdef struct Datagram:
    uint64_t[6] key
    Datagram* chain            # next in its bucket
    Datagram* before           # in the list of its state, oldest first
    Datagram* behind
    int64_t since_ns           # packet time of its first piece, or of its being whole
    uint8_t state              # State
    uint8_t protocol           # of the piece at offset 0
    uint8_t ended              # the last piece has been seen: `reach` is the length
    uint32_t reach             # the highest end of any piece
    uint32_t length            # LENT, JOINED: of the whole
    uint32_t kept              # ... of that, up to the first byte that the capture has cut
    uint32_t known             # offset of the first byte that the capture has cut
    uint32_t units             # bits set in `cover`
    uint64_t frames            # held: counted as fragments_held
    uint64_t[128] cover        # which units are there
    uint8_t* data              # owned
    uint32_t capacity

cdef struct Row:
    Datagram* head
    Datagram* tail

cdef class Fragments:
    cdef uint64_t* tally       # borrowed: the assembler's counters, set by its owner before the first fragment
    cdef uint64_t memory
    cdef uint64_t bytes        # that the datagrams take
    cdef uint64_t count
    cdef int64_t timeout_ns
    cdef int64_t now_ns
    cdef Datagram** buckets    # owned
    cdef Secret secret         # key of the hash that chooses one
    cdef Row[4] rows           # by State
    cdef uint64_t wide         # of the bytes, those of WIDE datagrams
    cdef bint take(self, const Fragment* piece, Cursor* whole, uint8_t* protocol, size_t* cut) noexcept nogil
    cdef void begin_frame(self) noexcept nogil
    cdef void tick(self, int64_t now_ns) noexcept nogil
    cdef void finish(self) noexcept nogil
    cdef bint put(self, const Fragment* piece, uint32_t end, Datagram** out) noexcept nogil
    cdef Datagram** bucket(self, const uint64_t* key) noexcept nogil
    cdef Datagram* find(self, const Fragment* piece) noexcept nogil
    cdef Datagram* add(self, const Fragment* piece) noexcept nogil
    cdef bint room(self, uint64_t more, const Datagram* keep) noexcept nogil
    cdef Datagram* next_to_go(self, const Datagram* keep) noexcept nogil
    cdef bint reach_to(self, Datagram* datagram, uint32_t end) noexcept nogil
    cdef void repeat(self, Datagram* datagram, const Fragment* piece, uint32_t end) noexcept nogil
    cdef void enter(self, Datagram* datagram, State state) noexcept nogil
    cdef void link(self, Datagram* datagram, State state) noexcept nogil
    cdef void unlink(self, Datagram* datagram) noexcept nogil
    cdef void give_up(self, Datagram* datagram) noexcept nogil
    cdef void put_down(self, Tally place) noexcept nogil
