"""How much is in a ring, ever: what its producer leaves to its successor, should it be killed.

In: positions, and how many frames or records lie before them.  Out: the same, for whoever comes next.  Invariant: after
`recover` the amount is exact, wherever the process died, if each record was noted before the next one was begun.

Each note is made beside the one that holds, and put in its place by one store.  What was published and not noted is one
record at most; nobody has written over it, so it is counted where it lies, read or not.
"""

from libc.stdint cimport uint64_t

from capture.counters cimport Counters
from capture.records cimport KIND_FRAMES, KIND_MESSAGE, BatchHeader
from capture.ring cimport HEADER_BYTES, Consumer, RecordHeader, Ring, ring_store


MARK_COUNTERS = ("now", "position_0", "amount_0", "position_1", "amount_1")
"""A page of a mark: which pair holds, and the pairs."""


cdef class Mark:
    """One ring's; the page travels to a spawned child, and a mark is made of it there."""

    def __cinit__(self, Counters page=None):
        self.page = Counters(MARK_COUNTERS) if page is None else page
        if self.page.names[:len(MARK_COUNTERS)] != MARK_COUNTERS:
            raise ValueError("mark: the page is not one of a mark")
        self.at = self.page.at

    cdef void write(self, uint64_t position, uint64_t amount) noexcept nogil:
        cdef uint64_t other = 1 - (self.at[0] & 1)
        self.at[1 + 2 * other] = position
        self.at[2 + 2 * other] = amount
        ring_store(&self.at[0], other)

    @property
    def amount(self):
        """What was noted last."""
        return self.at[2 + 2 * (self.at[0] & 1)]

    def note(self, uint64_t position, uint64_t amount):
        """Note that so many frames, or records with messages, lie before a position of the ring."""
        self.write(position, amount)

    def recover(self, Ring ring not None):
        """Note what a process that was killed had published and not noted, and return how much there is in all."""
        cdef Consumer consumer = Consumer(ring)
        cdef uint64_t now = self.at[0] & 1
        cdef uint64_t position = self.at[1 + 2 * now]
        cdef uint64_t amount = self.at[2 + 2 * now]
        cdef uint64_t head = consumer.published()
        cdef const RecordHeader* record
        while True:
            record = consumer.next_record(&position, head)
            if record == NULL:
                break
            if record.kind == KIND_FRAMES:
                amount += (<const BatchHeader*>(<const char*>record + HEADER_BYTES)).frames
            elif record.kind == KIND_MESSAGE:
                amount += 1
        self.write(position, amount)
        return amount
