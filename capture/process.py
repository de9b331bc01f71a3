"""The capture process: inputs to the frame ring, or to those of several lanes, then out.

In: a CaptureSpec.  Out: KIND_FRAMES records in its rings, counters, events.  Invariant: every ring is closed at the
end, and on an error that would come again, so that the assemblers finish; SIGTERM ends the reading, and what has been
read is still written.  A process that is started in the place of one that was killed reads files again from their
beginning, and puts into the rings what is not there yet: every frame comes once.
"""

import signal
import time
from dataclasses import dataclass, field

from capture.child import EventQueue, ending, run_child
from capture.counters import Counters
from capture.errors import ChangedError
from capture.lanes import Lanes
from capture.live import LiveSource
from capture.marks import Mark
from capture.outlets import LanesOutlet, Outlet, RingOutlet
from capture.records import SHOWN_COUNTERS
from capture.ring import Producer, Ring
from capture.route import Route
from capture.sources import BATCH_BYTES, BATCH_FRAMES, FrameSource
from capture.streams import StandardInput, Stop
from capture.taps import LivePlan


@dataclass(frozen=True)
class CaptureSpec:
    """What the capture process is told; `paths` as `capture.sources.expand` gives them, or a live plan instead.

    Without a `route` there is one ring.
    """

    parent: int
    level: int
    events: EventQueue
    counters: Counters
    rings: tuple[Ring, ...]
    paths: tuple[str, ...] = ()
    batch_frames: int = BATCH_FRAMES
    batch_bytes: int = BATCH_BYTES
    bpf: str | None = None
    stdin: StandardInput = field(default_factory=StandardInput)
    route: Route | None = None
    live: LivePlan | None = None
    attempt: int = 0  # how many processes have died at this work
    shown: tuple[Counters, ...] = field(default=(), repr=False)  # for each ring: what a dead one leaves

    def __post_init__(self) -> None:
        if not self.shown:
            object.__setattr__(self, "shown", tuple(Counters(SHOWN_COUNTERS) for _ in self.rings))


def main(spec: CaptureSpec) -> None:
    """Run the capture process; the target of the supervisor's spawn."""
    run_child(lambda: _capture(spec), spec.events, spec.parent, spec.level)


def _capture(spec: CaptureSpec) -> None:
    stop = Stop()
    stop.alive = spec.events.beat
    if spec.live is not None:
        _watch(spec, spec.live, stop)
    elif spec.route is None:
        _fill(spec, spec.rings[0], stop)
    else:
        _send(spec, spec.route, stop)


def _heed(stop: Stop) -> None:
    """Stop on SIGTERM from now on; whoever sends it does so again and again."""
    signal.signal(signal.SIGTERM, lambda _number, _frame: stop.set())


def _watch(spec: CaptureSpec, plan: LivePlan, stop: Stop) -> None:
    _heed(stop)
    outlet = _outlet(spec)
    if isinstance(outlet, RingOutlet) and spec.attempt:
        read, dropped = spec.counters["frames_captured"], spec.counters["frames_dropped_ring"]
        spec.counters.set("frames_lost", max(read - dropped - outlet.frames, 0))
    source = LiveSource(plan, outlet, spec.counters, stop, spec.batch_frames, spec.batch_bytes)

    def close() -> None:
        outlet.close()  # first: nobody has to wait for the interfaces, of which each takes a while
        source.close()

    life = Watch(spec, first=plan.turns.lane == 0)
    with ending(close):
        source.open()
        source.run(life.begin, life.go_on)
        life.see()  # what had to end before it could begin


class Watch:
    """When a live capture has its eyes open; the time in which all lanes have theirs shut is counted, by the first."""

    def __init__(self, spec: CaptureSpec, first: bool) -> None:
        self.spec = spec
        self.first = first  # of the lanes
        self.seeing = False

    def begin(self) -> None:
        """Everything is open."""
        self.see()
        self.spec.events.tell("ready")

    def see(self) -> None:
        """Count how long nobody captured, as of the last sign of a process that did."""
        if self.seeing:
            return
        self.seeing = True
        since_ms = self.spec.shown[0]["alive_ms"]
        if since_ms and self.first:
            self.spec.counters.add("blind_ms", max(now_ms() - since_ms, 0))

    def go_on(self) -> None:
        """Show that this process lives."""
        self.spec.events.beat()
        if self.seeing:
            self.spec.shown[0].set("alive_ms", now_ms())


def now_ms() -> int:
    """Return the time by CLOCK_MONOTONIC."""
    return time.monotonic_ns() // 1_000_000


def _outlet(spec: CaptureSpec) -> Outlet:
    if spec.route is None:
        return RingOutlet(spec.rings[0], spec.shown[0])
    return LanesOutlet(spec.route, spec.rings, spec.batch_frames, spec.batch_bytes)


def _open(spec: CaptureSpec, stop: Stop) -> FrameSource:
    return FrameSource(
        spec.paths,
        batch_frames=spec.batch_frames,
        batch_bytes=spec.batch_bytes,
        bpf=spec.bpf,
        stop=stop,
        stdin_fd=spec.stdin.fd,
    )


def _fill(spec: CaptureSpec, ring: Ring, stop: Stop) -> None:
    producer, mark = Producer(ring), Mark(spec.shown[0])
    producer.show_life(spec.events.counters, "beats")
    frames = mark.recover(ring)
    if not frames:
        _heed(stop)  # else once the counters agree with what is in the ring
    with ending(producer.close), _open(spec, stop) as source:
        spec.events.tell("ready")
        source.skip(frames, ring.largest, spec.events.beat)
        source.count_in(spec.counters)
        _heed(stop)
        while more := source.fill(producer):
            frames += more
            mark.note(producer.position, frames)
            spec.events.beat()


def _send(spec: CaptureSpec, route: Route, stop: Stop) -> None:
    lanes = Lanes(spec.rings, spec.batch_frames, spec.batch_bytes, marks=[Mark(page) for page in spec.shown])
    lanes.show_life(spec.events.counters, "beats")

    def close() -> None:
        route.finish()
        lanes.close()
        spec.counters.set("batches", lanes.records)

    route.begin()
    if not lanes.behind:
        _heed(stop)
    with ending(close), _open(spec, stop) as source:
        spec.events.tell("ready")
        while lanes.behind:
            spec.events.beat()
            if not source.send(route, lanes):
                raise ChangedError
        source.count_in(spec.counters)
        _heed(stop)
        while source.send(route, lanes):
            spec.events.beat()
