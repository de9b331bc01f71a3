"""What capture writes into the frame ring, to the byte; all fields little-endian on the machines we run on.

In: nothing.  Out: the layouts, which the compiled modules check at import against their own.
"""

import struct
from typing import Final

RECORD_HEADER: Final = struct.Struct("<IIQ")
"""Header of every ring record; the payload follows.

at 0, 4 bytes   length     header, payload and padding together; a multiple of 8
at 4, 4 bytes   kind       what the payload is; 0 is padding at the end of the ring, without a sequence number
at 8, 8 bytes   sequence   counts the records of this ring from 0
"""

KIND_FRAMES: Final = 1
KIND_MESSAGE: Final = 2
KIND_CLOCK: Final = 3

CLOCK: Final = struct.Struct("<q")
"""A KIND_CLOCK payload, which a live source sends while the wire is silent.

at 0, 8 bytes   ts_ns      time has come as far as this, in nanoseconds since the epoch
"""

BATCH_HEADER: Final = struct.Struct("<IIQ")
"""Start of a KIND_FRAMES payload; `frames` entries of FRAME_ENTRY follow, then the frames' bytes.

at 0, 4 bytes   frames     number of entries, at least 1
at 4, 4 bytes   routed     0: every frame of the run, as captured; ROUTED: one lane's share, from capture/route.pyx
at 8, 8 bytes   first      number of the first frame in this run, from 1; ROUTED: what LINK_SHIFT said last, at first 0
"""

ROUTED: Final = 1

FRAME_ENTRY: Final = struct.Struct("<qIIIHH")
"""One frame.  Source: pcap_pkthdr, pcap(3PCAP).

at 0,  8 bytes   ts_ns     nanoseconds since the epoch, from the capture, never from our clock
at 8,  4 bytes   offset    where its bytes begin, counted from the end of the entry table
at 12, 4 bytes   caplen    bytes present
at 16, 4 bytes   wirelen   bytes on the wire; 0: the source does not tell, the IP header has to
at 20, 2 bytes   link      link type, a LINKTYPE_ value (pcap-linktype(7))
at 22, 2 bytes   source    which of the run's inputs it came from, from 0
"""

LINK_CLOCK: Final = 0xFFFF
"""Link of a ROUTED entry without bytes: in the run as a whole, time for timers has come as far as `ts_ns` here."""
LINK_MADE: Final = 0xFFFE
"""Link of a ROUTED entry that is not a frame, but what the route made of several, in a layout of its own."""
LINK_SHIFT: Final = 0xFFFD
"""Link of a ROUTED entry without bytes: from here on, `ts_ns` is what is added to the time of a frame for timers."""

CAPTURE_COUNTERS: Final = (
    "frames_captured",  # read from the source, whatever became of them
    "bytes_captured",  # their captured lengths
    "frames_dropped_kernel",  # ps_drop of pcap_stats(3PCAP)
    "frames_dropped_interface",  # ps_ifdrop
    "frames_dropped_ring",  # live only: no room in the frame ring
    "bytes_dropped_ring",
    "batches",  # records written to the frame ring
    "files_read",  # read to their end, or to where they were cut
    "files_cut",  # ended in the middle of a frame
    "bytes_read",  # of the input files, for progress
    "bytes_total",  # size of the input files together, 0: not known
    "interfaces_opened",  # live only: how often one was taken up
    "interfaces_now",  # open interfaces, a level
    "order_now",  # number of the newest order that is wholly in force
    "cpu_ms",  # of the capture process, live only
    "frames_lost",  # live only: a process that was killed had read them and not handed them over
    "blind_ms",  # live only: between the death of a process and the next one's first look, once for all lanes
    "frames_aborted",  # that lay in its rings, or that it had in its hands, when the run was aborted
)
"""The counters of a capture process, in the order of its page."""

SHOWN_COUNTERS: Final = ("now", "position_0", "amount_0", "position_1", "amount_1", "alive_ms")
"""What a capture leaves to its successor, for each ring: how many frames are in it (capture/marks.pyx); and when a live
one last lived, by CLOCK_MONOTONIC."""
