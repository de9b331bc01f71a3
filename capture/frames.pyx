"""Batches of frames: chunks of several inputs are merged by time and written as KIND_FRAMES payloads.

In: chunks as pcapy-ng's next_batch gives them, one input's chunks in their order.  Out: payloads as in
capture/records.py, into a ring or as bytes.  Invariant: an input's own order is never changed; among the
inputs the earliest next frame goes first, ties by the inputs' order; every frame pushed is written or
counted as dropped.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from capture.records cimport BatchHeader, FrameEntry
from capture.records cimport KIND_CLOCK as C_KIND_CLOCK
from capture.records cimport KIND_FRAMES as C_KIND_FRAMES
from capture.records cimport LINK_CLOCK as C_LINK_CLOCK
from capture.records cimport LINK_MADE as C_LINK_MADE
from capture.records cimport LINK_SHIFT as C_LINK_SHIFT
from capture.records cimport ROUTED as C_ROUTED
from capture.ring cimport Producer

from capture.records import (
    BATCH_HEADER, FRAME_ENTRY, KIND_CLOCK, KIND_FRAMES, LINK_CLOCK, LINK_MADE, LINK_SHIFT, ROUTED,
)

FULL = -1
"""`gather` ended because the batch is full."""
DONE = -2
"""`gather` ended because no input has frames any more."""

MOST = 1 << 26
"""Most frames, and most bytes, of one batch."""

cdef enum:
    RUN_ENDED = 0   # the input's chunk is used up, or another input goes first now
    RUN_FULL = 1    # the batch is full

if (
    sizeof(BatchHeader) != BATCH_HEADER.size or sizeof(FrameEntry) != FRAME_ENTRY.size
    or sizeof(BatchMeta) != 16 or (C_KIND_FRAMES, C_KIND_CLOCK) != (KIND_FRAMES, KIND_CLOCK)
    or (C_ROUTED, C_LINK_CLOCK, C_LINK_MADE, C_LINK_SHIFT) != (ROUTED, LINK_CLOCK, LINK_MADE, LINK_SHIFT)
):
    raise ImportError("frames: the compiled batch layout differs from the tables in capture/records.py")


cdef inline int64_t frame_ts_ns(const BatchMeta* meta, uint32_t unit_ns) noexcept nogil:
    """Return a frame's time in nanoseconds since the epoch."""
    return <int64_t>meta.seconds * 1_000_000_000 + <int64_t>meta.fraction * unit_ns


