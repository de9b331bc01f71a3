"""C face of the ring: the record header, the atomics, and the inline leaves that move over records."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from capture.counters cimport Counters
from capture.memory cimport Memory


cdef extern from *:
    """
    #include <stdint.h>
    static inline uint64_t ring_load(const uint64_t *at) { return __atomic_load_n(at, __ATOMIC_ACQUIRE); }
    static inline void ring_store(uint64_t *at, uint64_t v) { __atomic_store_n(at, v, __ATOMIC_RELEASE); }
    static inline uint32_t ring_load32(const uint32_t *at) { return __atomic_load_n(at, __ATOMIC_ACQUIRE); }
    static inline void ring_store32(uint32_t *at, uint32_t v) { __atomic_store_n(at, v, __ATOMIC_SEQ_CST); }
    static inline uint32_t ring_take32(uint32_t *at) { return __atomic_exchange_n(at, 0, __ATOMIC_SEQ_CST); }
    static inline void ring_fence(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
    #if defined(__x86_64__) || defined(__i386__)
    static inline void ring_pause(void) { __builtin_ia32_pause(); }
    #elif defined(__aarch64__)
    static inline void ring_pause(void) { __asm__ volatile("yield"); }
    #else
    static inline void ring_pause(void) { }
    #endif
    """
    uint64_t ring_load(const uint64_t *at) noexcept nogil
    void ring_store(uint64_t *at, uint64_t value) noexcept nogil
    uint32_t ring_load32(const uint32_t *at) noexcept nogil
    void ring_store32(uint32_t *at, uint32_t value) noexcept nogil
    uint32_t ring_take32(uint32_t *at) noexcept nogil
    void ring_fence() noexcept nogil
    void ring_pause() noexcept nogil


cdef enum:
    KIND_PAD = 0       # fills the end of the data area; only its length means anything
    HEADER_BYTES = 16  # sizeof(RecordHeader)

cdef struct RecordHeader:   # table in capture/records.py, RECORD_HEADER
    uint32_t length
    uint32_t kind
    uint64_t sequence

cdef struct ProducerLine:   # one cache line, written by the producer alone
    uint64_t head           # bytes ever written and published
    uint64_t records        # records ever published
    uint64_t stalls         # times the producer found no room and waited
    uint64_t high_water     # most bytes ever in use
    uint64_t dropped        # records that the producer gave up for want of room
    uint32_t closed         # 1: nothing more will come
    uint32_t waiting        # 1: asleep on the space event; taken back by the consumer who rings it
    uint64_t wanted         # rings once tail reaches this
    uint64_t reserved

cdef struct ConsumerLine:   # one cache line, written by the consumer alone
    uint64_t tail           # bytes ever released
    uint64_t reserved_a
    uint64_t reserved_b
    uint64_t reserved_c
    uint64_t reserved_d
    uint64_t reserved_e
    uint32_t waiting        # 1: asleep on the data event; taken back by the producer who rings it
    uint32_t reserved_f
    uint64_t reserved_g


cdef inline size_t padded(size_t n) noexcept nogil:
    """Round n up to the 8-byte alignment of records."""
    return (n + 7) & ~<size_t>7


cdef class Ring:
    cdef Memory memory
    cdef uint8_t* data            # borrowed, like the next two: inside memory
    cdef ProducerLine* front
    cdef ConsumerLine* back
    cdef readonly uint64_t capacity
    cdef readonly int data_fd     # owned eventfd: the producer rings, the consumer sleeps
    cdef readonly int space_fd    # owned eventfd: the consumer rings, the producer sleeps


cdef class Producer:
    cdef readonly Ring ring
    cdef uint8_t* data            # borrowed, like the next two: ring's, alive while we hold it
    cdef ProducerLine* front
    cdef ConsumerLine* back
    cdef uint64_t capacity
    cdef uint64_t head            # ours, ahead of front.head by what is committed but not published
    cdef uint64_t tail            # last tail seen
    cdef uint64_t pad             # bytes to fill before the record reserved, once that is committed
    cdef readonly uint64_t sequence   # records ever committed
    cdef Counters lives           # keeps what `pulse` borrows
    cdef uint64_t* pulse          # grows while room is waited for; NULL: nobody wants to know
    cdef uint8_t* try_reserve(self, size_t payload) noexcept nogil
    cdef void commit(self, uint32_t kind, size_t payload) noexcept nogil
    cdef void publish(self) noexcept nogil
    cdef uint8_t* reserve(self, size_t payload) noexcept nogil
    cdef uint64_t tail_for(self, size_t payload, uint64_t least) noexcept nogil
    cdef bint ask(self, uint64_t tail) noexcept nogil
    cdef void sleep(self, uint64_t until_tail, int timeout_ms) noexcept nogil


cdef class Consumer:
    cdef readonly Ring ring
    cdef uint8_t* data            # borrowed, like the next two: ring's, alive while we hold it
    cdef ProducerLine* front
    cdef ConsumerLine* back
    cdef uint64_t capacity
    cdef const RecordHeader* next_record(self, uint64_t* cursor, uint64_t head) noexcept nogil
    cdef uint64_t published(self) noexcept nogil
    cdef void release_to(self, uint64_t position) noexcept nogil
