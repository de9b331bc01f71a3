"""Lanes without processes: frames through a route into rings, an assembler behind each.

In: frames.  Out: the messages of each lane, and the counters of route and assemblers, summed.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from packets_files import Frame

from assemble import Message
from assemble.assembler import Assembler
from assemble.library import make_settings
from assemble.route import FlowRoute
from assemble.sink import BufferSink
from capture.frames import DONE, FULL, Merger
from capture.lanes import Lanes
from capture.ring import Consumer, Ring
from capture.route import Route

RING_BYTES: Final = 8 << 20
LEVELS: Final = ("flows_now", "bytes_held", "bytes_held_peak")
"""Counters that are no sums: what one assembler holds at most is not what several hold, each at its own time."""


@dataclass(frozen=True)
class Split:
    """What came out of each lane, and what was counted on the way, without `LEVELS`."""

    lanes: list[list[Message]]
    counters: dict[str, int]

    @property
    def messages(self) -> list[Message]:
        """The messages of all lanes."""
        return [message for lane in self.lanes for message in lane]


def chunk(frames: Sequence[Frame]) -> tuple[bytes, bytes]:
    """Lay frames out as next_batch of pcapy-ng does, with nanoseconds."""
    metas, at = [], 0
    for ts_ns, data in frames:
        metas.append(struct.pack("=IIII", ts_ns // 10**9, ts_ns % 10**9, at, len(data)))
        at += len(data)
    return b"".join(data for _, data in frames), b"".join(metas)


def send(route: Route, lanes: Lanes, merger: Merger, frames: Sequence[Frame], link: int = 1) -> None:
    """Send frames into lanes."""
    merger.push(*chunk(frames), link, 1)
    while merger.gather(1 << 40) == FULL:
        route.send(merger, lanes)
    if merger.frames:
        route.send(merger, lanes)


def split(frames: Sequence[Frame], count: int, *, link: int = 1, batch: int = 256, **changes: Any) -> Split:
    """Assemble frames in so many lanes, handed over in batches of so many frames."""
    settings = make_settings(**changes)
    rings = [Ring.create(RING_BYTES) for _ in range(count)]
    lanes, route, merger = Lanes(rings, batch, 1 << 18), FlowRoute(settings, count), Merger(1, batch, 1 << 18)
    share = replace(settings, memory=settings.memory // count)
    sinks = [BufferSink() for _ in rings]
    assemblers = [Assembler(share, sink) for sink in sinks]
    consumers = [Consumer(ring) for ring in rings]
    positions = [0] * count
    out: list[list[Message]] = [[] for _ in rings]

    def drain() -> None:
        for at in range(count):
            positions[at] = assemblers[at].feed_ring(consumers[at], positions[at])
            out[at] += sinks[at].take()

    merger.announce(0, 0)
    for at in range(0, len(frames), 512):
        assert merger.gather(1 << 40) == 0
        send(route, lanes, merger, frames[at : at + 512], link)
        drain()
    merger.finish()
    assert merger.gather(1 << 40) == DONE
    route.finish()
    lanes.close()
    drain()
    for assembler in assemblers:
        assembler.finish()
    drain()
    pages = [route.page.as_dict(), *(assembler.page.as_dict() for assembler in assemblers)]
    summed = {name: sum(page[name] for page in pages) for name in pages[0]}
    assert summed["flows_now"] == summed["bytes_held"] == 0
    return Split(out, without_levels(summed))


def without_levels(counters: dict[str, int]) -> dict[str, int]:
    """Return the counters that are sums over the run."""
    return {name: count for name, count in counters.items() if name not in LEVELS}
