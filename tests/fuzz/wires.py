"""Frames and batches in a few microseconds each: Ethernet, IPv4, TCP without checksums, between two fixed addresses.

In: what a segment says.  Out: a batch as the frame ring carries it, or single frames.  Invariant: what is built is
what tests/packets.py builds, but for checksums and padding.
"""

import struct
from dataclasses import dataclass, field
from typing import Final

from capture.records import BATCH_HEADER, FRAME_ENTRY

CLIENT: Final = bytes((192, 0, 2, 1))
SERVER: Final = bytes((192, 0, 2, 2))
SERVER_PORT: Final = 80
CLIENT_PORTS: Final = range(40000, 40004)
START_NS: Final = 1_700_000_000_000_000_000

BEFORE_LENGTH: Final = bytes.fromhex("020000000002 020000000001 0800 4500")
FRAME: Final = struct.Struct("!16sH20sIIBB6s")
"""Ethernet and IPv4 up to the total length; the length; the rest up to the ports; TCP from the sequence number on."""

ENDS: Final = {
    (port, from_client): bytes.fromhex("0000 0000 40 06 0000")
    + (CLIENT + SERVER if from_client else SERVER + CLIENT)
    + (struct.pack("!HH", port, SERVER_PORT) if from_client else struct.pack("!HH", SERVER_PORT, port))
    for port in CLIENT_PORTS
    for from_client in (True, False)
}
"""What stands between the total length and the sequence number, by client port and direction."""


@dataclass(slots=True)
class Segment:
    """One TCP segment to be captured."""

    ts_ns: int
    port: int
    from_client: bool
    seq: int
    ack: int
    flags: int
    data: bytes

    @property
    def sport(self) -> int:
        """The sender's port."""
        return self.port if self.from_client else SERVER_PORT

    @property
    def dport(self) -> int:
        """The receiver's port."""
        return SERVER_PORT if self.from_client else self.port

    def frame(self) -> bytes:
        """Build its frame."""
        ends = ENDS[self.port, self.from_client]
        head = (self.seq & 0xFFFFFFFF, self.ack & 0xFFFFFFFF, 0x50, self.flags, b"\xfa\xf0\0\0\0\0")
        return FRAME.pack(BEFORE_LENGTH, 40 + len(self.data), ends, *head) + self.data


@dataclass(slots=True)
class Tape:
    """Segments in capture order."""

    segments: list[Segment] = field(default_factory=list)

    def frames(self) -> list[tuple[int, bytes]]:
        """Give them as frames with their time."""
        return [(segment.ts_ns, segment.frame()) for segment in self.segments]

    def batch(self) -> bytes:
        """Give them as one batch."""
        return batch(self.frames())


def batch(frames: list[tuple[int, bytes]], link: int = 1) -> bytes:
    """Lay frames out as a batch (capture.records)."""
    entries, at = [BATCH_HEADER.pack(len(frames), 0, 1)], 0
    for ts_ns, data in frames:
        entries.append(FRAME_ENTRY.pack(ts_ns, at, len(data), len(data), link, 0))
        at += len(data)
    entries += [data for _, data in frames]
    return b"".join(entries)