cdef class Merger:
    """K-way merge of numbered inputs into batches of at most `batch_frames` frames and `batch_bytes` bytes.

    An input takes part from `announce` until `finish`.  A frame longer than `batch_bytes` gets its own batch.
    """

    def __cinit__(self, size_t inputs, size_t batch_frames, size_t batch_bytes):
        if not 1 <= inputs <= 65536:
            raise ValueError(f"{inputs} inputs: from 1 to 65536 are possible")
        if not (1 <= batch_frames <= MOST and 1 <= batch_bytes <= MOST):
            raise ValueError(f"a batch holds from one frame and one byte up to {MOST} of each")
        self.heads = <Head*>calloc(inputs, sizeof(Head))
        self.heap = <uint32_t*>calloc(inputs, sizeof(uint32_t))
        self.entries = <FrameEntry*>calloc(batch_frames, sizeof(FrameEntry))
        self.segments = <Segment*>calloc(batch_frames, sizeof(Segment))
        if self.heads == NULL or self.heap == NULL or self.entries == NULL or self.segments == NULL:
            raise MemoryError("no memory for a batch of frames")
        self.inputs = inputs
        self.most_frames = batch_frames
        self.most_bytes = batch_bytes
        self.number = 1
        self.batch = 1
        self.chunks = [None] * inputs
        self.kept = []

    def __dealloc__(self):
        free(self.heads)
        free(self.heap)
        free(self.entries)
        free(self.segments)

    cdef bint before(self, uint32_t a, uint32_t b) noexcept nogil:
        """Whether input a goes before input b."""
        cdef int64_t left = self.heads[a].ts_ns
        cdef int64_t right = self.heads[b].ts_ns
        return left < right or (left == right and a < b)

    cdef void sink(self, size_t at) noexcept nogil:
        """Put the heap right again after the key at one place has grown."""
        cdef uint32_t moving = self.heap[at]
        cdef size_t child = 2 * at + 1
        while child < self.opened:
            if child + 1 < self.opened and self.before(self.heap[child + 1], self.heap[child]):
                child += 1
            if not self.before(self.heap[child], moving):
                break
            self.heap[at] = self.heap[child]
            at = child
            child = 2 * at + 1
        self.heap[at] = moving

    def announce(self, uint32_t source, int64_t ts_ns):
        """Let an input take part, before anything is gathered; its first frame is at `ts_ns`."""
        cdef size_t at = self.opened
        cdef size_t parent
        if source >= self.inputs or at == self.inputs:
            raise ValueError(f"input {source} is one too many")
        self.heads[source].ts_ns = ts_ns
        self.opened += 1
        while at:
            parent = (at - 1) // 2
            if not self.before(source, self.heap[parent]):
                break
            self.heap[at] = self.heap[parent]
            at = parent
        self.heap[at] = source

    def push(self, bytes data not None, bytes meta not None, uint16_t link, uint32_t unit_ns, size_t skip=0):
        """Feed the hungry input, which `gather` named, with its next chunk, less its first `skip` frames.

        `unit_ns` is what one fraction in `meta` stands for: 1000 if they are microseconds, 1 if nanoseconds.
        """
        cdef uint32_t source = self.heap[0]
        cdef Head* head = &self.heads[source]
        cdef size_t count = len(meta) // sizeof(BatchMeta)
        cdef const BatchMeta* last
        if not self.opened or head.at != head.count:
            raise ValueError("no input is hungry")
        if skip >= count:
            raise ValueError(f"a chunk of {count} frames less {skip} is empty")
        head.meta = <const BatchMeta*>PyBytes_AS_STRING(meta)
        last = &head.meta[count - 1]
        if <uint64_t>last.offset + last.length > <uint64_t>len(data):
            raise ValueError("the frames of a chunk lie outside of its data")
        head.data = <const uint8_t*>PyBytes_AS_STRING(data)
        head.at = skip
        head.count = count
        head.unit_ns = unit_ns
        head.link = link
        head.kept = 0
        head.ts_ns = frame_ts_ns(&head.meta[skip], unit_ns)
        self.chunks[source] = (data, meta)
        self.sink(0)

    def finish(self):
        """Take the hungry input (the one that `gather` named) out of the merge."""
        cdef Head* head = &self.heads[self.heap[0]]
        if not self.opened or head.at != head.count:
            raise ValueError("no input is hungry")
        self.chunks[self.heap[0]] = None
        self.opened -= 1
        self.heap[0] = self.heap[self.opened]
        self.sink(0)

    def gather(self, size_t limit):
        """Add frames until the batch is FULL, its payload at most `limit` bytes, DONE, or an input is hungry.

        Returns which: FULL, DONE, or the number of the hungry input, to be followed by `push` or `finish`.
        """
        cdef uint32_t source
        cdef Head* head
        cdef int ended
        while self.opened:
            source = self.heap[0]
            head = &self.heads[source]
            if head.at == head.count:
                return source
            if head.kept != self.batch:
                self.kept.append(self.chunks[source])
                head.kept = self.batch
            with nogil:
                ended = self.run(source, limit)
                self.sink(0)
            if ended == RUN_FULL:
                return FULL
        return DONE

    cdef int run(self, uint32_t source, size_t limit) noexcept nogil:
        """Add frames of the first input for as long as it stays the first one and the batch has room."""
        cdef Head* head = &self.heads[source]
        cdef const BatchMeta* meta
        cdef size_t total
        cdef uint32_t rival = source   # the input that is next but one
        if self.opened > 1:
            rival = self.heap[1]
            if self.opened > 2 and self.before(self.heap[2], rival):
                rival = self.heap[2]
        while head.at < head.count:
            meta = &head.meta[head.at]
            head.ts_ns = frame_ts_ns(meta, head.unit_ns)
            if rival != source and self.before(rival, source):
                return RUN_ENDED
            total = self.frame_bytes + meta.length
            if self.frames and (self.frames == self.most_frames or total > self.most_bytes):
                return RUN_FULL
            if sizeof(BatchHeader) + (self.frames + 1) * sizeof(FrameEntry) + total > limit:
                if self.frames:
                    return RUN_FULL
                self.dropped_frames += 1   # larger than anything the ring can take
                self.dropped_bytes += meta.length
                self.number += 1
            else:
                self.add(head, meta, source)
            head.at += 1
        return RUN_ENDED

    cdef void add(self, Head* head, const BatchMeta* meta, uint32_t source) noexcept nogil:
        """Enter one frame into the batch; bytes next to those of the frame before are one copy with them."""
        cdef FrameEntry* entry = &self.entries[self.frames]
        cdef const uint8_t* at = head.data + meta.offset
        cdef Segment* last
        entry.ts_ns = head.ts_ns
        entry.offset = <uint32_t>self.frame_bytes
        entry.caplen = meta.length
        entry.wirelen = 0        # next_batch does not tell
        entry.link = head.link
        entry.source = <uint16_t>source
        self.frames += 1
        self.frame_bytes += meta.length
        if self.pieces:
            last = &self.segments[self.pieces - 1]
            if last.at + last.size == at:
                last.size += meta.length
                return
        self.segments[self.pieces].at = at
        self.segments[self.pieces].size = meta.length
        self.pieces += 1

    @property
    def size(self):
        """Bytes of the payload gathered so far."""
        return sizeof(BatchHeader) + self.frames * sizeof(FrameEntry) + self.frame_bytes

    cdef void fill(self, uint8_t* room) noexcept nogil:
        """Write the batch to `room`, which has `size` bytes."""
        cdef BatchHeader* header = <BatchHeader*>room
        cdef size_t at
        header.frames = <uint32_t>self.frames
        header.routed = 0
        header.first = self.number
        room += sizeof(BatchHeader)
        memcpy(room, self.entries, self.frames * sizeof(FrameEntry))
        room += self.frames * sizeof(FrameEntry)
        for at in range(self.pieces):
            memcpy(room, self.segments[at].at, self.segments[at].size)
            room += self.segments[at].size

    cdef void reset(self):
        """Begin the next batch."""
        self.number += self.frames
        self.batch += 1
        self.frames = 0
        self.frame_bytes = 0
        self.pieces = 0
        self.kept.clear()

    def write(self, Producer producer not None):
        """Move the batch into the ring as one record, waiting for room, and begin the next one."""
        cdef size_t size = self.size
        cdef uint8_t* room
        if not self.frames:
            raise ValueError("the batch is empty")
        with nogil:
            room = producer.reserve(size)
            if room != NULL:
                self.fill(room)
                producer.commit(C_KIND_FRAMES, size)
                producer.publish()
        if room == NULL:
            raise ValueError(f"a batch of {size} bytes never fits: the most is {producer.ring.largest}")
        self.reset()

    def try_write(self, Producer producer not None):
        """Move the batch into the ring if there is room, else give it up; True if it was written."""
        cdef size_t size = self.size
        cdef uint8_t* room
        if not self.frames:
            raise ValueError("the batch is empty")
        with nogil:
            room = producer.try_reserve(size)
            if room != NULL:
                self.fill(room)
                producer.commit(C_KIND_FRAMES, size)
                producer.publish()
        self.reset()
        return room != NULL

    def skip(self):
        """Give the batch up, as it is in the ring already, and begin the next one."""
        self.reset()

    def payload(self):
        """Return the batch as bytes, and begin the next one."""
        cdef size_t size = self.size
        if not self.frames:
            raise ValueError("the batch is empty")
        payload = PyBytes_FromStringAndSize(NULL, size)
        self.fill(<uint8_t*>PyBytes_AS_STRING(payload))
        self.reset()
        return payload
