"""To which messages an expression applies (docs/filters.md), where there is no ring: for rules.

In: messages, each of them, in their order.  Out: verdicts.  Invariant: they are those of an output's sieve.
"""

from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport uint8_t

from assemble.message cimport Message
from assemble.records cimport MessageHeader
from emit.match cimport Matcher
from emit.sieve cimport WANTED, Sieve
from emit.verdicts cimport Verdicts
from emit.walk cimport Item


cdef class Judge:
    """An expression, and what it has said of requests."""

    cdef Sieve sieve

    def __cinit__(self, Matcher matcher not None, Verdicts verdicts not None):
        self.sieve = Sieve(None, matcher, verdicts)

    def wants(self, Message message not None):
        """Tell whether it applies; each message must be asked about, so that responses know of their requests."""
        cdef MessageHeader header = message.laid_out()
        cdef Item item
        item.header = &header
        item.payload = item.line = <const uint8_t*>PyBytes_AS_STRING(message.payload)
        item.size = item.line_size = header.total
        item.start = 0
        return self.sieve.judge(&item) == WANTED
