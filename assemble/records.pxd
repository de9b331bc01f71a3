"""The message record as a C struct; the table is in assemble/records.py, which the compiled modules check."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef enum:
    KIND_MESSAGE = 2
    REQUEST = 1
    RESPONSE = 2
    REPLAYED = 3
    FLAG_COMPLETE = 1
    FLAG_INTERIM = 2
    FLAG_IPV6 = 4
    FLAG_OPENS = 8
    PART_BYTES = 1048560
    MESSAGE_HEADER_BYTES = 120

cdef struct MessageHeader:
    uint64_t id
    int64_t first_ns
    int64_t last_ns
    uint8_t[16] src
    uint8_t[16] dst
    uint16_t sport
    uint16_t dport
    uint8_t kind
    uint8_t flags
    uint16_t status
    uint32_t method_len
    uint32_t target_at
    uint32_t target_len
    uint32_t start_len
    uint64_t head_len
    uint64_t total
    uint64_t missing
    uint64_t offset
    uint32_t part
    uint32_t parts
