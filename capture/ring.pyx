"""The shared-memory ring between two processes: records in, records out, in order, no lock (DESIGN 2).

One producer, one consumer, an anonymous memory file handed over by descriptor.  Invariant: bytes [tail, head)
are whole records, 8-byte aligned, contiguous; what lies there does not change until it is released.
"""

import os
from multiprocessing import reduction
from typing import NamedTuple

from cpython.buffer cimport PyBUF_READ
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from capture.counters cimport Counters
from capture.memory cimport Memory

from capture.errors import MirrorError
from capture.memory import make_memory
from capture.records import RECORD_HEADER


cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    int poll(pollfd* fds, unsigned long count, int timeout_ms)
    short POLLIN

cdef extern from "<unistd.h>" nogil:
    ssize_t read(int fd, void* into, size_t size)
    ssize_t write(int fd, const void* bytes_, size_t size)
    int close(int fd)


MAGIC = b"RINGTAP1"
PAGE_BYTES = 4096
MOST_BYTES = 1 << 32   # so that half of it, the longest record, has a 32-bit length

cdef enum:
    FRONT_AT = 64      # ProducerLine
    BACK_AT = 192      # ConsumerLine, two lines on: adjacent lines are fetched in pairs
    DATA_AT = 4096
    SPINS = 200        # looks before sleeping: a few microseconds
    NAP_MS = 100       # longest sleep of a blocked producer before it looks again

if sizeof(RecordHeader) != RECORD_HEADER.size or sizeof(ProducerLine) != 64 or sizeof(ConsumerLine) != 64:
    raise ImportError("ring: the compiled record layout differs from the table in capture/records.py")


class RingStats(NamedTuple):
    """A ring as seen from outside at one moment; counts since the ring was made."""

    capacity: int
    used: int
    high_water: int
    records: int
    stalls: int
    dropped: int
    closed: bool


