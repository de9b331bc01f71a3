"""C face of the assembler: batches of frames in, messages in the sink."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint64_t

from assemble.clock cimport Clock
from assemble.decode cimport Decoder, Packet
from assemble.http1 cimport Http1Framer
from assemble.reassembly cimport Reassembler
from assemble.selection cimport Selection
from assemble.sink cimport MessageSink
from capture.counters cimport Counters


cdef enum:
    AHEAD = 16                  # packets that are decoded before the first of them is taken: see take_ready


cdef class Assembler:
    cdef readonly Counters page
    cdef readonly MessageSink sink
    cdef Decoder decoder
    cdef Reassembler reassembler
    cdef Http1Framer framer
    cdef uint64_t* tally        # borrowed from page
    cdef Selection selection
    cdef bint selected_anew     # a connection may be known that the sample leaves out by now
    cdef Packet[16] ready       # AHEAD packets: decoded, not taken yet; their frames are still there
    cdef size_t ready_count
    cdef Clock clock
    cdef void take_frame(self, const uint8_t* frame, size_t caplen, uint16_t link, int64_t ts_ns) noexcept nogil
    cdef void take_packet(self, Packet* packet) noexcept nogil
    cdef void take_ready(self) noexcept nogil
    cdef int64_t look(self, int64_t ts_ns) noexcept nogil
    cdef void tick(self, int64_t now_ns) noexcept nogil
    cdef void pass_time(self, int64_t ts_ns) noexcept nogil
    cdef bint take_clock(self, const uint8_t* clock, size_t size) noexcept nogil
    cdef bint take_routed(self, const uint8_t* data, size_t size, uint16_t link, int64_t ts_ns) noexcept nogil
    cdef void take_rare(self, const uint8_t* frame, size_t caplen, uint16_t link, int64_t ts_ns) noexcept with gil
    cdef bint take_batch(self, const uint8_t* batch, size_t size) noexcept nogil
