"""Looking for the next message start in a half: joined late, behind a hole, or behind what no message is.

In: bytes in which the beginning of a message is not known.  Out: a half that stands at one.  Invariant: what may be the
beginning of a start line is held until the line is whole; all other bytes are counted under the reason and let go.
"""

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memchr, memmove

from assemble.collect cimport Origin
from assemble.flows cimport AT_START, LOOKING, Flow, Half
from assemble.opening cimport Opening, likely_kind
from assemble.protocols cimport NAME_MORE, name_protocol
from assemble.starts cimport any_space, find_start, possible_start
from assemble.tally cimport Tally, count


cdef enum:
    LF = 10
    SP = 32
    PATIENT_BYTES = 512     # a start line longer than this is not looked at again with each segment


cdef void note_later(Half* half, size_t at, Origin origin) noexcept nogil:
    """Note what came with the bytes from `at` on: an id is made of the number that a request's first byte came with.

    Of the segments held that is the first one but where the number changes; not behind a method that may be whole.
    """
    cdef bint same = origin.ack == half.later_ack and origin.has_ack == half.later_has_ack
    cdef bint newer = half.later_ack != half.first_ack or half.later_has_ack != half.has_ack
    if half.later_at and (same or newer and memchr(half.held + half.later_at, SP, at - half.later_at) != NULL):
        return
    half.later_at = at
    half.later_ns = origin.ts_ns
    half.later_ack = origin.ack
    half.later_has_ack = origin.has_ack


cdef class Searching(Opening):
    """The search, over any cuts."""

    cdef size_t look(self, Flow* flow, int side, const uint8_t* p, size_t n, Origin origin) noexcept nogil:
        """Look for a message start; what may be the beginning of one is held until its start line is whole."""
        cdef Half* half = &flow.half[side]
        cdef size_t before = half.held_size
        cdef size_t start = 0
        if before == 0:
            return self.look_here(half, p, n, origin)
        if not self.hold(half, p, n):
            count(self.tally, half.skip, n)
            return n
        if before > PATIENT_BYTES and not any_space(p, n):    # it goes on in the middle of a target
            half.scanned = half.held_size
            return n
        if find_start(half.held, half.held_size, half.scanned, likely_kind(half), half.at_line, &start):
            count(self.tally, half.skip, start)
            # It may have begun in an earlier segment: that part is the beginning of its head.
            self.drop_older(half, start)
            half.later_at = 0
            if start >= before:
                self.let_go(half)
                half.phase = AT_START
                return start - before
            memmove(half.held, half.held + start, before - start)
            half.first_seq = origin.seq - <uint32_t>(before - start)
            self.reopen(half, before - start)
            return 0
        start = possible_start(half.held, half.held_size)
        if start:
            self.skip_looking(half, half.held, start)
            self.drop_older(half, start)
            half.held_size -= start
            memmove(half.held, half.held + start, half.held_size)
        if start >= before:
            self.begin(half, origin)
            half.later_at = 0
        else:
            note_later(half, before - start, origin)
        half.scanned = half.held_size
        return n

    cdef void drop_older(self, Half* half, size_t start) noexcept nogil:
        """Let what is held begin `start` bytes later: perhaps in a segment that came later."""
        if half.later_at > start:
            half.later_at -= start
        elif half.later_at:
            half.first_ns = half.last_ns = half.later_ns
            half.first_ack = half.later_ack
            half.has_ack = half.later_has_ack
            half.later_at = 0

    cdef size_t look_here(self, Half* half, const uint8_t* p, size_t n, Origin origin) noexcept nogil:
        """Look for a message start with nothing held: only what may be the beginning of one is copied."""
        cdef size_t start = 0
        if find_start(p, n, 0, likely_kind(half), half.at_line, &start):
            half.phase = AT_START
            count(self.tally, half.skip, start)
            return start
        start = possible_start(p, n)
        self.begin(half, origin)
        half.later_at = 0
        if start < n and not self.hold(half, p + start, n - start):
            start = n
        half.scanned = half.held_size
        self.skip_looking(half, p, start)
        return n

    cdef void skip_looking(self, Half* half, const uint8_t* p, size_t n) noexcept nogil:
        """Count bytes in which no message starts; who was joined late may speak another protocol, which has a name."""
        cdef Tally name
        if n == 0:
            return
        if half.at_line and not half.begun and half.skip == Tally.skipped_no_start:
            name = name_protocol(p, n, 0)
            if <int>name != NAME_MORE and name != Tally.skipped_not_http:
                half.skip = name
        half.at_line = p[n - 1] == LF
        count(self.tally, half.skip, n)

    cdef void look_for_start(self, Half* half, Tally reason) noexcept nogil:
        """Drop what is held, which is counted already, and look for the next message start."""
        self.let_go(half)
        half.synced = 0
        half.phase = LOOKING
        half.skip = reason
        half.scanned = 0
        half.later_at = 0
        half.at_line = 1
