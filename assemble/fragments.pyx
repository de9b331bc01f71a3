"""IP datagrams from their fragments (RFC 791 3.2, RFC 8200 4.5), in whatever order they were captured.

In: fragments with their packet time.  Out: whole datagrams.  Invariant: the datagrams held, their number and the time
they are held for are bounded, and a fragment costs what its bytes cost, wherever it belongs.

- The bytes first seen win, for IPv6 too: RFC 5722 has a receiver drop what overlaps, but a tap that did so could be
  blinded by one forged fragment; what the receiver dropped, TCP sends again.
- An ident that is used again while its last datagram is not whole: a piece at offset 0 whose first 8 bytes differ (they
  name the transport's connection and place, which is why ICMP quotes as much, RFC 792) begins another datagram.
- A datagram that is whole is kept for a moment, as each of its pieces may be captured twice.  Pieces that say the same
  again are a repetition; the first that does not begins a new datagram, of which those are the pieces so far.
- Held for 30 s, as Linux does: what the receiver has given up was sent again, and longer holds mix idents (RFC 4963).

Counts: the assembler counts a frame whose datagram is not whole under `fragments_held`, after `take`.  So `take` counts
a fragment that is not held in its place, and one less as held; and those held when they leave: as `frames_joined`, all
but the one that completes, which counts as what its datagram holds, or as `refused_ip_fragment`.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcmp, memcpy, memset

from assemble.cursor cimport Cursor
from assemble.siphash cimport new_secret, siphash
from assemble.tally cimport Tally, count
from capture.counters cimport Counters

from assemble.tally import ASSEMBLE_COUNTERS


cdef enum:
    BUCKETS = 8192              # a power of two
    DATAGRAMS_MOST = 4096
    BYTES_FIRST = 2048          # a piece of Ethernet size
    WIDE_LEAST = 16384          # what networks cut is smaller; a single piece can make 65,536 bytes of room be needed
    NAMING = 8                  # bytes at the begin of a datagram that tell it from the others of its connection
    REPEAT_NS = 100_000_000     # a second capture of the same packet comes within this

MEMORY = 16 << 20
TIMEOUT_NS = 30_000_000_000


cdef inline void make_key(const Fragment* piece, uint64_t* key) noexcept nogil:
    """Fill what fragments of one datagram have in common; for IPv6 the protocol is not part of it (RFC 8200 4.5)."""
    memcpy(key, piece.src, 16)
    memcpy(key + 2, piece.dst, 16)
    key[4] = piece.realm
    key[5] = (<uint64_t>piece.ipv6 << 40) | piece.ident
    if not piece.ipv6:
        key[5] |= <uint64_t>piece.protocol << 32


cdef inline bint is_covered(const Datagram* datagram, uint32_t unit) noexcept nogil:
    return datagram.cover[unit >> 6] >> (unit & 63) & 1


cdef inline bint is_whole(const Datagram* datagram) noexcept nogil:
    return datagram.ended and datagram.units == (datagram.reach + UNIT - 1) // UNIT


cdef inline bint names_another(const Datagram* datagram, const Fragment* piece) noexcept nogil:
    """Tell whether a piece begins another datagram than the one held under its ident."""
    return (piece.offset == 0 and piece.size >= NAMING and datagram.known >= NAMING and is_covered(datagram, 0)
            and memcmp(datagram.data, piece.data, NAMING) != 0)


cdef inline bint contradicts(const Datagram* datagram, const Fragment* piece, uint32_t end) noexcept nogil:
    """Tell whether a piece and those held cannot agree on where the datagram ends."""
    if datagram.ended:
        return end > datagram.reach or not piece.more and end < datagram.reach or piece.more and end == datagram.reach
    return not piece.more and end < datagram.reach


cdef inline bint agrees(const Datagram* datagram, const Fragment* piece, uint32_t end) noexcept nogil:
    """Tell whether a piece says what is known of a whole datagram."""
    cdef size_t known = datagram.kept - piece.offset if datagram.kept > piece.offset else 0
    return (end <= datagram.length and (end == datagram.length) == (not piece.more)
            and memcmp(datagram.data + piece.offset, piece.data, piece.size if piece.size < known else known) == 0)


cdef void lay(Datagram* datagram, const Fragment* piece, uint32_t end) noexcept nogil:
    """Note where a piece lies, and take the bytes that are new."""
    cdef uint32_t at = piece.offset
    cdef uint32_t stop = piece.offset + <uint32_t>piece.size
    cdef uint32_t unit
    while at < end:
        unit = at // UNIT
        if not is_covered(datagram, unit):
            datagram.cover[unit >> 6] |= <uint64_t>1 << (unit & 63)
            datagram.units += 1
            if stop < at + UNIT and stop < end and datagram.known > (stop if stop > at else at):
                datagram.known = stop if stop > at else at
            if at < stop:
                memcpy(datagram.data + at, piece.data + (at - piece.offset), stop - at if stop - at < UNIT else UNIT)
        at += UNIT
    if piece.offset == 0:
        datagram.protocol = piece.protocol
    if end > datagram.reach:
        datagram.reach = end
    if not piece.more:
        datagram.ended = 1


cdef void bare(Datagram* datagram) noexcept nogil:
    """Forget which pieces are there."""
    memset(datagram.cover, 0, sizeof(datagram.cover))
    datagram.units = 0
    datagram.reach = 0
    datagram.ended = 0
    datagram.known = MOST_BYTES + 1


cdef inline Datagram* older_but(const Row* row, const Datagram* keep) noexcept nogil:
    """Return the oldest datagram of a row that is not `keep`; NULL if there is none."""
    return row.head if row.head == NULL or row.head != keep else row.head.behind


cdef class Fragments:
    """The datagrams of which pieces are missing, and those that were whole a moment ago."""

    def __cinit__(self, uint64_t memory=MEMORY, int64_t timeout_ns=TIMEOUT_NS):
        self.secret = new_secret()
        self.memory = memory
        self.timeout_ns = timeout_ns
        self.buckets = <Datagram**>calloc(BUCKETS, sizeof(Datagram*))
        if self.buckets == NULL:
            raise MemoryError

    def __dealloc__(self):
        cdef int state
        for state in range(4):
            while self.rows[state].head != NULL:
                self.rows[state].head.frames = 0     # nobody reads the counters any more
                self.give_up(self.rows[state].head)
        free(self.buckets)

    cdef bint take(self, const Fragment* piece, Cursor* whole, uint8_t* protocol, size_t* cut) noexcept nogil:
        """Take one fragment; True if its datagram is whole with it.

        `whole` is then its payload up to the first byte that was not captured, borrowed until `begin_frame`, `cut` the
        number of bytes behind that, and `protocol` that of the piece at offset 0.
        """
        cdef Datagram* datagram = NULL
        if piece.offset == 0 and not piece.more:     # all of it; what is held has no part in it (RFC 6946)
            whole.at = piece.data
            whole.left = piece.size
            protocol[0] = piece.protocol
            cut[0] = piece.cut
            return True
        if piece.now_ns > self.now_ns:
            self.now_ns = piece.now_ns
        if piece.size > MOST_BYTES or piece.cut > MOST_BYTES or piece.offset + piece.size + piece.cut > MOST_BYTES:
            self.put_down(Tally.refused_ip_fragment)
            return False
        if not self.put(piece, piece.offset + <uint32_t>(piece.size + piece.cut), &datagram):
            return False
        count(self.tally, Tally.fragments_held, 0 - datagram.frames)
        count(self.tally, Tally.frames_joined, datagram.frames)
        datagram.frames = 0
        whole.at = datagram.data
        whole.left = datagram.reach if datagram.reach < datagram.known else datagram.known
        protocol[0] = datagram.protocol
        cut[0] = datagram.reach - whole.left
        datagram.length = datagram.reach
        datagram.kept = <uint32_t>whole.left
        bare(datagram)
        self.enter(datagram, LENT)
        return True

    cdef bint put(self, const Fragment* piece, uint32_t end, Datagram** out) noexcept nogil:
        """Put a fragment where it belongs, and count it if it is not held; True if its datagram, in `out`, is whole."""
        cdef Datagram* datagram
        if end == piece.offset or piece.offset % UNIT or piece.more and end % UNIT:
            self.put_down(Tally.refused_ip_fragment)
            return False
        datagram = self.find(piece)
        if datagram != NULL and datagram.state == JOINED:
            if agrees(datagram, piece, end):
                self.repeat(datagram, piece, end)
                return False
            self.enter(datagram, WIDE if datagram.capacity >= WIDE_LEAST else JOINING)
        if datagram != NULL and datagram.state <= WIDE and names_another(datagram, piece):
            self.give_up(datagram)
            datagram = NULL
        if datagram == NULL:
            datagram = self.add(piece)
        # LENT: a datagram within itself, which would be read while it is written.
        if datagram == NULL or datagram.state == LENT or contradicts(datagram, piece, end) or (
                not self.reach_to(datagram, end)):
            self.put_down(Tally.refused_ip_fragment)
            return False
        lay(datagram, piece, end)
        out[0] = datagram
        if is_whole(datagram):
            return True
        datagram.frames += 1
        return False

    cdef Datagram** bucket(self, const uint64_t* key) noexcept nogil:
        """Return where the chain of a key's bucket begins."""
        return &self.buckets[siphash(&self.secret, key, 6) & (BUCKETS - 1)]

    cdef Datagram* find(self, const Fragment* piece) noexcept nogil:
        """Return the datagram that a piece may belong to, or NULL."""
        cdef uint64_t[6] key
        cdef Datagram* datagram
        make_key(piece, key)
        datagram = self.bucket(key)[0]
        while datagram != NULL and memcmp(datagram.key, key, sizeof(key)) != 0:
            datagram = datagram.chain
        if datagram != NULL and datagram.state != LENT and (
                self.now_ns - datagram.since_ns > (REPEAT_NS if datagram.state == JOINED else self.timeout_ns)):
            self.give_up(datagram)
            return NULL
        return datagram

    cdef Datagram* add(self, const Fragment* piece) noexcept nogil:
        """Make the datagram of a piece; NULL if there is no room for it."""
        cdef Datagram* datagram
        cdef Datagram** bucket
        if not self.room(sizeof(Datagram), NULL):
            return NULL
        datagram = <Datagram*>calloc(1, sizeof(Datagram))
        if datagram == NULL:
            return NULL
        make_key(piece, datagram.key)
        bucket = self.bucket(datagram.key)
        datagram.chain = bucket[0]
        bucket[0] = datagram
        bare(datagram)
        self.bytes += sizeof(Datagram)
        self.count += 1
        self.link(datagram, JOINING)
        return datagram

    cdef bint room(self, uint64_t more, const Datagram* keep) noexcept nogil:
        """Make room for so many bytes, and, without `keep`, for one more; False if all but `keep` are not enough."""
        cdef Datagram* datagram
        while self.bytes + more > self.memory or keep == NULL and self.count >= DATAGRAMS_MOST:
            datagram = self.next_to_go(keep)
            if datagram == NULL:
                return False
            self.give_up(datagram)
        return True

    cdef Datagram* next_to_go(self, const Datagram* keep) noexcept nogil:
        """Return what is whole already, or else the oldest: a wide one while these take half of the memory."""
        cdef int state = WIDE if self.wide > self.memory // 2 else JOINING
        cdef Datagram* oldest = self.rows[<int>JOINED].head
        if oldest == NULL:
            oldest = older_but(&self.rows[state], keep)
        if oldest == NULL:
            oldest = older_but(&self.rows[<int>JOINING + <int>WIDE - state], keep)
        return oldest

    cdef bint reach_to(self, Datagram* datagram, uint32_t end) noexcept nogil:
        """Have place for a datagram's bytes up to `end`."""
        cdef uint32_t capacity = datagram.capacity if datagram.capacity else BYTES_FIRST
        cdef int64_t since_ns
        cdef uint8_t* data
        while capacity < end:
            capacity *= 2
        if capacity == datagram.capacity:
            return True
        if not self.room(capacity - datagram.capacity, datagram):
            return False
        data = <uint8_t*>realloc(datagram.data, capacity)
        if data == NULL:
            return False
        self.bytes += capacity - datagram.capacity
        if datagram.state == WIDE:
            self.wide += capacity - datagram.capacity
        datagram.data = data
        datagram.capacity = capacity
        if datagram.state == JOINING and capacity >= WIDE_LEAST:
            since_ns = datagram.since_ns
            self.enter(datagram, WIDE)
            datagram.since_ns = since_ns
        return True

    cdef void repeat(self, Datagram* datagram, const Fragment* piece, uint32_t end) noexcept nogil:
        """Note one more capture of a piece of a datagram that is whole."""
        self.put_down(Tally.frames_joined)
        lay(datagram, piece, end)
        if is_whole(datagram):
            bare(datagram)

    cdef void begin_frame(self) noexcept nogil:
        """Take back what was lent during the last frame."""
        while self.rows[<int>LENT].head != NULL:
            self.enter(self.rows[<int>LENT].head, JOINED)

    cdef void tick(self, int64_t now_ns) noexcept nogil:
        """Give up what has been held for too long, by packet time."""
        cdef int state
        if now_ns > self.now_ns:
            self.now_ns = now_ns
        while self.rows[<int>JOINED].head != NULL and (
                self.now_ns - self.rows[<int>JOINED].head.since_ns > REPEAT_NS):
            self.give_up(self.rows[<int>JOINED].head)
        for state in range(JOINING, WIDE + 1):
            while self.rows[state].head != NULL and self.now_ns - self.rows[state].head.since_ns > self.timeout_ns:
                self.give_up(self.rows[state].head)

    cdef void finish(self) noexcept nogil:
        """Give up everything: nothing more will come."""
        cdef int state
        for state in range(4):
            while self.rows[state].head != NULL:
                self.give_up(self.rows[state].head)

    cdef void enter(self, Datagram* datagram, State state) noexcept nogil:
        """Move a datagram from one state to another."""
        self.unlink(datagram)
        self.link(datagram, state)

    cdef void link(self, Datagram* datagram, State state) noexcept nogil:
        """Put a datagram at the end of a state's list."""
        cdef Row* row = &self.rows[<int>state]
        if state == WIDE:
            self.wide += datagram.capacity
        datagram.state = state
        datagram.since_ns = self.now_ns
        datagram.before = row.tail
        datagram.behind = NULL
        if row.tail != NULL:
            row.tail.behind = datagram
        else:
            row.head = datagram
        row.tail = datagram

    cdef void unlink(self, Datagram* datagram) noexcept nogil:
        """Take a datagram off the list it is on."""
        cdef Row* row = &self.rows[datagram.state]
        if datagram.state == WIDE:
            self.wide -= datagram.capacity
        if datagram.before != NULL:
            datagram.before.behind = datagram.behind
        else:
            row.head = datagram.behind
        if datagram.behind != NULL:
            datagram.behind.before = datagram.before
        else:
            row.tail = datagram.before

    cdef void give_up(self, Datagram* datagram) noexcept nogil:
        """Forget a datagram; the fragments held for it are refused."""
        cdef Datagram** place = self.bucket(datagram.key)
        if datagram.frames:
            count(self.tally, Tally.fragments_held, 0 - datagram.frames)
            count(self.tally, Tally.refused_ip_fragment, datagram.frames)
        while place[0] != datagram:
            place = &place[0].chain
        place[0] = datagram.chain
        self.unlink(datagram)
        self.bytes -= sizeof(Datagram) + datagram.capacity
        self.count -= 1
        free(datagram.data)
        free(datagram)

    cdef void put_down(self, Tally place) noexcept nogil:
        """Count a fragment that is not held in its place; its caller will count it as held."""
        count(self.tally, place, 1)
        count(self.tally, Tally.fragments_held, 0 - <uint64_t>1)