cdef class Ring:
    """The mapping itself, made by `Ring.create`; travels to a spawned child by descriptor, as it is."""

    def __cinit__(self, int memory_fd, int data_fd, int space_fd):
        self.data_fd = data_fd
        self.space_fd = space_fd
        self.memory = Memory("ring", memory_fd)
        cdef uint8_t* base = <uint8_t*>self.memory.at
        if self.memory.size <= DATA_AT or base[:8] != MAGIC:
            raise MirrorError("ring: the descriptor does not hold a ring")
        self.front = <ProducerLine*>(base + FRONT_AT)
        self.back = <ConsumerLine*>(base + BACK_AT)
        self.data = base + DATA_AT
        self.capacity = self.memory.size - DATA_AT

    def __dealloc__(self):
        for fd in (self.data_fd, self.space_fd):
            if fd > 0:
                close(fd)

    @staticmethod
    def create(capacity):
        """Make a ring of at least `capacity` bytes, whole pages, up to 4 GiB, in memory when touched."""
        if not 0 < capacity <= MOST_BYTES:
            raise ValueError(f"a ring of {capacity} bytes: from 1 to {MOST_BYTES} are possible")
        size = DATA_AT + max(PAGE_BYTES, -(-capacity // PAGE_BYTES) * PAGE_BYTES)
        memory_fd = make_memory("ring", size)
        os.pwrite(memory_fd, MAGIC, 0)
        return Ring(memory_fd, *(os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(2)))

    def __reduce__(self):
        return _attach, tuple(reduction.DupFd(fd) for fd in (self.memory.fd, self.data_fd, self.space_fd))

    @property
    def largest(self):
        """Most payload bytes of one record: half the data area, so that it fits wherever the head stands."""
        return self.capacity // 2 - HEADER_BYTES

    def stats(self):
        """Read the state from outside, without touching either side."""
        tail = ring_load(&self.back.tail)
        head = ring_load(&self.front.head)
        return RingStats(
            self.capacity, min(head - tail, self.capacity), self.front.high_water, self.front.records,
            self.front.stalls, self.front.dropped, bool(ring_load32(&self.front.closed)),
        )


def _attach(memory, data, space):
    return Ring(memory.detach(), data.detach(), space.detach())


cdef void ring_bell(int fd) noexcept nogil:
    cdef uint64_t one = 1
    write(fd, &one, 8)


cdef void disarm_bell(uint32_t* waiting, int fd) noexcept nogil:
    cdef uint64_t count
    ring_take32(waiting)
    read(fd, &count, 8)


cdef void nap(int fd, int timeout_ms) noexcept nogil:
    cdef pollfd waiter = pollfd(fd, POLLIN, 0)
    poll(&waiter, 1, timeout_ms)


cdef class Producer:
    """The writing end, one per ring.  A successor goes on where the last published record ended."""

    def __cinit__(self, Ring ring not None):
        self.ring = ring
        self.data = ring.data
        self.front = ring.front
        self.back = ring.back
        self.capacity = ring.capacity
        self.head = ring_load(&self.front.head)
        self.tail = ring_load(&self.back.tail)
        self.sequence = self.front.records

    cdef uint8_t* try_reserve(self, size_t payload) noexcept nogil:
        """Return room for `payload` contiguous bytes, or NULL if the ring is too full; nothing is seen."""
        cdef size_t size = padded(payload + HEADER_BYTES)
        cdef size_t at = self.head % self.capacity
        cdef size_t pad = 0
        if size > self.capacity // 2:
            return NULL
        if at + size > self.capacity:
            pad = self.capacity - at
        if self.head + pad + size - self.tail > self.capacity:
            self.tail = ring_load(&self.back.tail)
            if self.head + pad + size - self.tail > self.capacity:
                return NULL
        self.pad = pad
        return self.data + (0 if pad else at) + HEADER_BYTES

    cdef void commit(self, uint32_t kind, size_t payload) noexcept nogil:
        """Finish the record last reserved with `payload` bytes, at most what was reserved; see `publish`."""
        cdef RecordHeader* header = <RecordHeader*>(self.data + self.head % self.capacity)
        if self.pad:
            header.length = <uint32_t>self.pad    # a pad may be 8 bytes long: it has no sequence number
            header.kind = KIND_PAD
            self.head += self.pad
            self.pad = 0
            header = <RecordHeader*>self.data
        header.length = <uint32_t>padded(payload + HEADER_BYTES)
        header.kind = kind
        header.sequence = self.sequence
        self.sequence += 1
        self.head += header.length

    cdef void publish(self) noexcept nogil:
        """Let the consumer see everything committed so far, and wake it if it sleeps."""
        cdef uint64_t used = self.head - self.tail
        if used > self.front.high_water:
            self.tail = ring_load(&self.back.tail)
            used = self.head - self.tail
            if used > self.front.high_water:
                self.front.high_water = used
        self.front.records = self.sequence
        ring_store(&self.front.head, self.head)
        ring_fence()
        if ring_load32(&self.back.waiting) and ring_take32(&self.back.waiting):
            ring_bell(self.ring.data_fd)

    cdef uint8_t* reserve(self, size_t payload) noexcept nogil:
        """Return room for `payload` bytes, waiting as long as it takes; NULL only if it can never fit."""
        cdef uint8_t* room = self.try_reserve(payload)
        cdef int _spin
        if room != NULL or padded(payload + HEADER_BYTES) > self.capacity // 2:
            return room
        self.publish()
        self.front.stalls += 1
        while True:
            for _spin in range(SPINS):
                room = self.try_reserve(payload)
                if room != NULL:
                    return room
                ring_pause()
            if self.pulse != NULL:
                self.pulse[0] += 1
            # Not for the first record freed but for an eighth of the ring: else it would be one switch each.
            self.sleep(self.tail_for(payload, self.capacity // 8), NAP_MS)

    cdef uint64_t tail_for(self, size_t payload, uint64_t least) noexcept nogil:
        """Return where the tail has to be for a record of `payload` bytes, and for `least` bytes, to fit."""
        cdef uint64_t at = self.head % self.capacity
        cdef uint64_t needed = padded(payload + HEADER_BYTES)
        if at + needed > self.capacity:
            needed += self.capacity - at
        needed = self.head + max(needed, least)
        return needed - self.capacity if needed > self.capacity else 0

    cdef void sleep(self, uint64_t until_tail, int timeout_ms) noexcept nogil:
        """Sleep until the tail reaches `until_tail` or the time is over."""
        if self.ask(until_tail):
            nap(self.ring.space_fd, timeout_ms)
            disarm_bell(&self.front.waiting, self.ring.space_fd)

    cdef bint ask(self, uint64_t tail) noexcept nogil:
        """Ask to be rung once the tail reaches `tail`; false, and nothing is asked, if it already has."""
        self.front.wanted = tail
        ring_store32(&self.front.waiting, 1)
        ring_fence()
        if ring_load(&self.back.tail) < tail:
            return True
        disarm_bell(&self.front.waiting, self.ring.space_fd)
        return False

    @property
    def position(self):
        """Bytes ever committed; a record that ends here is done with once `released` reaches it."""
        return self.head

    @property
    def released(self):
        """Bytes ever released by the consumer."""
        return ring_load(&self.back.tail)

    def fileno(self):
        """Return the descriptor that becomes readable when room asked for with `arm` is there."""
        return self.ring.space_fd

    def arm(self, uint64_t position):
        """Ask for `fileno` to become readable once `released` reaches `position`; False if it already has."""
        return self.ask(position)

    def disarm(self):
        """Take back `arm` and swallow a bell already rung."""
        disarm_bell(&self.front.waiting, self.ring.space_fd)

    def try_put(self, uint32_t kind, const uint8_t[::1] payload not None):
        """Copy one record in and publish it; False, and nothing is written, if there is no room now."""
        if not self.try_commit(kind, payload):
            return False
        self.publish()
        return True

    def show(self):
        """Publish what `try_commit` has written."""
        self.publish()

    def resume(self, uint64_t position, uint64_t sequence):
        """Publish what a process that was killed had committed, up to a position that it has noted."""
        self.head = position
        self.sequence = sequence
        self.publish()

    def try_commit(self, uint32_t kind, const uint8_t[::1] payload not None):
        """Copy one record in, without showing it yet; False, and nothing is written, if there is no room now."""
        cdef size_t size = payload.shape[0]
        cdef uint8_t* room
        if size > self.ring.largest:
            raise ValueError(f"a record of {size} bytes never fits: the most is {self.ring.largest}")
        room = self.try_reserve(size)
        if room == NULL:
            return False
        if size:
            memcpy(room, &payload[0], size)
        self.commit(kind, size)
        return True

    def put(self, uint32_t kind, const uint8_t[::1] payload not None):
        """Copy one record in and publish it, waiting for room."""
        while not self.try_put(kind, payload):
            self.wait_room(payload.shape[0])

    def wait_room(self, size_t payload, int timeout_ms=NAP_MS):
        """Sleep until a record of `payload` bytes may fit or the time is over; counts as a stall."""
        self.front.stalls += 1
        if self.pulse != NULL:
            self.pulse[0] += 1
        with nogil:
            self.sleep(self.tail_for(payload, 0), timeout_ms)

    def show_life(self, Counters page not None, name):
        """Have a counter grow each time that a sleep for want of room ends."""
        self.lives = page
        self.pulse = &page.at[<size_t>page.index[name]]

    def drop(self, uint64_t records=1):
        """Count records given up for want of room."""
        self.front.dropped += records

    def close(self):
        """Say that nothing more will come; the consumer ends once it has read what is there."""
        self.publish()
        ring_store32(&self.front.closed, 1)
        if ring_take32(&self.back.waiting):
            ring_bell(self.ring.data_fd)


cdef class Consumer:
    """The reading end, one per ring.  A successor starts at the tail: it repeats, it loses nothing."""

    def __cinit__(self, Ring ring not None):
        self.ring = ring
        self.data = ring.data
        self.front = ring.front
        self.back = ring.back
        self.capacity = ring.capacity

    cdef uint64_t published(self) noexcept nogil:
        """Return the position up to which whole records are there."""
        return ring_load(&self.front.head)

    cdef const RecordHeader* next_record(self, uint64_t* cursor, uint64_t head) noexcept nogil:
        """Step over one record and return it, valid until released; NULL once the cursor is at `head`."""
        cdef const RecordHeader* header
        while cursor[0] < head:
            header = <const RecordHeader*>(self.data + cursor[0] % self.capacity)
            cursor[0] += header.length
            if header.kind != KIND_PAD:
                return header
        return NULL

    cdef void release_to(self, uint64_t position) noexcept nogil:
        """Give everything before `position` back to the producer, and wake it if it waits for that."""
        ring_store(&self.back.tail, position)
        ring_fence()
        if (ring_load32(&self.front.waiting) and position >= ring_load(&self.front.wanted)
                and ring_take32(&self.front.waiting)):
            ring_bell(self.ring.space_fd)

    @property
    def head(self):
        """Position up to which whole records are there."""
        return self.published()

    @property
    def tail(self):
        """Position up to which records have been released."""
        return ring_load(&self.back.tail)

    @property
    def closed(self):
        """Whether the producer has said that nothing more will come."""
        return bool(ring_load32(&self.front.closed))

    def fileno(self):
        """Return the descriptor that becomes readable when records are there, after `arm`."""
        return self.ring.data_fd

    def arm(self, uint64_t position):
        """Ask for `fileno` to become readable once the head passes `position`; False if it need not be."""
        ring_store32(&self.back.waiting, 1)
        ring_fence()
        if ring_load(&self.front.head) != position or ring_load32(&self.front.closed):
            self.disarm()
            return False
        return True

    def disarm(self):
        """Take back `arm` and swallow a bell already rung."""
        disarm_bell(&self.back.waiting, self.ring.data_fd)

    def wait(self, uint64_t position, int timeout_ms=NAP_MS):
        """Wait until the head passes `position`: spin, then sleep.  False if time or the ring ended first."""
        cdef int _spin
        with nogil:
            for _spin in range(SPINS):
                if ring_load(&self.front.head) != position:
                    break
                ring_pause()
        if ring_load(&self.front.head) != position:
            return True
        if self.arm(position):
            with nogil:
                nap(self.ring.data_fd, timeout_ms)
            self.disarm()
        return ring_load(&self.front.head) != position

    def read(self, uint64_t position):
        """Return (kind, payload view, next position) of the record at `position`; None if there is none yet.

        The view is borrowed from the ring: it is valid until its record is released.
        """
        cdef const RecordHeader* header = self.next_record(&position, self.published())
        if header == NULL:
            return None
        view = PyMemoryView_FromMemory(
            <char*>header + HEADER_BYTES, header.length - HEADER_BYTES, PyBUF_READ)
        return header.kind, view, position

    def release(self, uint64_t position):
        """Give everything before `position` back to the producer."""
        if not ring_load(&self.back.tail) <= position <= self.published():
            raise ValueError(f"cannot release to {position}: records lie from {self.tail} to {self.head}")
        self.release_to(position)
