"""The capture process: inputs to the frame ring, or to those of several lanes, then out.

In: a CaptureSpec.  Out: KIND_FRAMES records in its rings, counters, events.  Invariant: every ring is closed
however it ends, so that the assemblers finish; SIGTERM ends the reading, and what has been read is still
written.
"""

import signal
import time
from dataclasses import dataclass, field

from capture.child import EventQueue, run_child
from capture.counters import Counters
from capture.errors import MirrorError
from capture.lanes import Lanes
from capture.live import LiveSource
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
    shown: Counters = field(default_factory=lambda: Counters(SHOWN_COUNTERS), repr=False)  # what a dead one leaves


def main(spec: CaptureSpec) -> None:
    """Run the capture process; the target of the supervisor's spawn."""
    run_child(lambda: _capture(spec), spec.events, spec.parent, spec.level)


def _capture(spec: CaptureSpec) -> None:
    stop = Stop()
    signal.signal(signal.SIGTERM, lambda _number, _frame: stop.set())
    if spec.live is not None:
        _watch(spec, spec.live, stop)
    elif spec.route is None:
        _fill(spec, spec.rings[0], stop)
    else:
        _send(spec, spec.route, stop)


def _watch(spec: CaptureSpec, plan: LivePlan, stop: Stop) -> None:
    outlet = _outlet(spec)
    if isinstance(outlet, RingOutlet) and spec.attempt:
        read, dropped = spec.counters["frames_captured"], spec.counters["frames_dropped_ring"]
        spec.counters.set("frames_lost", max(read - dropped - outlet.frames, 0))
    source = LiveSource(plan, outlet, spec.counters, stop, spec.batch_frames, spec.batch_bytes)
    try:
        source.open()
        if spec.attempt:
            spec.counters.add("blind_ms", max(now_ms() - spec.shown["alive_ms"], 0))
        source.run(lambda: spec.events.tell("ready"), lambda: _live_on(spec))
    except MirrorError:
        _end(outlet, source)
        raise
    _end(outlet, source)


def now_ms() -> int:
    """Return the time by CLOCK_MONOTONIC."""
    return time.monotonic_ns() // 1_000_000


def _live_on(spec: CaptureSpec) -> None:
    spec.events.beat()
    spec.shown.set("alive_ms", now_ms())


def _end(outlet: Outlet, source: LiveSource) -> None:
    outlet.close()  # first: nobody has to wait for the interfaces, of which each takes a while
    source.close()


def _outlet(spec: CaptureSpec) -> Outlet:
    if spec.route is None:
        return RingOutlet(spec.rings[0], spec.shown)
    return LanesOutlet(spec.route, spec.rings, spec.batch_frames, spec.batch_bytes)


def _open(spec: CaptureSpec, stop: Stop) -> FrameSource:
    return FrameSource(
        spec.paths,
        batch_frames=spec.batch_frames,
        batch_bytes=spec.batch_bytes,
        bpf=spec.bpf,
        counters=spec.counters,
        stop=stop,
        stdin_fd=spec.stdin.fd,
    )


def _fill(spec: CaptureSpec, ring: Ring, stop: Stop) -> None:
    producer = Producer(ring)
    try:
        with _open(spec, stop) as source:
            spec.events.tell("ready")
            while source.fill(producer):
                pass
    finally:
        producer.close()


def _send(spec: CaptureSpec, route: Route, stop: Stop) -> None:
    lanes = Lanes(spec.rings, spec.batch_frames, spec.batch_bytes)
    try:
        with _open(spec, stop) as source:
            spec.events.tell("ready")
            while source.send(route, lanes):
                pass
    finally:
        route.finish()
        lanes.close()
        spec.counters.set("batches", lanes.records)