def joined(pieces, uint64_t memory=MEMORY, int64_t timeout_ns=TIMEOUT_NS, bint finish=True):
    """Join fragments, for people and tests: a list of what each completes, and the counters they end in.

    A piece is (ts_ns, src, dst, ident, protocol, offset, more, data, cut); addresses are 4 or 16 bytes.  What it
    completes is (protocol, bytes, bytes cut behind them), else None.  Without `finish` the rest is still held.
    """
    cdef Counters page = Counters(ASSEMBLE_COUNTERS)
    cdef Fragments fragments = Fragments(memory, timeout_ns)
    cdef Fragment piece
    cdef Cursor whole
    cdef uint8_t protocol
    cdef size_t cut
    cdef bytes src, dst, data
    fragments.tally = page.at
    out = []
    for ts_ns, src, dst, ident, number, offset, more, data, missing in pieces:
        memset(&piece, 0, sizeof(Fragment))
        memcpy(piece.src, <const uint8_t*>src, len(src))
        memcpy(piece.dst, <const uint8_t*>dst, len(dst))
        piece.ipv6 = len(src) == 16
        piece.ident, piece.protocol, piece.offset, piece.more = ident, number, offset, more
        piece.data = data
        piece.size, piece.cut, piece.now_ns = len(data), missing, ts_ns
        fragments.begin_frame()
        fragments.tick(ts_ns)
        if fragments.take(&piece, &whole, &protocol, &cut):
            out.append((protocol, whole.at[:whole.left], cut))
        else:
            count(page.at, Tally.fragments_held, 1)
            out.append(None)
    if finish:
        fragments.finish()
    return out, {name: page.at[at] for at, name in enumerate(ASSEMBLE_COUNTERS)}
