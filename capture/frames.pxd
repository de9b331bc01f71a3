"""C face of the frame batches: one input's place in the merge, and the batch being gathered."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from capture.records cimport FrameEntry


cdef struct BatchMeta:         # of pcapy-ng 2.1 next_batch: `length` bytes at `offset` of the data
    uint32_t seconds
    uint32_t fraction
    uint32_t offset
    uint32_t length

cdef struct Head:              # one input, as it stands in the merge
    const BatchMeta* meta      # borrowed: from the chunk in Merger.chunks until the next push
    const uint8_t* data        # borrowed, likewise
    size_t at                  # next frame
    size_t count               # frames in the chunk; at == count: hungry
    int64_t ts_ns              # of the next frame; of the last one while hungry
    uint64_t kept              # the batch that already keeps this chunk alive
    uint32_t unit_ns           # nanoseconds in one `fraction`
    uint16_t link

cdef struct Segment:           # neighbouring frames: one copy
    const uint8_t* at          # borrowed: from Merger.kept until the batch is written
    size_t size


cdef class Merger:
    cdef Head* heads           # owned: freed in __dealloc__, like the next three
    cdef uint32_t* heap        # inputs by (ts_ns, number), the earliest first
    cdef FrameEntry* entries
    cdef Segment* segments
    cdef readonly size_t inputs
    cdef size_t opened         # inputs in the heap
    cdef size_t most_frames
    cdef size_t most_bytes
    cdef readonly size_t frames
    cdef readonly size_t frame_bytes
    cdef size_t pieces         # segments in use
    cdef uint64_t number       # of the next frame, from 1
    cdef uint64_t batch        # number of the batch being gathered
    cdef readonly uint64_t dropped_frames
    cdef readonly uint64_t dropped_bytes
    cdef list chunks
    cdef list kept
    cdef bint before(self, uint32_t a, uint32_t b) noexcept nogil
    cdef void sink(self, size_t at) noexcept nogil
    cdef int run(self, uint32_t source, size_t limit) noexcept nogil
    cdef void add(self, Head* head, const BatchMeta* meta, uint32_t source) noexcept nogil
    cdef void fill(self, uint8_t* room) noexcept nogil
    cdef void reset(self)
