"""Which messages of a ring an output wants: by its `where`, its `sample` and its `limit` (docs/filters.md).

In: records in the order of the ring.  Out: verdicts.  Invariant: a record that is looked at again gets the same
verdict, here and in the worker that goes on where this one was killed; a message that is not wanted counts once.

What is known of a request, in Verdicts: the bits of the matcher, and above them these:

bit 60   LEFT_OUT       it is not in the sample
bit 61   LET_THROUGH    it has taken a token from the limit
bit 62   HELD_BACK      it found none
bit 63   SEEN           it is the request that this is known of; else its response has taken a token, or found none
"""

from libc.stdint cimport uint64_t

from assemble.records cimport REQUEST, MessageHeader
from capture.ring cimport Consumer
from emit.bucket cimport Bucket
from emit.match cimport Matcher
from emit.sampler cimport Sampler
from emit.verdicts cimport Verdicts
from emit.walk cimport Item, ends_message, next_item

from emit.where import MOST_COMPARISONS

cdef uint64_t LEFT_OUT = <uint64_t>1 << 60
cdef uint64_t LET_THROUGH = <uint64_t>1 << 61
cdef uint64_t HELD_BACK = <uint64_t>1 << 62
cdef uint64_t SEEN = <uint64_t>1 << 63

if MOST_COMPARISONS > 60:
    raise ImportError("sieve: the comparisons of emit/where.py do not leave room for what is known besides them")


cdef inline uint64_t whole(const MessageHeader* header) noexcept nogil:
    """Return under which name the verdict on a message in parts is remembered, beside what is known of requests."""
    return header.id ^ (header.kind * 0xd1342543de82ef95u)


cdef class Sieve:
    """One output's filter; every record has to pass it, so that responses know of their requests."""

    def __cinit__(self, Consumer consumer, Matcher matcher, Verdicts verdicts not None,
                  Sampler sampler=None, Bucket bucket=None):
        self.consumer = consumer
        self.matcher = matcher
        self.sampler = sampler
        self.bucket = bucket
        self.verdicts = verdicts
        self.remembers = (matcher is not None and matcher.remembers or sampler is not None and sampler.of_request
                          or bucket is not None)

    cdef bint wants(self, const Item* item) noexcept nogil:
        """Tell whether a record is wanted; its caller passes it over at once if not."""
        cdef uint64_t fate
        if item.header.parts > 1 and item.header.part > 0:
            fate = WANTED                    # its beginning was not seen: for the output to count
            self.verdicts.recall(whole(item.header), &fate)
        else:
            fate = self.judge(item)
            if fate == LATER:                # it is being passed over: nothing waits for its turn any more
                fate = WANTED
            if item.header.parts > 1:
                self.verdicts.remember(whole(item.header), fate)
        if fate == WANTED:
            return True
        if ends_message(item.header):
            self.counts[fate] += 1
        return False

    cdef Fate judge(self, const Item* item) noexcept nogil:
        """Say what becomes of a message, by its first part."""
        cdef bint asked = item.header.kind == REQUEST
        cdef uint64_t known = 0
        cdef uint64_t before
        cdef Fate fate = WANTED
        if self.remembers and (not asked or self.bucket is not None):
            self.verdicts.recall(item.header.id, &known)
        before = known
        if asked:
            known = self.about(item) | (known & (LET_THROUGH | HELD_BACK))
        if not self.matches(item, known):
            fate = FILTERED
        elif self.sampler is not None and self.leaves_out(item, known):
            fate = SAMPLED
        elif self.bucket is not None:
            fate = self.limit(&known)
        if fate != LATER and self.remembers and (asked or known != before):
            self.verdicts.remember(item.header.id, known)
        return fate

    cdef uint64_t about(self, const Item* item) noexcept nogil:
        """Return what a response is to know of its request."""
        cdef uint64_t known = SEEN
        if self.matcher is not None:
            known |= (self.matcher.about_request(item) if self.matcher.by_message
                      else <uint64_t>self.matcher.judge(item, 0, False))
        if self.sampler is not None and self.sampler.of_request and self.sampler.leaves_out(item):
            known |= LEFT_OUT
        return known

    cdef bint matches(self, const Item* item, uint64_t known) noexcept nogil:
        """Apply the expression to a message."""
        if self.matcher is None:
            return True
        if self.matcher.by_message or not known & SEEN:
            return self.matcher.judge(item, known, True)
        return known & 1

    cdef bint leaves_out(self, const Item* item, uint64_t known) noexcept nogil:
        """Apply the sample to a message."""
        if self.sampler.of_request and known & SEEN:
            return (known & LEFT_OUT) != 0
        return self.sampler.leaves_out(item)

    cdef Fate limit(self, uint64_t* known) noexcept nogil:
        """Take a token for a message, unless its request or another look at it has."""
        if known[0] & LET_THROUGH:
            return WANTED
        if known[0] & HELD_BACK:
            return LIMITED
        if self.bucket.take():
            known[0] |= LET_THROUGH
            return WANTED
        if self.bucket.waits:
            return LATER
        known[0] |= HELD_BACK
        return LIMITED

    def count_messages(self, uint64_t start, uint64_t end):
        """Return (messages, payload bytes) of what is wanted in [start, end)."""
        cdef Item item
        cdef uint64_t messages = 0
        cdef uint64_t size = 0
        with nogil:
            while next_item(self.consumer, &start, end, &item):
                if self.wants(&item):
                    size += item.size
                    messages += ends_message(item.header)
        return messages, size

    def skip_messages(self, uint64_t cursor, uint64_t until, uint64_t head):
        """Pass over records like `skip_messages` of emit/walk.pyx, counting those that were wanted."""
        cdef Item item
        cdef uint64_t messages = 0
        cdef uint64_t following = cursor
        with nogil:
            while next_item(self.consumer, &following, head, &item):
                if item.start >= until and (item.header.parts <= 1 or item.header.part == 0):
                    following = item.start
                    break
                if self.wants(&item):
                    messages += ends_message(item.header)
        return following, messages

    def pace(self, uint64_t cursor, uint64_t head):
        """Return the position before `head` up to which the limit, if it waits, lets an output go on for now."""
        cdef Item item
        cdef uint64_t following = max(cursor, self.paced)
        with nogil:
            self.paced = head
            while next_item(self.consumer, &following, head, &item):
                if (item.header.parts <= 1 or item.header.part == 0) and self.judge(&item) == LATER:
                    self.paced = item.start
                    break
        return self.paced

    def take_outcomes(self):
        """Return how many messages were filtered, sampled out and limited since the last call."""
        outcomes = self.counts[0], self.counts[1], self.counts[2]
        self.counts[0] = self.counts[1] = self.counts[2] = 0
        return outcomes
