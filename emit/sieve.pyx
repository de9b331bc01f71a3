"""Which messages of a ring an output wants, by its `where` (docs/filters.md).

In: records in the order of the ring.  Out: verdicts.  Invariant: a record that is looked at again gets the same
verdict, here and in the worker that goes on where this one was killed; a message that is not wanted counts once.
"""

from libc.stdint cimport uint64_t

from assemble.records cimport REQUEST, MessageHeader
from capture.ring cimport Consumer
from emit.match cimport Matcher
from emit.verdicts cimport Verdicts
from emit.walk cimport Item, ends_message, next_item


cdef inline uint64_t whole(const MessageHeader* header) noexcept nogil:
    """Return under which name the verdict on a message in parts is remembered, beside what is known of requests."""
    return header.id ^ (header.kind * 0xd1342543de82ef95u)


cdef class Sieve:
    """One output's filter; every record has to pass it, so that responses know of their requests."""

    def __cinit__(self, Consumer consumer not None, Matcher matcher not None, Verdicts verdicts not None):
        self.consumer = consumer
        self.matcher = matcher
        self.verdicts = verdicts

    cdef bint wants(self, const Item* item) noexcept nogil:
        """Tell whether a record is wanted; its caller passes it over at once if not."""
        cdef bint wanted
        cdef uint64_t known
        if item.header.parts > 1 and item.header.part > 0:
            known = 1                        # its beginning was not seen: for the output to count
            self.verdicts.recall(whole(item.header), &known)
            wanted = known != 0
        else:
            wanted = self.judge(item)
            if item.header.parts > 1:
                self.verdicts.remember(whole(item.header), wanted)
        if not wanted and ends_message(item.header):
            self.filtered += 1
        return wanted

    cdef bint judge(self, const Item* item) noexcept nogil:
        """Apply the expression to a message, by its first part."""
        cdef uint64_t known = 0
        cdef bint asked = item.header.kind == REQUEST
        if not self.matcher.remembers:
            return self.matcher.judge(item, 0, False)
        if self.matcher.by_message:
            if asked:
                known = self.matcher.about_request(item)
                self.verdicts.remember(item.header.id, known)
            else:
                self.verdicts.recall(item.header.id, &known)
            return self.matcher.judge(item, known, True)
        if asked:
            known = self.matcher.judge(item, 0, False)
            self.verdicts.remember(item.header.id, known)
        elif not self.verdicts.recall(item.header.id, &known):
            return self.matcher.judge(item, 0, True)
        return known != 0

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

    def take_filtered(self):
        """Return how many messages that were not wanted have been passed over since the last call."""
        cdef uint64_t filtered = self.filtered
        self.filtered = 0
        return filtered
