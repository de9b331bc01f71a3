"""Live sources: frames of interfaces as batches; nothing here ever waits for the reader.

In: a `LivePlan`.  Out: batches, and the time where the wire is silent, to an `Outlet`.  Invariant: every frame that was
read goes to the outlet, and what kernel and interfaces dropped is counted every second and at the end.
"""

import logging
import select
import time
from collections.abc import Callable
from typing import Final

from capture.counters import Counters
from capture.errors import SourceError
from capture.frames import FULL, Merger
from capture.interfaces import ANY, Tap, present
from capture.outlets import Outlet
from capture.readers import META_BYTES
from capture.sources import META_TIME
from capture.streams import Stop
from capture.taps import HURRY_S, LivePlan, Taps

LOOK_S: Final = 1.0
SILENCE_S: Final = 0.25
BEHIND_NS: Final = 500_000_000  # what the kernel may still hold is not older
READ_BYTES: Final = 1 << 20
READ_FRAMES: Final = 4096
DRAIN_S: Final = 1.0

log = logging.getLogger(__name__)


class LiveSource:
    """Reads the interfaces of one capture process."""

    def __init__(
        self, plan: LivePlan, outlet: Outlet, counters: Counters, stop: Stop, batch_frames: int, batch_bytes: int
    ) -> None:
        self.taps = Taps(plan, counters)
        self.outlet = outlet
        self.counters = counters
        self.stop = stop
        self.average = 512.0  # bytes of a frame
        self.merger = Merger(1, batch_frames, batch_bytes)
        self.merger.announce(0, 0)
        self.merger.gather(outlet.limit)
        self.batches, self.dropped_frames, self.dropped_bytes = (  # by processes before this one
            counters[name] for name in ("batches", "frames_dropped_ring", "bytes_dropped_ring")
        )
        self.reading: dict[int, Tap] = {}  # by descriptor
        self.poller = select.poll()
        self.poller.register(stop.fd, select.POLLIN)

    def open(self) -> None:
        """Open what there is; MirrorError if a name is wrong, or nothing of what is there can be opened."""
        self.taps.open()

    def close(self) -> None:
        """Give all interfaces back."""
        self.taps.close()

    def run(self, ready: Callable[[], None] = lambda: None, alive: Callable[[], None] = lambda: None) -> None:
        """Capture until the wish to stop, then take what the kernel has; `ready` is called once everything is open."""
        now_s = heard_s = look_s = time.monotonic()
        wire_ns, read_s = time.time_ns(), now_s  # the packets' time, and when it was so: nobody sets the other clock
        told = False
        while not self.stop.wished:
            alive()
            if now_s >= look_s:
                self.look()
                look_s = now_s + (HURRY_S if self.taps.pending else LOOK_S)
                if not told and not self.taps.pending:
                    told = True
                    ready()
            wait_s = max(0.0, min(look_s - now_s, SILENCE_S))
            found = [self.reading[fd] for fd, _event in self.poller.poll(wait_s * 1000) if fd in self.reading]
            taken = [self.take(tap) for tap in found]
            now_s = time.monotonic()
            if any(taken):
                wire_ns, read_s = max(taken), now_s
                heard_s = now_s
            elif now_s - heard_s >= SILENCE_S:
                self.outlet.tick(wire_ns + round((now_s - read_s) * 1e9) - BEHIND_NS)
                heard_s = now_s
        self.drain()

    def look(self) -> None:
        """Once a second, or sooner while something is under way: see to the interfaces."""
        self.taps.look()
        self.counters.set("cpu_ms", round(time.process_time() * 1000))
        readable = self.taps.readable()
        for fd in self.reading.keys() - readable.keys():
            self.poller.unregister(fd)
        for fd in readable.keys() - self.reading.keys():
            self.poller.register(fd, select.POLLIN)
        self.reading = readable

    def take(self, tap: Tap) -> int:
        """Hand over frames of one interface; returns the time of the last one, 0 if there was none."""
        most = min(READ_FRAMES, max(1, round(READ_BYTES / self.average)))
        try:
            data, meta = tap.read(most)
        except SourceError as error:
            self._stumble(tap, error)
            return 0
        if not meta:
            return 0
        count = len(meta) // META_BYTES
        self.counters.add("frames_captured", count)  # before they are handed over: see `RingOutlet`
        self.average += (len(data) / count - self.average) / 4
        merger = self.merger
        merger.push(data, meta, tap.link, 1000)
        while True:
            full = merger.gather(self.outlet.limit) == FULL
            if merger.frames:
                self.outlet.put(merger)
            if not full:
                break
        self.counters.add("bytes_captured", len(data))
        self.counters.set("batches", self.batches + self.outlet.records)
        dropped_frames, dropped_bytes = self.dropped_frames + merger.dropped_frames, merger.dropped_bytes
        self.counters.set("frames_dropped_ring", dropped_frames + self.outlet.dropped_frames)
        self.counters.set("bytes_dropped_ring", self.dropped_bytes + dropped_bytes + self.outlet.dropped_bytes)
        seconds, fraction = META_TIME.unpack_from(meta, len(meta) - META_BYTES)
        return int(seconds) * 1_000_000_000 + int(fraction) * 1000

    def drain(self) -> None:
        """Capture nothing more, and take what the kernel has: it hands over a block at the latest after its timeout."""
        self.taps.hush()
        until_ns = time.time_ns()
        quiet_s = time.monotonic() + 4 * self.taps.plan.manner.timeout_ms / 1000 + HURRY_S
        deadline_s = quiet_s + DRAIN_S
        behind = self.taps.readable()
        waiter = select.poll()
        for fd in behind:
            waiter.register(fd, select.POLLIN)
        while behind and time.monotonic() < deadline_s:
            quiet = time.monotonic() >= quiet_s
            taken = {fd: self.take(tap) for fd, tap in behind.items()}
            behind = {fd: behind[fd] for fd, last_ns in taken.items() if last_ns < until_ns and (last_ns or not quiet)}
            if behind and not any(taken.values()):
                waiter.poll(10)
        self.taps.count_drops()

    def _stumble(self, tap: Tap, error: SourceError) -> None:
        """Go on with an interface that went down, as its socket does once it is up again; one that left is to go."""
        if tap.name == ANY or present().get(tap.name) == tap.index:
            log.warning("%s", error)
        else:
            self.taps.depart(self.taps.held[tap.fileno()])
