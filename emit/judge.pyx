"""To which messages a rule applies, by its `where` (docs/filters.md).

In: messages, each of them, in their order.  Out: verdicts.  Invariant: responses have that of their requests as in the
sieve of an output, and a message that is asked about again gets the same.
"""

from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport uint8_t, uint64_t

from assemble.message cimport Message
from assemble.records cimport REQUEST, MessageHeader
from emit.match cimport Matcher
from emit.verdicts cimport Verdicts
from emit.walk cimport Item


cdef class Judge:
    """An expression, and what it has said of requests."""

    cdef Matcher matcher
    cdef Verdicts verdicts

    def __cinit__(self, Matcher matcher not None, Verdicts verdicts not None):
        self.matcher = matcher
        self.verdicts = verdicts

    def wants(self, Message message not None):
        """Tell whether the rule applies; each message must be asked about, so that responses know of their requests."""
        cdef MessageHeader header = message.laid_out()
        cdef Item item
        cdef uint64_t known = 0
        cdef bint asked = header.kind == REQUEST
        item.header = &header
        item.payload = item.line = <const uint8_t*>PyBytes_AS_STRING(message.payload)
        item.size = item.line_size = header.total
        item.start = 0
        if not self.matcher.remembers:
            return bool(self.matcher.judge(&item, 0, False))
        if asked:
            known = (self.matcher.about_request(&item) if self.matcher.by_message
                     else <uint64_t>self.matcher.judge(&item, 0, False))
            self.verdicts.remember(header.id, known)
        elif not self.verdicts.recall(header.id, &known):
            return bool(self.matcher.judge(&item, 0, True))
        return bool(self.matcher.judge(&item, known, True) if self.matcher.by_message else known)
