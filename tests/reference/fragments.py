"""Datagrams from their fragments by the reference: every piece looked at byte by byte, nothing bounded.

In: pieces as (ts_ns, src, dst, ident, protocol, offset, more, data, cut).  Out: for each what it completes, or None.
"""

from dataclasses import dataclass, field
from typing import Any, Final

MOST_BYTES: Final = 65535
REPEAT_NS: Final = 100_000_000

Piece = tuple[int, bytes, bytes, int, int, int, bool, bytes, int]
Whole = tuple[int, bytes, int]


@dataclass
class Datagram:
    """The pieces held under one key, and what was joined from them last."""

    since_ns: int
    bytes_at: dict[int, int | None] = field(default_factory=dict)  # None: cut by the capture
    length: int | None = None
    protocol: int = 0
    frames: int = 0
    whole: "Datagram | None" = None


@dataclass
class Joiner:
    """All datagrams; `places` says of each piece so far where it is: held, joined, refused or completed one."""

    timeout_ns: int
    held: dict[Any, Datagram] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=lambda: {"joined": 0, "refused": 0, "completed": 0})

    def take(self, piece: Piece) -> Whole | None:
        """Take one piece."""
        ts_ns, src, dst, ident, protocol, offset, more, data, cut = piece
        end = offset + len(data) + cut
        if offset == 0 and not more:
            self.counts["completed"] += 1
            return protocol, data, cut
        if end > MOST_BYTES or end == offset or offset % 8 or (more and end % 8):
            self.counts["refused"] += 1
            return None
        key = (src, dst, ident, protocol if len(src) == 4 else None)
        d = self.held.get(key)
        if d is not None and ts_ns - d.since_ns > (REPEAT_NS if d.whole else self.timeout_ns):
            self.give_up(key)
            d = None
        if d is not None and d.whole:
            if self._says_the_same(d.whole, piece, end):
                self.counts["joined"] += 1
                self._note(d, piece, end)
                if self._is_whole(d):
                    self.held[key] = Datagram(d.since_ns, whole=d.whole)
                return None
            d.whole, d.since_ns = None, ts_ns
        if d is not None and self._is_another(d, piece):
            self.give_up(key)
            d = None
        if d is None:
            d = self.held[key] = Datagram(ts_ns)
        if not self._fits(d, end, more):
            self.counts["refused"] += 1
            return None
        self._note(d, piece, end)
        if not self._is_whole(d):
            d.frames += 1
            return None
        self.counts["completed"] += 1
        self.counts["joined"] += d.frames
        self.held[key] = Datagram(ts_ns, whole=d)
        known = bytearray()
        for at in range(d.length or 0):
            byte = d.bytes_at[at]
            if byte is None:
                break
            known.append(byte)
        return d.protocol, bytes(known), (d.length or 0) - len(known)

    def give_up(self, key: Any) -> None:
        """Forget one datagram."""
        self.counts["refused"] += self.held.pop(key).frames

    @staticmethod
    def _says_the_same(whole: Datagram, piece: Piece, end: int) -> bool:
        *_, offset, more, data, _cut = piece
        if end > (whole.length or 0) or (end == whole.length) == more:
            return False
        known = min((at for at, byte in whole.bytes_at.items() if byte is None), default=MOST_BYTES)
        return all(whole.bytes_at[at] == byte for at, byte in enumerate(data, offset) if at < known)

    @staticmethod
    def _is_another(d: Datagram, piece: Piece) -> bool:
        *_, offset, _more, data, _cut = piece
        first = [d.bytes_at.get(at) for at in range(8)]
        return offset == 0 and len(data) >= 8 and None not in first and first != list(data[:8])

    @staticmethod
    def _fits(d: Datagram, end: int, more: bool) -> bool:
        reach = max(d.bytes_at, default=-1) + 1
        if d.length is not None:
            return end <= d.length and (end == d.length) != more
        return more or end >= reach

    @staticmethod
    def _note(d: Datagram, piece: Piece, end: int) -> None:
        _, _, _, _, protocol, offset, more, data, cut = piece
        for at, byte in enumerate([*data, *[None] * cut], offset):
            d.bytes_at.setdefault(at, byte)
        if offset == 0:
            d.protocol = protocol
        if not more:
            d.length = end

    @staticmethod
    def _is_whole(d: Datagram) -> bool:
        return d.length is not None and len(d.bytes_at) == d.length
