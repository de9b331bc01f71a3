"""Which lane a frame belongs to: the capture asks, and does not know what a flow is.

In: batches as a merger has gathered them.  Out: calls of `take`, which puts each frame into a lane.  Invariant: every
frame is taken once, in its order.
"""

from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memcpy

from capture.frames cimport Merger, Segment
from capture.lanes cimport Lanes
from capture.records cimport FrameEntry


cdef class Route:
    """This one sends every frame to lane 0.  Subclasses say better, and travel to a child by `__reduce__`."""

    cdef void take(self, Lanes lanes, const FrameEntry* entry, const uint8_t* frame) noexcept nogil:
        """Put one frame where it belongs; its bytes are borrowed for the call."""
        memcpy(lanes.add(0, entry, entry.link, entry.caplen), frame, entry.caplen)

    cdef void pass_time(self, Lanes lanes, int64_t ts_ns) noexcept nogil:
        """Let every lane know that time has come as far as this, though no frame came."""
        lanes.tell_time(ts_ns)

    cdef void end(self) noexcept nogil:
        """Deal with what is still held: no more frames will come."""

    def begin(self):
        """Forget what a process that was killed had counted: all frames are sent anew."""

    def send(self, Merger merger not None, Lanes lanes not None):
        """Send the batch that a merger has gathered into the lanes, and have it begin the next one.

        No frame may be larger than `lanes.largest` allows for.
        """
        cdef const FrameEntry* entry = merger.entries
        cdef const Segment* piece = merger.segments
        cdef size_t begin = 0          # of the piece, among the bytes of the batch
        cdef size_t _index
        with nogil:
            for _index in range(merger.frames):
                while entry.offset + <size_t>entry.caplen > begin + piece.size:
                    begin += piece.size
                    piece += 1
                self.take(lanes, entry, piece.at + (entry.offset - begin))
                entry += 1
            lanes.end_turn()
        merger.reset()

    def tick(self, Lanes lanes not None, int64_t ts_ns):
        """Let time pass in every lane, and hand over what there is."""
        self.pass_time(lanes, ts_ns)
        lanes.flush()

    def finish(self):
        """Say that no more frames will come."""
        self.end()
