"""What a tap makes of passing segments: frames, in its own order, twice, tagged, cut or not at all.

In: connections as lists of Passing.  Out: Captured frames in capture order.  Invariant: what was captured is known to
the byte: `Captured.data` is the payload that the frame holds.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from ipaddress import ip_address
from random import Random
from struct import Struct
from typing import Final

import packets

from generator.spoken import CLIENT, Conversation
from generator.wire import MICROSECOND, MILLISECOND, Manner, Passing

TCP: Final = Struct("!HHIIBBHHH")
IPV4: Final = Struct("!BBHHHBBH4s4s")
IPV6: Final = Struct("!IHBB16s16s")


@dataclass
class Line:
    """One connection: who talks, where the numbers start, what is said."""

    client: str
    server: str
    cport: int
    sport: int
    isn: dict[bool, int]
    talk: Conversation
    how: Manner
    again: bool = False  # between the ports of another one before

    @property
    def ipv6(self) -> bool:
        """Tell the family."""
        return ":" in self.client

    def far_from(self, other: "Line") -> bool:
        """Tell whether no number of the one connection can be taken for one of the other."""
        spans = ((self.isn[side] - other.isn[side] + 2**31) % 2**32 - 2**31 for side in (CLIENT, not CLIENT))
        return all(abs(span) > 2**30 + 2**24 for span in spans)

    def seq(self, side: bool, at: int) -> int:
        """Give the sequence number of an offset."""
        return (self.isn[side] + 1 + at) % 2**32


@dataclass(slots=True)
class Captured:
    """One frame of a capture: which line, which segment, when, and how much of its payload."""

    line: int
    passing: Passing
    t: int
    data: bytes
    vlan: int = 0
    cut: bool = False
    serial: int = 0


@dataclass
class Tap:
    """How the tap disturbs; choices that are made once per connection."""

    twice: str = ""
    late: str = ""
    snap: bool = False


def choose_tap(rng: Random) -> Tap:
    """Choose how a tap disturbs."""
    return Tap(
        twice=rng.choice(("", "", "", "at_once", "soon", "tagged", "some")),
        snap=rng.random() < 0.3,
        late=rng.choice(("", "", "", "near", "near", "far", "client", "server")),
    )


def capture(rng: Random, number: int, passed: list[Passing], tap: Tap, *, calm: bool, reuse: bool) -> list[Captured]:
    """Capture one connection: the frames with the time at which each copy was seen, in that order."""
    out: list[Captured] = []
    lag = {CLIENT: 0, not CLIENT: 0}
    if tap.late in ("client", "server"):
        lag[tap.late == "client"] = rng.choice((10 * MICROSECOND, MILLISECOND, 200 * MILLISECOND))
    big = sum(len(p.data) for p in passed) > 150_000
    for index, passing in enumerate(passed):
        t = passing.t + lag[passing.side]
        if tap.late == "near" and rng.random() < 0.3:
            t += rng.randrange(1, 200 * MICROSECOND)
        elif tap.late == "far" and rng.random() < 0.05:
            t += rng.randrange(1, (200 if calm else 900) * MILLISECOND)
        if (big and passing.flags & packets.SYN) or (reuse and index == 0):
            t = passing.t
        out.append(Captured(number, passing, t, passing.data))
        if tap.twice and (tap.twice != "some" or rng.random() < 0.2):
            later = {"at_once": 1, "tagged": 900, "soon": rng.randrange(1, 5 * MILLISECOND)}.get(tap.twice, 50_000)
            vlan = 7 if tap.twice == "tagged" else 0
            out.append(Captured(number, passing, t + later, passing.data, vlan))
            if tap.snap and passing.data and rng.random() < 0.2:  # one of the copies is cut
                copy = out[rng.choice((-1, -2))]
                copy.data, copy.cut = copy.data[: rng.randrange(len(copy.data))], True
    out.sort(key=lambda c: c.t)
    if reuse:
        floor = out[0].passing
        assert floor is passed[0]
    return out


def blend(rng: Random, lines: list[list[Captured]], jumpy: bool) -> list[Captured]:
    """Put all connections into one capture; with `jumpy` one of two interfaces has a clock that is slightly behind."""
    out = sorted((c for line in lines for c in line), key=lambda c: c.t)
    for serial, c in enumerate(out):
        c.serial = serial
        if jumpy and rng.random() < 0.3:
            c.t -= rng.randrange(60 * MICROSECOND)
    return out


def snapped(rng: Random, frames: list[Captured], share: float) -> list[Captured]:
    """Let the snap length cut the payload of some frames."""
    return [
        replace(c, data=c.data[: rng.randrange(len(c.data))], cut=True) if c.data and rng.random() < share else c
        for c in frames
    ]


@lru_cache(maxsize=64)
def packed(address: str) -> bytes:
    """Give an address as bytes."""
    return ip_address(address).packed


def frame_of(c: Captured, line: Line, link: int) -> bytes:
    """Build the bytes of a captured frame; checksums are left zero, as offloading cards leave them."""
    p = c.passing
    ends = [(line.client, line.cport), (line.server, line.sport)][:: 1 if p.side else -1]
    (src, sport), (dst, dport) = ends
    ack = line.seq(not p.side, p.ack) if p.flags & packets.ACK else 0
    options = bytes.fromhex("020405b4 01030307") if p.flags & packets.SYN else b""
    offset = (20 + len(options)) << 2
    tcp = TCP.pack(sport, dport, line.seq(p.side, p.at), ack, offset, p.flags, 64_240, 0, p.urgent) + options
    size = len(tcp) + len(p.data)
    if line.ipv6:
        head = IPV6.pack(6 << 28, size if size < 65_536 else 0, packets.IP_TCP, 64, packed(src), packed(dst))
    else:
        total = size + 20 if size + 20 < 65_536 else 0  # segmentation offload: it does not fit
        head = IPV4.pack(0x45, 0, total, 0, 0x4000, 64, packets.IP_TCP, 0, packed(src), packed(dst))
    packet = head + tcp + c.data
    if link != packets.LINK_ETHERNET:
        return packets.LINKS[link](packet)
    vlans = [(packets.VLAN_8021Q, c.vlan)] if c.vlan else []
    return packets.ethernet(packet, vlans=vlans, pad=not c.cut)
