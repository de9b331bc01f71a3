"""Capture files for tests: pcap and pcapng written, with microseconds or nanoseconds, and pcap read.

In: frames as (nanoseconds since the epoch, bytes).  Out: the bytes of a file, and back.
"""

import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

Frame = tuple[int, bytes]

MAGIC_US: Final = 0xA1B2C3D4
MAGIC_NS: Final = 0xA1B23C4D


def pcap(
    frames: Iterable[Frame], *, link: int = 1, order: str = "<", nanoseconds: bool = False, snap: int = 262144
) -> bytes:
    """Write a classic pcap file; frames longer than `snap` bytes are cut, and say so in their header."""
    out = [struct.pack(f"{order}IHHiIII", MAGIC_NS if nanoseconds else MAGIC_US, 2, 4, 0, 0, snap, link)]
    unit_ns = 1 if nanoseconds else 1000
    for ts_ns, data in frames:
        seconds, rest_ns = divmod(ts_ns, 1_000_000_000)
        kept = data[:snap]
        out += [struct.pack(f"{order}IIII", seconds, rest_ns // unit_ns, len(kept), len(data)), kept]
    return b"".join(out)


def _block(kind: int, body: bytes, order: str) -> bytes:
    body += bytes(-len(body) % 4)
    length = len(body) + 12
    return struct.pack(f"{order}II", kind, length) + body + struct.pack(f"{order}I", length)


def _option(code: int, value: bytes, order: str) -> bytes:
    return struct.pack(f"{order}HH", code, len(value)) + value + bytes(-len(value) % 4)


def pcapng(
    frames: Iterable[Frame], *, link: int = 1, order: str = "<", nanoseconds: bool = False, snap: int = 262144
) -> bytes:
    """Write a pcapng file of one section and interface, with options that readers must step over."""
    resolution = _option(9, b"\x09", order) if nanoseconds else b""
    end = _option(0, b"", order)
    out = [
        _block(
            0x0A0D0D0A,
            struct.pack(f"{order}IHHq", 0x1A2B3C4D, 1, 0, -1) + _option(1, b"a test", order) + end,
            order,
        ),
        _block(1, struct.pack(f"{order}HHI", link, 0, snap) + _option(2, b"lo", order) + resolution + end, order),
    ]
    unit_ns = 1 if nanoseconds else 1000
    for ts_ns, data in frames:
        units = ts_ns // unit_ns
        kept = data[:snap]
        head = struct.pack(f"{order}IIIII", 0, units >> 32, units & 0xFFFFFFFF, len(kept), len(data))
        out.append(_block(6, head + kept + bytes(-len(kept) % 4) + _option(1, b"frame", order) + end, order))
    return b"".join(out)


def write_pcap(path: Path, frames: Sequence[Frame], *, link: int = 1) -> Path:
    """Write frames to a classic pcap file at path, and give the path back."""
    path.write_bytes(pcap(frames, link=link))
    return path


def read_pcap(path: Path) -> tuple[int, list[Frame]]:
    """Read a classic pcap file of either byte order and resolution: link type and frames."""
    file = path.read_bytes()
    order = "<" if file[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1") else ">"
    magic, link = struct.unpack_from(f"{order}I16xI", file)
    unit_ns = 1 if magic == MAGIC_NS else 1000
    frames, at = [], 24
    while at + 16 <= len(file):
        seconds, fraction, size = struct.unpack_from(f"{order}III", file, at)
        frames.append((seconds * 1_000_000_000 + fraction * unit_ns, file[at + 16 : at + 16 + size]))
        at += 16 + size
    return link, frames
