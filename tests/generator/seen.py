"""What was captured of one side's stream, to the byte.

In: the captured frames of a side.  Out: which bytes are there, which frame carried each first, where the holes are.
"""

from bisect import bisect_left
from collections.abc import Iterable

import packets

from generator.tap import Captured


class Seen:
    """What was captured of one side's stream: which frame carried each byte first."""

    def __init__(self, length: int, frames: Iterable[Captured]) -> None:
        """Take the frames of one side in capture order."""
        self.content = bytearray(length)
        self.map = bytearray(length)
        runs: list[tuple[int, int, Captured]] = []
        self.fin = self.reset = False
        self.syns: set[int] = set()  # packets.ACK: a SYN ACK was captured, 0: a SYN without
        for c in frames:
            p = c.passing
            self.fin |= bool(p.flags & packets.FIN)
            self.reset |= bool(p.flags & packets.RST) and p.at == length
            if p.flags & packets.SYN:
                self.syns.add(p.flags & packets.ACK)
            start = p.at + bool(p.flags & packets.SYN)
            end = start + len(c.data)
            at = start
            while (at := self.map.find(0, at, end)) >= 0:
                stop = self.map.find(1, at, end)
                stop = end if stop < 0 else stop
                runs.append((at, stop, c))
                self.content[at:stop] = c.data[at - start : stop - start]
                self.map[at:stop] = b"\1" * (stop - at)
                at = stop
        self.runs = sorted(runs, key=lambda r: r[0])
        self.ends = [r[1] for r in self.runs]

    def carriers(self, start: int, end: int) -> list[Captured]:
        """Give the frames that carried a range first, in stream order."""
        out = []
        for at, _, c in self.runs[bisect_left(self.ends, start + 1) :]:
            if at >= end:
                break
            out.append(c)
        return out

    def whole(self, start: int, end: int) -> bool:
        """Tell whether every byte of a range was captured."""
        return self.map.find(0, start, end) < 0

    def first_hole(self, start: int, end: int) -> int:
        """Give where the first byte of a range that was not captured is; `end` if there is none."""
        at = self.map.find(0, start, end)
        return end if at < 0 else at

    def holes(self, start: int, end: int) -> list[tuple[int, int]]:
        """Give the holes that touch a range, not cut to it."""
        out = []
        at = start
        while (at := self.map.find(0, at, end)) >= 0:
            stop = self.map.find(1, at)
            stop = len(self.map) if stop < 0 else stop
            out.append((at, stop))
            at = stop
        return out

    def present(self, start: int, end: int) -> bytes:
        """Give the bytes of a range that were captured, joined."""
        out, at = [], start
        while (at := self.map.find(1, at, end)) >= 0:
            stop = self.first_hole(at, end)
            out.append(bytes(self.content[at:stop]))
            at = stop
        return b"".join(out)
