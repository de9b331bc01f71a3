"""What the supervisor tells a running child: a map of plain values, of which the newest counts.

In: maps, from one writer.  Out: each at most once per reader, if it was still the newest when that looked.  Invariant:
a reader never waits and never sees half a map; like a ring it is anonymous memory, so nothing is left behind.
"""

import os
import struct
import zlib
from typing import Any, Final

import msgpack

from capture.descriptor import Descriptor
from capture.errors import MirrorError

HEAD: Final = struct.Struct("<QII")
"""Start of the memory; the map follows, as msgpack.

at 0, 8 bytes   number    of the map, from 1; 0: none yet
at 8, 4 bytes   size      its bytes
at 12, 4 bytes  check     CRC-32 of number, size and bytes: a map that is being written does not match
"""
MOST_BYTES: Final = 1 << 20


class Orders(Descriptor):
    """One child's orders; travels to it by descriptor."""

    def __init__(self, fd: int = -1) -> None:
        super().__init__(os.memfd_create("ringtap-orders", os.MFD_CLOEXEC) if fd < 0 else fd)
        self.seen = 0  # number of the newest map given or taken

    def give(self, order: dict[str, Any]) -> None:
        """Replace whatever was not taken yet."""
        packed: bytes = msgpack.packb(order)
        if len(packed) > MOST_BYTES:
            raise MirrorError(f"orders: {len(packed)} bytes are too many, at most {MOST_BYTES} can be given")
        self.seen += 1
        os.pwrite(self.fd, HEAD.pack(self.seen, len(packed), _check(self.seen, packed)) + packed, 0)

    def take(self) -> dict[str, Any] | None:
        """Return the newest map, or None if it was taken already or is being written."""
        head = os.pread(self.fd, HEAD.size, 0)
        if len(head) < HEAD.size:
            return None
        number, size, check = HEAD.unpack(head)
        if number == self.seen or size > MOST_BYTES:
            return None
        packed = os.pread(self.fd, size, HEAD.size)
        if _check(number, packed) != check:
            return None
        self.seen = number
        order: dict[str, Any] = msgpack.unpackb(packed)
        return order


def _check(number: int, packed: bytes) -> int:
    return zlib.crc32(packed, zlib.crc32(HEAD.pack(number, len(packed), 0)))
