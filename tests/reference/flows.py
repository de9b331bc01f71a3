"""Segments to flows, and the segments of each half to a stream of bytes with holes.

In: segments in capture order.  Out: flows of two halves, and a `Stream` per half in which every byte is the
one seen first at its place, whatever came when.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import compress
from typing import Final

from reference.decode import Segment

End = tuple[bytes, int]  # address and port
LATE_SYN_BYTES: Final = 1 << 24  # a SYN so far below the first data seen still belongs to it
WILD_BYTES: Final = 1 << 27  # a segment this far from its neighbours is not of this stream


def distance(start: int, end: int) -> int:
    """Signed bytes from one 32-bit sequence number to another."""
    return (end - start + 2**31) % 2**32 - 2**31


@dataclass
class Half:
    """All segments one end sent in one connection, each with a 64-bit offset from the first one seen."""

    placed: list[tuple[int, Segment]] = field(default_factory=list)
    isn_offset: int | None = None  # where the SYN itself stands: the first byte of data follows it
    isn: int = 0
    fin: bool = False
    rst: bool = False

    def place(self, segment: Segment) -> int:
        """Widen the segment's sequence number to the offset of its first data byte."""
        seq = segment.seq + 1 if segment.syn else segment.seq
        if not self.placed:
            return 0
        offset, last = self.newest()
        return offset + distance(last.seq + 1 if last.syn else last.seq, seq)

    def newest(self) -> tuple[int, Segment]:
        """Give the last segment seen and its offset; a RST, which may be forged anywhere, only if there is no other."""
        return next((seen for seen in reversed(self.placed) if not seen[1].rst), self.placed[-1])

    def add(self, segment: Segment) -> None:
        """Take a segment of this half."""
        offset = self.place(segment)
        self.placed.append((offset, segment))
        if segment.syn and self.isn_offset is None:
            self.isn_offset, self.isn = offset - 1, segment.seq
        self.fin |= segment.fin
        self.rst |= segment.rst

    def low(self) -> int:
        """Give the lowest offset seen."""
        return min(offset for offset, _ in self.placed)


@dataclass
class Flow:
    """One connection: its two halves by the end that sends."""

    halves: dict[End, Half] = field(default_factory=dict)

    def closed(self) -> bool:
        """Tell whether both ends have finished, or one has reset."""
        halves = self.halves.values()
        return any(half.rst for half in halves) or (len(halves) == 2 and all(half.fin for half in halves))

    def replaced_by(self, segment: Segment) -> bool:
        """Tell whether this segment is the SYN of another connection between the same ends."""
        half = self.halves.get((segment.src, segment.sport))
        if not segment.syn:
            return False
        if half is None or not half.placed:
            acks = (seen.ack for peer in self.halves.values() for _, seen in peer.placed if seen.has_ack)
            behind = next((distance((segment.seq + 1) % 2**32, ack) for ack in acks), LATE_SYN_BYTES)
            return behind < 0 or (self.closed() and not segment.has_ack and behind >= LATE_SYN_BYTES)
        if half.isn_offset is not None:
            return segment.seq != half.isn
        return not half.low() - LATE_SYN_BYTES < half.place(segment) <= half.low()


def group(segments: Iterable[Segment]) -> list[Flow]:
    """Sort segments into flows; a SYN with a number of its own begins another."""
    current: dict[frozenset[End], Flow] = {}
    flows: list[Flow] = []
    for segment in segments:
        ends = (segment.src, segment.sport), (segment.dst, segment.dport)
        key = frozenset(ends)
        flow = current.get(key)
        if flow is None or flow.replaced_by(segment):
            flow = current[key] = Flow()
            flows.append(flow)
        half = flow.halves.setdefault(ends[0], Half())
        flow.halves.setdefault(ends[1], Half())
        half.add(segment)
    return flows


class Stream:
    """The bytes of one half from offset 0; a byte that no frame carried is a hole."""

    def __init__(self, half: Half, peer: Half) -> None:
        """Join what the half sent; the peer's acknowledgements tell of bytes that were not captured."""
        self.synced = half.isn_offset is not None
        with_data = [(at, seg) for at, seg in half.placed if seg.data]
        base = half.isn_offset + 1 if half.isn_offset is not None else min((at for at, _ in with_data), default=0)
        near = [(at - base, seg) for at, seg in with_data if abs(at - base) < WILD_BYTES]
        fins = [at - base + len(seg.data) + seg.cut for at, seg in half.placed if seg.fin]
        self.finished = bool(fins)
        seen = max((at + len(seg.data) for at, seg in near), default=0)
        acknowledged = self._acknowledged(half, peer, base)
        told = acknowledged if acknowledged > seen + 1 else 0  # one more may be a FIN, which is no byte
        self.end = max(fins[0], 0) if fins else max(seen, told, 0)
        self.data = bytearray(self.end)
        self.there = bytearray(self.end)  # 1: some frame carried this byte
        self.carrier: list[Segment | None] = [None] * self.end
        for at, segment in near:
            self._keep_first(at, segment)
        self.base_seq = self._base_seq(half, base)

    def _keep_first(self, at: int, segment: Segment) -> None:
        start, end = max(at, 0), min(at + len(segment.data), self.end)
        while 0 <= (start := self.there.find(0, start, end)) < end:
            stop = self._until(1, start, end)
            self.data[start:stop] = segment.data[start - at : stop - at]
            self.carrier[start:stop] = [segment] * (stop - start)
            self.there[start:stop] = b"\1" * (stop - start)

    def _until(self, there: int, at: int, end: int) -> int:
        """Give where bytes that are there (1), or a hole (0), next begin; `end` if nowhere before it."""
        found = self.there.find(there, at, end)
        return end if found < 0 else found

    @staticmethod
    def _acknowledged(half: Half, peer: Half, base: int) -> int:
        if not half.placed:
            return 0
        at, last = half.newest()
        acks = (segment.ack for _, segment in peer.placed if segment.has_ack)
        ends = (at + distance(last.seq + last.syn, ack) - base for ack in acks)
        return max((end for end in ends if end < WILD_BYTES), default=0)

    @staticmethod
    def _base_seq(half: Half, base: int) -> int:
        if not half.placed:
            return 0
        at, segment = half.placed[0]
        return (segment.seq + segment.syn - (at - base)) % 2**32

    def seq(self, at: int) -> int:
        """Give the 32-bit sequence number of an offset."""
        return (self.base_seq + at) % 2**32

    def run_end(self, at: int) -> int:
        """Give where the bytes that follow each other from `at` on end; `at` itself if there are none."""
        return self._until(0, at, self.end) if at < self.end else at

    def hole_end(self, at: int) -> int:
        """Give where the hole that begins at `at` ends; `at` itself if there is none."""
        return self._until(1, at, self.end) if at < self.end else at

    def present(self, start: int, end: int) -> bytes:
        """Give the bytes of a range that are there, joined."""
        return bytes(compress(self.data[start:end], self.there[start:end]))

    def missing(self, start: int, end: int) -> int:
        """Count the bytes of a range that are in holes."""
        return self.there[start:end].count(0)

    def runs(self) -> Iterator[tuple[int, int]]:
        """Walk the ranges without holes."""
        at = 0
        while (at := self.hole_end(at)) < self.end:
            yield at, self.run_end(at)
            at = self.run_end(at)
