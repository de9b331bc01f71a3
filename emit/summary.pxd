"""C face of what is summed up of a replay: for an output that knows its requests by record."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from capture.memory cimport Memory
from emit.endpoint cimport NAME_BYTES
from emit.fields cimport Text
from emit.histogram cimport BUCKETS
from emit.index cimport Index


cdef enum:
    OPEN = 131072            # requests known by id at a time; a power of two
    ENDPOINTS = 1001         # the first stands for all that came after so many
    PAIRS = 48               # of statuses, of one endpoint
    REASONS = 16
    REASON_BYTES = 48
    NAMES = 2048             # of the index of endpoints; a power of two

cdef enum State:             # bits: what is known of a request
    SENT = 1
    ORIGINAL = 2
    ANSWERED = 4
    FAILED = 8

cdef struct Request:         # the tables of these are in emit/summary.pyx
    uint64_t id
    int64_t first_ns
    int64_t last_ns
    uint64_t original_bytes
    uint16_t endpoint
    uint16_t original
    uint16_t replayed
    uint16_t known

cdef struct Pair:
    uint64_t count
    uint16_t original
    uint16_t replayed
    uint32_t reserved

cdef struct Endpoint:
    uint64_t requests
    uint64_t answered
    uint64_t originals
    uint64_t original_bytes
    uint64_t answered_bytes
    uint64_t more_pairs
    uint64_t[REASONS] failed
    Pair[PAIRS] pairs
    uint16_t name_size
    uint8_t[NAME_BYTES] name
    uint64_t[BUCKETS] original_ns
    uint64_t[BUCKETS] answered_ns

cdef struct Page:
    uint64_t opened
    uint64_t endpoints
    uint64_t unknown
    uint64_t reserved
    uint8_t[REASONS][REASON_BYTES] reasons
    uint64_t[BUCKETS] late_ns
    Request[OPEN] requests
    Endpoint[ENDPOINTS] each


cdef class Summary:
    cdef readonly Memory memory
    cdef Page* page                          # borrowed: in memory
    cdef Index index                         # owned: freed in __dealloc__; of page.requests
    cdef uint16_t[NAMES] names               # endpoint + 1 by hash of its name, linear probing; 0: free
    cdef Request* find(self, uint64_t id, bint begins, bint make) noexcept nogil
    cdef size_t place(self, const uint8_t* name, size_t size) noexcept nogil
    cdef uint16_t endpoint(self, const uint8_t* name, size_t size) noexcept nogil
    cdef void count_original(self, Request* request) noexcept nogil
    cdef void compare(self, Request* request) noexcept nogil
    cdef void note_sent(self, uint64_t id, Text method, Text target, int64_t first_ns) noexcept nogil
    cdef void note_original(self, uint64_t id, uint16_t status, int64_t last_ns, uint64_t size) noexcept nogil
    cdef void note_answered(self, uint64_t id, uint16_t status, uint64_t size, int64_t ns) noexcept nogil
    cdef void note_failed(self, uint64_t id, size_t reason) noexcept nogil
    cdef void note_late(self, int64_t ns) noexcept nogil
    cdef object total(self, size_t number)
