"""Reads KIND_FRAMES payloads back, in plain Python: the oracle of everything that writes them."""

from collections.abc import Iterable
from typing import NamedTuple

from capture.records import BATCH_HEADER, FRAME_ENTRY, KIND_FRAMES, ROUTED
from capture.ring import Consumer, Ring
from capture.sources import FrameSource


class Got(NamedTuple):
    """One frame as the assembler will see it."""

    ts_ns: int
    data: bytes
    link: int
    source: int


def unpack(payload: bytes | memoryview) -> tuple[int, list[Got]]:
    """Return the number of the first frame and the frames of one payload, after checking its layout."""
    frames, routed, first = BATCH_HEADER.unpack_from(payload)
    assert frames >= 1
    assert routed == 0
    base = BATCH_HEADER.size + frames * FRAME_ENTRY.size
    got, end = [], 0
    for at in range(frames):
        ts_ns, offset, caplen, wirelen, link, source = FRAME_ENTRY.unpack_from(
            payload, BATCH_HEADER.size + at * FRAME_ENTRY.size
        )
        assert offset == end
        assert wirelen == 0
        end = offset + caplen
        assert base + end <= len(payload)
        got.append(Got(ts_ns, bytes(payload[base + offset : base + end]), link, source))
    assert len(payload) - base - end in range(8)
    return first, got


def unpack_all(payloads: Iterable[bytes]) -> list[Got]:
    """Return the frames of all payloads, after checking that they are numbered without a gap."""
    frames: list[Got] = []
    for payload in payloads:
        first, got = unpack(payload)
        assert first == len(frames) + 1
        frames += got
    return frames


def read(*paths: object, **options: object) -> tuple[list[Got], list[str], dict[str, int]]:
    """Read inputs to their end; return frames, warnings and counters, after checking that these agree."""
    with FrameSource([str(path) for path in paths], **options) as source:  # type: ignore[arg-type]
        frames = unpack_all(source.payloads())
        counters = source.counters.as_dict()
    assert counters["frames_captured"] == len(frames)
    assert counters["bytes_captured"] == sum(len(frame.data) for frame in frames)
    assert counters["files_cut"] == len(source.warnings)
    assert counters["files_read"] == len(paths)
    return frames, source.warnings, counters


def pairs(frames: Iterable[Got]) -> list[tuple[int, bytes]]:
    """Return time and bytes only."""
    return [(frame.ts_ns, frame.data) for frame in frames]


def routed(ring: Ring) -> list[list[Got]]:
    """Take the ROUTED records out of a lane's ring, after checking their layout."""
    consumer, out = Consumer(ring), []
    while (record := consumer.read(consumer.tail)) is not None:
        kind, view, position = record
        frames, flag, first = BATCH_HEADER.unpack_from(view)
        assert (kind, flag, first) == (KIND_FRAMES, ROUTED, 0)
        out.append(unpack(BATCH_HEADER.pack(frames, 0, first) + bytes(view[BATCH_HEADER.size :]))[1])
        consumer.release(position)
    return out
