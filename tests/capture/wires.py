"""Frames onto a device and off a tap, for the tests of live capture."""

import select
import socket
import struct
import time
from collections.abc import Sequence
from typing import Final

import packets as p

from capture.interfaces import Tap

DEADLINE_S: Final = 20.0
QUIET_MS: Final = 100  # ten times what a block takes to be handed over
META: Final = struct.Struct("=IIII")
MADE: Final = p.ethernet(b"")[6:12]
"""Sender of the frames that builders make: the kernel has things of its own to say, about IPv6 above all."""


def sender(device: str) -> socket.socket:
    """Open a socket whose `send` puts a whole frame onto a device."""
    out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    out.bind((device, 0))
    return out


def numbered(count: int, *, first: int = 0, port: int = 80, size: int = 100) -> list[bytes]:
    """Make frames that differ in their sequence number."""
    return [p.frame(p.Tcp(dport=port, seq=first + at, data=bytes(size))) for at in range(count)]


def send(out: socket.socket, frames: Sequence[bytes]) -> None:
    """Put frames onto the wire."""
    for frame in frames:
        out.send(frame)


def taken(tap: Tap, count: int) -> list[bytes]:
    """Wait for so many frames of ours, and see that no more of them come."""
    waiter = select.poll()
    waiter.register(tap.fileno(), select.POLLIN)
    deadline_s = time.monotonic() + DEADLINE_S
    got: list[bytes] = []
    while waiter.poll(QUIET_MS) or len(got) < count:
        got += split(*tap.read(1000))
        assert time.monotonic() < deadline_s, f"{len(got)} of {count} frames"
    return got


def split(data: bytes, meta: bytes) -> list[bytes]:
    """Take a batch apart; gives the frames of ours."""
    frames = [data[offset : offset + size] for _seconds, _fraction, offset, size in META.iter_unpack(meta)]
    return [frame for frame in frames if is_ours(frame)]


def is_ours(frame: bytes) -> bool:
    """Tell whether a test has made a frame, Ethernet or cooked."""
    return frame[6:12] == MADE
