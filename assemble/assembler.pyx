"""The assembler: frames to messages, in the caller's process or behind a ring.

In: frames with their packet time and link type.  Out: messages in the sink, counts in the page of counters.
Invariant: time is the packets' alone; the same frames give the same messages however they are batched.  Where a route
(assemble/route.pyx) has split the flows over several assemblers, it says when timers are looked at.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from assemble.clock cimport SHIFT_MOST_NS, TICK_NS, come_to, is_due, is_quiet, is_told, time_of
from assemble.decode cimport Decoder, Packet
from assemble.http1 cimport Http1Framer
from assemble.links cimport LINK_ETHERNET, is_rare
from assemble.reassembly cimport Reassembler
from assemble.selection cimport Selection
from assemble.sink cimport BufferSink, MessageSink
from assemble.tally cimport Tally, count
from capture.counters cimport Counters
from capture.frames cimport Merger, Segment
from capture.records cimport KIND_CLOCK, KIND_FRAMES, LINK_CLOCK, LINK_SHIFT, BatchHeader, FrameEntry
from capture.ring cimport HEADER_BYTES, Consumer, RecordHeader

from assemble.rare import strip
from assemble.tally import ASSEMBLE_COUNTERS
from capture.errors import MirrorError
from capture.records import BATCH_HEADER, FRAME_ENTRY


if sizeof(BatchHeader) != BATCH_HEADER.size or sizeof(FrameEntry) != FRAME_ENTRY.size:
    raise ImportError("assembler: the compiled frame layout differs from the table in capture/records.py")


cdef uint64_t frames_in(const RecordHeader* record) noexcept nogil:
    """Count the frames of a KIND_FRAMES record: what a route puts between them are none."""
    cdef const BatchHeader* header = <const BatchHeader*>(<const uint8_t*>record + HEADER_BYTES)
    cdef const FrameEntry* entry = <const FrameEntry*>(header + 1)
    cdef uint64_t frames = 0
    cdef uint32_t index
    if record.length < HEADER_BYTES + sizeof(BatchHeader) + <size_t>header.frames * sizeof(FrameEntry):
        return 0
    if not header.routed:
        return header.frames
    for index in range(header.frames):
        if entry[index].link != LINK_CLOCK and entry[index].link != LINK_SHIFT:
            frames += 1
    return frames


def count_frames(Consumer consumer not None):
    """Return how many frames lie in a frame ring that nobody reads any more."""
    cdef const RecordHeader* record
    cdef uint64_t position = consumer.tail
    cdef uint64_t head = consumer.published()
    cdef uint64_t frames = 0
    while True:
        record = consumer.next_record(&position, head)
        if record == NULL:
            return frames
        if record.kind == KIND_FRAMES:
            frames += frames_in(record)


cdef class Assembler:
    """Frames in, messages out; see `Settings` in assemble/settings.py for the parameters."""

    def __cinit__(self, settings, MessageSink sink=None, Counters counters=None):
        self.page = Counters(ASSEMBLE_COUNTERS) if counters is None else counters
        self.sink = BufferSink() if sink is None else sink
        self.tally = self.page.at
        self.decoder = Decoder(settings, self.page)
        self.framer = Http1Framer(self.sink, settings.max_message, settings.max_header, settings.responses)
        self.framer.tally = self.tally
        self.reassembler = Reassembler(
            self.framer, round(settings.gap_timeout_s * 1e9), round(settings.idle_timeout_s * 1e9), settings.memory)
        self.reassembler.tally = self.tally
        self.select(settings)
        self.selected_anew = False

    cdef void take_frame(self, const uint8_t* frame, size_t caplen, uint16_t link, int64_t ts_ns) noexcept nogil:
        """Decode one frame, count it as decoded or refused, and put its packet with those for `take_ready`."""
        cdef Packet* packet
        cdef Tally verdict
        cdef int64_t now_ns
        cdef bint joined
        if link != LINK_ETHERNET and is_rare(link):
            self.take_rare(frame, caplen, link, ts_ns)
            return
        now_ns = time_of(&self.clock, ts_ns)
        if not is_quiet(&self.clock, now_ns):
            now_ns = self.look(ts_ns)
        packet = &self.ready[self.ready_count]
        packet.ts_ns = ts_ns
        packet.now_ns = now_ns
        verdict = self.decoder.decode(frame, caplen, link, packet)
        if verdict != Tally.frames_decoded:
            count(self.tally, verdict, 1)
            return
        joined = packet.size and not frame <= packet.payload < frame + caplen
        self.take_packet(packet)
        if joined:
            self.take_ready()     # what was joined from fragments is there until the next frame

    cdef inline void take_packet(self, Packet* packet) noexcept nogil:
        """Take the packet in the first free place of `ready`, if it is wanted."""
        cdef Tally verdict
        if not self.selection.on_port(packet):
            count(self.tally, Tally.refused_port, 1)
            return
        self.reassembler.table.aim(packet)
        verdict = self.selection.judge(packet)
        if verdict != Tally.frames_decoded and not (
                verdict == Tally.refused_sampled and self.selected_anew
                and self.reassembler.table.find(packet) != NULL):
            count(self.tally, verdict, 1)
            return
        count(self.tally, Tally.frames_decoded, 1)
        self.ready_count += 1
        if self.ready_count == AHEAD:
            self.take_ready()

    cdef void take_ready(self) noexcept nogil:
        """Take the packets that are decoded.

        What each of them needs of its flow is on its way from memory while those before it are dealt with.
        """
        cdef size_t i
        for i in range(self.ready_count):
            self.reassembler.table.fetch(&self.ready[i])
        for i in range(self.ready_count):
            self.reassembler.take(&self.ready[i])
        self.ready_count = 0

    cdef int64_t look(self, int64_t ts_ns) noexcept nogil:
        """Look at the timers if it is time; return what time it is for them."""
        cdef int64_t now_ns = come_to(&self.clock, ts_ns)
        if is_due(&self.clock, now_ns):
            self.tick(now_ns)
        return now_ns

    cdef void tick(self, int64_t now_ns) noexcept nogil:
        """Look at all timers."""
        self.take_ready()
        self.reassembler.tick(now_ns)
        self.decoder.fragments.tick(now_ns)

    cdef void pass_time(self, int64_t ts_ns) noexcept nogil:
        """Look at the timers if it is time, though no frame came."""
        if is_told(&self.clock, &ts_ns):
            self.tick(ts_ns)
            self.sink.publish()

    cdef bint take_clock(self, const uint8_t* clock, size_t size) noexcept nogil:
        """Take a KIND_CLOCK payload; False if it is too short to be one."""
        cdef int64_t ts_ns
        if size < sizeof(ts_ns):
            return False
        memcpy(&ts_ns, clock, sizeof(ts_ns))
        self.pass_time(ts_ns)
        return True

    cdef bint take_routed(self, const uint8_t* data, size_t size, uint16_t link, int64_t ts_ns) noexcept nogil:
        """Take what a route has put between the frames of its lanes; False if it cannot be."""
        cdef Packet* packet = &self.ready[self.ready_count]
        if link == LINK_CLOCK:
            self.tick(ts_ns)
            self.clock.tick_ns = ts_ns + TICK_NS
            return True
        if link == LINK_SHIFT:
            self.clock.shift_ns = ts_ns
            return 0 <= ts_ns <= <int64_t>SHIFT_MOST_NS
        if size < sizeof(Packet):
            return False
        memcpy(packet, data, sizeof(Packet))
        if packet.size != size - sizeof(Packet):
            return False
        packet.payload = data + sizeof(Packet)
        self.take_packet(packet)
        return True

    cdef void take_rare(self, const uint8_t* frame, size_t caplen, uint16_t link, int64_t ts_ns) noexcept with gil:
        """Take what a frame of a rare link type carries: nothing, one packet or several."""
        cdef const uint8_t[::1] carried
        found = strip(link, frame[:caplen] if caplen else b"")   # no frame, no pointer
        if not found:
            count(self.tally, Tally.refused_link_header if found is None else Tally.refused_not_ip, 1)
            return
        count(self.tally, Tally.packets_aggregated, len(found) - 1)
        for carried in found:
            self.take_frame(&carried[0], carried.shape[0], LINK_ETHERNET, ts_ns)
        self.take_ready()

    cdef bint take_batch(self, const uint8_t* batch, size_t size) noexcept nogil:
        """Take a KIND_FRAMES payload; False if an entry points outside of it."""
        cdef const BatchHeader* header = <const BatchHeader*>batch
        cdef const FrameEntry* entry = <const FrameEntry*>(batch + sizeof(BatchHeader))
        cdef uint32_t index
        cdef size_t begin
        cdef bint valid = False
        if size < sizeof(BatchHeader):
            return False
        begin = sizeof(BatchHeader) + <size_t>header.frames * sizeof(FrameEntry)
        if begin > size:
            return False
        if header.routed:
            if header.first > <uint64_t>SHIFT_MOST_NS:
                return False
            self.clock.led = True
            self.clock.shift_ns = <int64_t>header.first
        for index in range(header.frames):
            if <size_t>entry[index].offset + entry[index].caplen > size - begin:
                break
            if header.routed and entry[index].link >= LINK_SHIFT:
                if not self.take_routed(batch + begin + entry[index].offset, entry[index].caplen, entry[index].link,
                                        entry[index].ts_ns):
                    break
                continue
            self.take_frame(batch + begin + entry[index].offset, entry[index].caplen, entry[index].link,
                            entry[index].ts_ns)
        else:
            valid = True
        self.take_ready()
        self.sink.publish()
        return valid

    def feed_frame(self, int64_t ts_ns, const uint8_t[::1] frame not None, uint16_t link=1):
        """Take one frame of shape (caplen,) captured at `ts_ns` (nanoseconds since the epoch)."""
        cdef const uint8_t* at = &frame[0] if frame.shape[0] else NULL
        cdef size_t size = frame.shape[0]
        with nogil:
            self.take_frame(at, size, link, ts_ns)
            self.take_ready()
            self.sink.publish()
        self.check()

    def feed_batch(self, const uint8_t[::1] batch not None):
        """Take a batch of frames, laid out as BATCH_HEADER in capture/records.py says."""
        cdef bint valid
        cdef size_t size = batch.shape[0]
        if size < sizeof(BatchHeader):
            raise ValueError("a batch of frames that is shorter than its header")
        with nogil:
            valid = self.take_batch(&batch[0], size)
        self.check()
        if not valid:
            raise ValueError("a batch of frames whose table points outside of it")

    def feed_merger(self, Merger merger not None):
        """Take the batch that a merger has gathered, where its frames lie, and have it begin the next one."""
        cdef const FrameEntry* entry = merger.entries
        cdef const Segment* piece = merger.segments
        cdef size_t begin = 0          # of the piece, among the bytes of the batch
        cdef size_t _index
        with nogil:
            for _index in range(merger.frames):
                while entry.offset + <size_t>entry.caplen > begin + piece.size:
                    begin += piece.size
                    piece += 1
                self.take_frame(piece.at + (entry.offset - begin), entry.caplen, entry.link, entry.ts_ns)
                entry += 1
            self.take_ready()
        merger.reset()
        self.check()

    def feed_ring(self, Consumer consumer not None, uint64_t position):
        """Take what is in a frame ring from `position` on, releasing each record; return the new position."""
        cdef const RecordHeader* record
        cdef uint64_t head = consumer.published()
        cdef bint valid = True
        with nogil:
            while valid:
                record = consumer.next_record(&position, head)
                if record == NULL:
                    break
                if record.kind == KIND_FRAMES:
                    self.sink.begin(position, frames_in(record))
                    valid = self.take_batch(<const uint8_t*>record + HEADER_BYTES, record.length - HEADER_BYTES)
                elif record.kind == KIND_CLOCK:
                    valid = self.take_clock(<const uint8_t*>record + HEADER_BYTES, record.length - HEADER_BYTES)
                consumer.release_to(position)
        self.check()
        if not valid:
            raise MirrorError("assembler: a record of the frame ring is damaged")
        return position

    def select(self, settings):
        """Take other packets from now on: ports, hosts, direction, exclusions and sample of these settings.

        A connection that a smaller sample would leave out is still followed to its end; `direction` is about those
        that are new.
        """
        self.selection = self.reassembler.selection = Selection(settings)
        self.selected_anew = True

    def finish(self):
        """End every flow: whatever is complete goes out whole, the rest as incomplete."""
        with nogil:
            self.reassembler.finish_all()
            self.decoder.fragments.finish()
            self.sink.publish()
        self.check()

    def check(self):
        """Raise MemoryError if a message could not be kept for want of memory."""
        if self.framer.out_of_memory or self.reassembler.out_of_memory:
            raise MemoryError("assembler: lower `assemble.memory`, or allow it more")
