"""Several frame rings filled side by side, each with batches of its own.

In: frames, each with the number of its lane.  Out: ROUTED KIND_FRAMES records (capture/records.py).  Invariant: the
frames of a lane keep their order, and a batch is handed over when it is full, when its owner says `flush`, or when so
many others were that a lane with its share of the frames would have filled several.

With marks, a process goes on after one that was killed: it is given all frames again, and those that are in their ring
are left out.

A batch is filled where it lies in the ring: room for a whole one is reserved, and what was not needed is given back.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memmove

from capture.counters cimport Counters
from capture.marks cimport Mark
from capture.records cimport KIND_FRAMES, LINK_CLOCK, LINK_MADE, LINK_SHIFT, ROUTED, BatchHeader, FrameEntry
from capture.ring cimport Producer


cdef enum:
    PATIENCE = 4       # times its share that a lane may be passed over before what it has is handed over

LEAST_RECORD = 1 << 17
"""What a record of every ring must hold, at the least: more than anything that is made of several frames."""


cdef class Lanes:
    """One batch per ring.  A full ring is waited for, once what the others have is handed over; not with `drop`."""

    def __cinit__(self, rings, size_t batch_frames, size_t batch_bytes, bint drop=False, marks=None):
        cdef size_t table
        self.producers = [Producer(ring) for ring in rings]
        self.drop = drop
        if not self.producers or not batch_frames or not batch_bytes:
            raise ValueError("at least one ring, one frame and one byte")
        self.count = <uint32_t>len(self.producers)
        self.largest = min(producer.ring.largest for producer in self.producers)
        if self.largest < LEAST_RECORD:
            raise ValueError(f"the smallest ring takes records of {self.largest} bytes; {LEAST_RECORD} are needed")
        self.ends = <void**>calloc(self.count, sizeof(void*))
        self.lanes = <Lane*>calloc(self.count, sizeof(Lane))
        if marks is not None:
            self.follow(list(marks))
        if drop or self.behind:
            self.scratch = <uint8_t*>malloc(self.largest)
        if self.ends == NULL or self.lanes == NULL or (drop or self.behind) and self.scratch == NULL:
            raise MemoryError
        for at, producer in enumerate(self.producers):
            self.ends[<size_t>at] = <void*>producer
        self.most_frames = min(batch_frames, self.largest // 4 // sizeof(FrameEntry))
        table = sizeof(BatchHeader) + self.most_frames * sizeof(FrameEntry)
        self.most_bytes = min(batch_bytes, self.largest - table)

    def __dealloc__(self):
        free(self.ends)
        free(self.lanes)
        free(self.scratch)
        free(self.noted)

    cdef follow(self, list marks):
        """Find out what lies in each ring, and have it left out when it comes again."""
        cdef size_t number
        self.marks = marks
        self.noted = <void**>calloc(self.count, sizeof(void*))
        if self.noted == NULL or self.lanes == NULL:
            raise MemoryError
        if len(marks) != self.count:
            raise ValueError("one mark for each ring")
        for number in range(self.count):
            self.noted[number] = <void*>marks[number]
            self.lanes[number].amount = self.lanes[number].behind = marks[number].recover(self.producers[number].ring)
            self.behind += self.lanes[number].behind
            self.records += self.producers[number].sequence

    cdef uint8_t* add(self, uint32_t lane, const FrameEntry* like, uint16_t link, size_t size) noexcept nogil:
        """Add an entry like this one to a lane, and return where its `size` bytes are to be written.

        At most what a record of `largest` bytes holds besides its header and one entry.
        """
        cdef Lane* to = &self.lanes[lane]
        cdef FrameEntry* entry
        if to.behind:
            to.behind -= 1
            self.behind -= 1
            return self.scratch
        if to.room != NULL and (to.entries == to.table or to.size + size > to.limit):
            self.hand_over(lane)
        if to.room == NULL:
            self.open(lane, size)
        if to.lost and link != LINK_CLOCK and link != LINK_SHIFT:
            self.dropped_frames += 1
            self.dropped_bytes += like.caplen if link == LINK_MADE else size
        entry = <FrameEntry*>(to.room + sizeof(BatchHeader)) + to.entries
        entry[0] = like[0]
        entry.link = link
        entry.offset = <uint32_t>to.size
        entry.caplen = <uint32_t>size
        to.entries += 1
        to.size += size
        return to.room + sizeof(BatchHeader) + to.table * sizeof(FrameEntry) + to.size - size

    cdef void tell_time(self, int64_t ts_ns) noexcept nogil:
        """Let every lane know that time has come as far as this."""
        self.tell(LINK_CLOCK, ts_ns)

    cdef void tell_shift(self, int64_t shift_ns) noexcept nogil:
        """Let every lane know what is added to the times of the frames from here on."""
        self.shift_ns = shift_ns
        self.tell(LINK_SHIFT, shift_ns)

    cdef void tell(self, uint16_t link, int64_t ts_ns) noexcept nogil:
        """Add an entry without bytes to every lane."""
        cdef FrameEntry entry = FrameEntry(ts_ns, 0, 0, 0, link, 0)
        cdef uint32_t number
        for number in range(self.count):
            self.add(number, &entry, link, 0)

    cdef void end_turn(self) noexcept nogil:
        """Hand over what has been waiting for long; to be called after every batch from the source."""
        cdef uint64_t due = PATIENCE * <uint64_t>self.count
        cdef uint32_t number
        for number in range(self.count):
            if self.lanes[number].room != NULL and self.records - self.lanes[number].since >= due:
                self.hand_over(number)

    cdef void open(self, uint32_t number, size_t size) noexcept nogil:
        """Begin a batch in one lane; a frame that is longer than a whole one gets its own."""
        cdef Lane* to = &self.lanes[number]
        cdef size_t needed
        to.table = 1 if size > self.most_bytes else self.most_frames
        to.limit = max(size, self.most_bytes)
        to.shift_ns = self.shift_ns
        to.since = self.records
        needed = sizeof(BatchHeader) + to.table * sizeof(FrameEntry) + to.limit
        to.room = (<Producer>self.ends[number]).try_reserve(needed)
        to.lost = to.room == NULL and self.drop
        if to.lost:
            to.room = self.scratch
        elif to.room == NULL:
            self.hand_over_all()
            to.room = (<Producer>self.ends[number]).reserve(needed)

    cdef void hand_over(self, uint32_t number) noexcept nogil:
        """Let the lane's reader see its batch: the bytes are moved up to the entries that there are."""
        cdef Lane* to = &self.lanes[number]
        cdef BatchHeader* header = <BatchHeader*>to.room
        cdef size_t table = sizeof(BatchHeader) + to.entries * sizeof(FrameEntry)
        if to.lost:
            to.room = NULL
            to.entries = to.size = 0
            return
        if to.entries < to.table:
            memmove(to.room + table, to.room + sizeof(BatchHeader) + to.table * sizeof(FrameEntry), to.size)
        header.frames = <uint32_t>to.entries
        header.routed = ROUTED
        header.first = <uint64_t>to.shift_ns
        (<Producer>self.ends[number]).commit(KIND_FRAMES, table + to.size)
        (<Producer>self.ends[number]).publish()
        to.amount += to.entries
        if self.noted != NULL:
            (<Mark>self.noted[number]).write((<Producer>self.ends[number]).head, to.amount)
        self.records += 1
        to.room = NULL
        to.entries = to.size = 0

    cdef void hand_over_all(self) noexcept nogil:
        """Let every reader see what there is."""
        cdef uint32_t number
        for number in range(self.count):
            if self.lanes[number].room != NULL:
                self.hand_over(number)

    def show_life(self, Counters page not None, name):
        """Count in a page while room is waited for."""
        for producer in self.producers:
            producer.show_life(page, name)

    def flush(self):
        """Hand over what there is in every lane; never waits."""
        self.hand_over_all()

    def close(self):
        """Hand over what there is, and say in every ring that nothing more will come."""
        self.hand_over_all()
        for producer in self.producers:
            producer.close()
