"""What was found out about the latest requests of one output of one worker, for their responses.

In: ids, and 64 bits each.  Out: the bits.  Invariant: the latest REMEMBERED requests are known, also to the worker
that goes on where another was killed: the page is an anonymous memory file, handed over by descriptor.

A memory has one process that writes it.  Another may follow it: it takes over what is new there before it looks up.

The page, all fields 8 bytes, in native byte order:

at 0    count       requests ever remembered; number n is in slot n % REMEMBERED
at 8    followed    requests taken over from the memory that this one follows
at 16   reserved
at 64   slots       REMEMBERED of them, 16 bytes each: id, known
"""

from multiprocessing import reduction

from libc.stdint cimport uint32_t, uint64_t

from capture.memory cimport Memory
from capture.ring cimport ring_load, ring_store
from emit.index cimport enter, forget, free_index, look, make_index

from capture.memory import make_memory


globals()["REMEMBERED"] = REMEMBERED


cdef class Verdicts:
    """The memory itself, made by `Verdicts.create`; travels to a spawned child by descriptor."""

    def __cinit__(self, int memory_fd):
        cdef size_t slot
        self.memory = Memory("verdicts", memory_fd, sizeof(Page), "a memory of verdicts")
        self.page = <Page*>self.memory.at
        if not make_index(&self.index, REMEMBERED, self.page.slots, sizeof(Slot)):
            raise MemoryError
        for slot in range(min(self.page.count, <uint64_t>REMEMBERED)):
            enter(&self.index, slot)

    def __dealloc__(self):
        free_index(&self.index)

    @staticmethod
    def create():
        """Make an empty memory; its pages take room when they are touched."""
        return Verdicts(make_memory("verdicts", sizeof(Page)))

    def __reduce__(self):
        return _attach, (reduction.DupFd(self.memory.fd),)

    cdef void remember(self, uint64_t id, uint64_t known) noexcept nogil:
        """Note a request, in place of the oldest; one that is repeated stays where it is."""
        cdef size_t slot = self.page.count % REMEMBERED
        cdef size_t at = look(&self.index, id)
        if self.index.at[at]:
            self.page.slots[self.index.at[at] - 1].known = known
            return
        if self.page.count >= REMEMBERED:
            forget(&self.index, self.page.slots[slot].id)
        self.page.slots[slot].id = id
        self.page.slots[slot].known = known
        ring_store(&self.page.count, self.page.count + 1)     # after the slot: others may follow
        enter(&self.index, slot)

    cdef bint recall(self, uint64_t id, uint64_t* known) noexcept nogil:
        """Find what is known of a request; false if it was not seen, or too long ago."""
        cdef uint32_t slot
        if self.source is not None:
            self.catch_up()
        slot = self.index.at[look(&self.index, id)]
        if slot:
            known[0] = self.page.slots[slot - 1].known
        return slot != 0

    cdef void catch_up(self) noexcept nogil:
        """Take over what the memory that is followed has learnt since the last time."""
        cdef Slot slot
        cdef uint64_t count = ring_load(&self.source.page.count)
        cdef uint64_t at = self.page.followed
        if count - at > REMEMBERED:
            at = count - REMEMBERED
        while at < count:
            slot = self.source.page.slots[at % REMEMBERED]
            if ring_load(&self.source.page.count) - at < REMEMBERED:      # else it may have been written meanwhile
                self.remember(slot.id, slot.known)
            at += 1
        self.page.followed = at

    def follow(self, Verdicts source not None):
        """Know from now on what another memory knows, which another process writes."""
        self.source = source

    def put(self, uint64_t name, uint64_t known):
        """Note a request."""
        self.remember(name, known)

    def get(self, uint64_t name):
        """Return what is known of a request; None if it was not seen, or too long ago."""
        cdef uint64_t known = 0
        return known if self.recall(name, &known) else None


def _attach(memory):
    return Verdicts(memory.detach())
