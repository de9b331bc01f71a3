"""Frames to lanes by flow: every lane gets whole flows, as the assembler's own decoder finds them.

In: all frames of a run.  Out: each lane's frames, and between them the times at which all timers are looked at.
Invariant: the assemblers behind any number of lanes make the messages that one alone would make of all the frames, and
count, together with what is counted here, the same.

- A flow is that of the innermost TCP segment, whatever is around it.  What does not decode goes to lane 0, which counts
  it.
- Timers run on packet time, and a lane does not see the frames of the others: each is told when an assembler of all
  frames would look at its timers, in its place between the lane's own frames; and so of what is added to the frames'
  times when the clock was set.
- Only one fragment of a datagram names the flow, and it may come last: datagrams are joined here, and what a whole one
  holds goes on decoded (LINK_MADE: a `Packet`, then its payload).  The fragments end here, and are counted here.
- A frame of a rare link type may carry packets of several flows: these go on one by one, as Ethernet frames.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from assemble.clock cimport come_to, is_due, is_quiet, is_told, time_of
from assemble.decode cimport Decoder, Packet
from assemble.flows cimport flow_hash
from assemble.fragments cimport LENT
from assemble.links cimport LINK_ETHERNET, is_rare
from assemble.tally cimport Tally, count
from capture.counters cimport Counters
from capture.lanes cimport Lanes
from capture.records cimport LINK_MADE, FrameEntry
from capture.route cimport Route

from assemble.rare import strip
from assemble.tally import ASSEMBLE_COUNTERS
from capture.lanes import LEAST_RECORD


if sizeof(Packet) + 65536 > LEAST_RECORD // 2 + LEAST_RECORD // 4:
    raise ImportError("route: a datagram does not fit into the smallest record of a lane")


cdef inline uint32_t lane(uint64_t hashed, uint32_t lanes) noexcept nogil:
    """Choose a lane: mixed once more, as the flow's worker within the lane is chosen by the same hash (sink.pyx)."""
    cdef uint64_t state = (hashed ^ <uint64_t>0x9E3779B97F4A7C15) * <uint64_t>0xBF58476D1CE4E5B9
    state = (state ^ (state >> 31)) * <uint64_t>0x94D049BB133111EB
    return <uint32_t>(((state >> 32) * lanes) >> 32)


cdef class FlowRoute(Route):
    """Sends frames to one of several lanes; its counters are part of the assemblers' sum."""

    def __cinit__(self, settings, uint32_t lanes, Counters counters=None):
        if lanes == 0:
            raise ValueError("at least one lane is needed")
        self.settings = settings
        self.count = lanes
        self.page = Counters(ASSEMBLE_COUNTERS) if counters is None else counters
        self.tally = self.page.at
        self.decoder = Decoder(settings, self.page)

    def __reduce__(self):
        return FlowRoute, (self.settings, self.count, self.page)

    def begin(self):
        for name in self.page.names:
            self.page.set(name, 0)

    cdef void take(self, Lanes lanes, const FrameEntry* entry, const uint8_t* frame) noexcept nogil:
        if entry.link != LINK_ETHERNET and is_rare(entry.link):
            self.take_rare(lanes, entry, frame)
        else:
            self.sort(lanes, entry, entry.link, frame, entry.caplen)

    cdef void sort(self, Lanes lanes, const FrameEntry* entry, uint16_t link, const uint8_t* frame,
                   size_t size) noexcept nogil:
        """Put one packet into the lane of its flow."""
        cdef Packet packet
        cdef Tally verdict
        cdef bint joined
        cdef uint32_t chosen = 0
        cdef uint8_t* room
        packet.ts_ns = entry.ts_ns
        packet.now_ns = time_of(&self.clock, entry.ts_ns)
        if not is_quiet(&self.clock, packet.now_ns):
            packet.now_ns = self.look(lanes, entry.ts_ns)
        verdict = self.decoder.decode(frame, size, link, &packet)
        joined = self.decoder.fragments.rows[<int>LENT].head != NULL
        if verdict == Tally.frames_decoded:
            chosen = lane(flow_hash(&packet), self.count)
        elif joined or verdict == Tally.fragments_held:
            count(self.tally, verdict, 1)
            return
        if joined:
            room = lanes.add(chosen, entry, LINK_MADE, sizeof(Packet) + packet.size)
            memcpy(room + sizeof(Packet), packet.payload, packet.size)
            packet.payload = NULL
            memcpy(room, &packet, sizeof(Packet))
        else:
            memcpy(lanes.add(chosen, entry, link, size), frame, size)

    cdef void pass_time(self, Lanes lanes, int64_t ts_ns) noexcept nogil:
        if is_told(&self.clock, &ts_ns):
            self.pass_on(lanes, ts_ns)

    cdef void pass_on(self, Lanes lanes, int64_t now_ns) noexcept nogil:
        """Have everybody look at the timers."""
        self.decoder.fragments.tick(now_ns)
        lanes.tell_time(now_ns)

    cdef int64_t look(self, Lanes lanes, int64_t ts_ns) noexcept nogil:
        """Tell the lanes that it is time to look at the timers, or what is added to the frames' times, or both."""
        cdef int64_t shift_ns = self.clock.shift_ns
        cdef int64_t now_ns = come_to(&self.clock, ts_ns)
        if self.clock.shift_ns != shift_ns:
            lanes.tell_shift(self.clock.shift_ns)
        if is_due(&self.clock, now_ns):
            self.pass_on(lanes, now_ns)
        return now_ns

    cdef void take_rare(self, Lanes lanes, const FrameEntry* entry, const uint8_t* frame) noexcept with gil:
        """Put what a frame of a rare link type carries into the lanes, or the frame itself if that is nothing."""
        cdef const uint8_t[::1] carried
        cdef size_t size = entry.caplen
        found = strip(entry.link, frame[:size] if size else b"")   # no frame, no pointer
        if not found:
            memcpy(lanes.add(0, entry, entry.link, size), frame, size)
            return
        count(self.tally, Tally.packets_aggregated, len(found) - 1)
        for carried in found:
            self.sort(lanes, entry, LINK_ETHERNET, &carried[0], carried.shape[0])

    cdef void end(self) noexcept nogil:
        """Give up the datagrams of which pieces are missing."""
        self.decoder.fragments.finish()


def lane_of(uint64_t hashed, uint32_t lanes):
    """Return the lane of a flow by its hash, for tests."""
    return lane(hashed, lanes)
