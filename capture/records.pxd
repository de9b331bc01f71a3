"""The frame batch as C structs; the tables are in capture/records.py, which the compiled modules check."""

from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t


cdef enum:
    KIND_FRAMES = 1
    KIND_MESSAGE = 2
    KIND_CLOCK = 3
    ROUTED = 1
    LINK_CLOCK = 0xFFFF
    LINK_MADE = 0xFFFE
    LINK_SHIFT = 0xFFFD

cdef struct BatchHeader:
    uint32_t frames
    uint32_t routed
    uint64_t first

cdef struct FrameEntry:
    int64_t ts_ns
    uint32_t offset
    uint32_t caplen
    uint32_t wirelen
    uint16_t link
    uint16_t source
