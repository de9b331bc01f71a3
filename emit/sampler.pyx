"""Which messages are in a sample: a hash of what it is chosen by, within a range (docs/filters.md).

In: messages, or their first parts.  Out: verdicts.  Invariant: they depend on the message and the setting alone, so
that they are the same in every worker, run and machine; what is in a sample is in every larger one of its kind that
begins at the same place, and in none that begins where it ends.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy

from assemble.records cimport REQUEST
from emit.entry cimport hash_flow, mix
from emit.fields cimport Text, cookie_of, header_of, nothing, pair, query_of
from emit.walk cimport Item


cdef enum By:
    EXCHANGE
    FLOW
    CLIENT
    HEADER
    PARAM
    COOKIE

BY = {"exchange": EXCHANGE, "flow": FLOW, "client": CLIENT, "header": HEADER, "param": PARAM, "cookie": COOKIE}

cdef uint64_t KEY = 0xa0761d6478bd642fu     # no other hash of ours is like these: workers and lanes are chosen by some


cdef inline uint64_t hash_text(Text text) noexcept nogil:
    """Hash bytes, eight at a time."""
    cdef uint64_t state = KEY ^ text.size
    cdef uint64_t word
    while text.size >= 8:
        memcpy(&word, text.at, 8)
        state = mix(state ^ word) + KEY
        text.at += 8
        text.size -= 8
    word = 0
    memcpy(&word, text.at, text.size)
    return mix(mix(state ^ word) + KEY)


cdef object edge(double percent):
    """Return the hash at which so many percent of all hashes are past; sums of percentages are rounded alike."""
    return int(round(percent, 9) / 100 * 2**64)


cdef class Sampler:
    """One output's sample: so many percent, of those from `begin` percent on."""

    def __cinit__(self, double percent, by not None, double begin=0):
        self.by = BY[by[0]]
        self.kept = by[1].encode()
        self.name = Text(<const uint8_t*>PyBytes_AS_STRING(self.kept), PyBytes_GET_SIZE(self.kept))
        self.of_request = self.by >= HEADER
        self.first = min(edge(begin), 2**64 - 1)
        self.count = min(max(1, edge(begin + percent) - edge(begin)), 2**64 - 1)

    cdef bint leaves_out(self, const Item* item) noexcept nogil:
        """Tell whether a message is not in the sample, by what there is of it."""
        cdef Text value = nothing()
        if self.by == EXCHANGE:
            value = Text(<const uint8_t*>&item.header.id, 8)
        elif self.by == CLIENT and item.header.kind == REQUEST:
            value = Text(&item.header.src[0], 16)
        elif self.by == CLIENT:
            value = Text(&item.header.dst[0], 16)
        elif item.header.kind != REQUEST:
            value = nothing()
        elif self.by == HEADER:
            value = header_of(item, self.name.at, self.name.size)
        elif self.by == PARAM:
            value = pair(query_of(item), c'&', self.name.at, self.name.size)
        elif self.by == COOKIE:
            value = cookie_of(item, self.name.at, self.name.size)
        if value.size == 0:      # by its connection: as asked for, or as there is nothing else to tell clients by
            return mix(hash_flow(item.header) ^ KEY) - self.first >= self.count
        return hash_text(value) - self.first >= self.count
