"""C face of the lanes: the batch that is being filled in each frame ring."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from capture.records cimport FrameEntry


cdef struct Lane:
    uint8_t* room          # borrowed: reserved in the lane's ring until `hand_over`; NULL: no batch is open
    size_t table           # entries that there is room for
    size_t limit           # bytes of frames that there is room for
    size_t entries
    size_t size            # bytes of frames
    int64_t shift_ns       # what was added to the frames' times for timers when the batch was opened
    bint lost              # there was no room in the ring: what comes is counted as dropped
    uint64_t amount        # entries in the ring, ever
    uint64_t behind        # entries still to come that a process before this one has put there
    uint64_t since         # how many batches had been handed over when this one was opened


cdef class Lanes:
    cdef list producers        # keeps what `ends` borrows
    cdef list marks            # one for each producer; None: nobody is to go on after this process
    cdef void** noted          # owned array of borrowed Marks; NULL: there are none
    cdef readonly uint64_t behind
    cdef void** ends           # owned array of borrowed Producers
    cdef Lane* lanes           # owned
    cdef readonly uint32_t count
    cdef readonly size_t largest
    cdef int64_t shift_ns      # what is added to the frames' times for timers
    cdef readonly uint64_t records
    cdef readonly uint64_t dropped_frames
    cdef readonly uint64_t dropped_bytes
    cdef bint drop             # a full ring is not waited for
    cdef uint8_t* scratch      # owned: where is written what goes nowhere; NULL: nothing does
    cdef size_t most_frames
    cdef size_t most_bytes
    cdef follow(self, list marks)
    cdef uint8_t* add(self, uint32_t lane, const FrameEntry* like, uint16_t link, size_t size) noexcept nogil
    cdef void tell(self, uint16_t link, int64_t ts_ns) noexcept nogil
    cdef void tell_time(self, int64_t ts_ns) noexcept nogil
    cdef void tell_shift(self, int64_t shift_ns) noexcept nogil
    cdef void end_turn(self) noexcept nogil
    cdef void open(self, uint32_t number, size_t size) noexcept nogil
    cdef void hand_over(self, uint32_t number) noexcept nogil
    cdef void hand_over_all(self) noexcept nogil
