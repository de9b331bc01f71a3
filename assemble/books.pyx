"""What an assembler leaves to its successor, should it be killed: how far it had come, and what it had counted by then.

In: positions and counters, as they change.  Out: rings and counters that agree.  Invariant: a message is in its ring
and counted, or neither; what the dead process held, and the frames that it was working on, are counted as lost.

Frames are taken before they are looked at: nothing is assembled twice.  Before the message rings are published, it is
noted up to where, together with the counters of that moment: a successor finishes what was noted, and forgets what was
not.  Each note is made beside the one that holds, and put in its place by one store.
"""

from multiprocessing import reduction

from libc.stdint cimport uint64_t
from libc.string cimport memcpy

from assemble.tally cimport Tally
from capture.counters cimport Counters
from capture.memory cimport Memory
from capture.ring cimport Consumer, Producer, ring_fence, ring_store

from assemble.tally import ASSEMBLE_COUNTERS
from capture.memory import make_memory


cdef enum:
    MOST_TALLIES = 256

if MOST_TALLIES < Tally.TALLIES:
    raise ImportError("books: there are more counters than a slot has room for")

FRAMES = tuple(at for at, name in enumerate(ASSEMBLE_COUNTERS)
               if name.startswith("refused_") or name in ("frames_decoded", "frames_joined", "fragments_held"))
SEGMENTS = tuple(at for at, name in enumerate(ASSEMBLE_COUNTERS)
                 if name.startswith("segments_") and name not in ("segments_data", "segments_control", "segments_lost"))
PAYLOAD = tuple(at for at, name in enumerate(ASSEMBLE_COUNTERS)
                if name in ("bytes_in_messages", "bytes_duplicate")
                or (name.startswith("skipped_") and name != "skipped_lost"))
LEVELS = tuple(ASSEMBLE_COUNTERS.index(name) for name in ("fragments_held", "flows_now", "bytes_held"))


cdef class Books:
    """One assembler's; travels to a spawned child by descriptor, as it is."""

    def __cinit__(self, int fd=-1):
        if fd < 0:
            fd = make_memory("books", sizeof(Pages))
        self.memory = Memory("books", fd, sizeof(Pages), "an assembler's books")
        self.pages = <Pages*>self.memory.at

    def __reduce__(self):
        return _attach, (reduction.DupFd(self.memory.fd),)

    def open(self, Counters page not None, producers):
        """Say what is noted: a page of counters, and the rings that are published."""
        self.page = page
        self.tally = page.at
        self.producers = list(producers)
        self.count = len(self.producers)
        if self.count > MOST_RINGS:
            raise ValueError(f"books: {self.count} message rings, of which {MOST_RINGS} are possible")
        for at, producer in enumerate(self.producers):
            self.ends[<size_t>at] = <void*>producer

    cdef void take(self, uint64_t position, uint64_t frames) noexcept nogil:
        """Note that a batch is being worked on, which ends at `position` of the frame ring."""
        cdef uint64_t now = self.pages.place & 1
        self.pages.places[1 - now].position = position
        self.pages.places[1 - now].frames = self.pages.places[now].frames + frames
        ring_store(&self.pages.place, 1 - now)
        ring_fence()

    cdef void note(self) noexcept nogil:
        """Note what is about to be published; the counters are as they are at this moment."""
        cdef uint64_t now = self.pages.slot & 1
        cdef Slot* slot = &self.pages.slots[1 - now]
        cdef uint64_t at
        for at in range(self.count):
            slot.heads[at] = (<Producer>self.ends[at]).head
            slot.sequences[at] = (<Producer>self.ends[at]).sequence
        memcpy(slot.tally, self.tally, <size_t>Tally.TALLIES * sizeof(uint64_t))
        ring_store(&self.pages.slot, 1 - now)
        ring_fence()

    def recover(self, Consumer consumer not None):
        """Finish what a dead process had noted: its rings, its counters, and what was lost with it.

        Nothing happens where there was none.
        """
        cdef Slot* slot = &self.pages.slots[self.pages.slot & 1]
        cdef Place* place = &self.pages.places[self.pages.place & 1]
        cdef Producer producer
        cdef uint64_t at
        for at in range(self.count):
            producer = <Producer>self.ends[at]
            if slot.heads[at] > producer.head:
                producer.head = slot.heads[at]
                producer.sequence = slot.sequences[at]
                producer.publish()
        memcpy(self.tally, slot.tally, <size_t>Tally.TALLIES * sizeof(uint64_t))
        for at in LEVELS:
            self.tally[at] = 0
        self.tally[<int>Tally.frames_lost] = (
            place.frames + self.tally[<int>Tally.packets_aggregated] - self.total(FRAMES))
        self.tally[<int>Tally.segments_lost] = self.tally[<int>Tally.segments_data] - self.total(SEGMENTS)
        self.tally[<int>Tally.skipped_lost] = self.tally[<int>Tally.bytes_payload] - self.total(PAYLOAD)
        self.note()
        if place.position > consumer.tail:
            consumer.release(place.position)

    def total(self, counters):
        """Sum some counters."""
        return sum(self.tally[<size_t>at] for at in counters)


def _attach(fd):
    return Books(fd.detach())
