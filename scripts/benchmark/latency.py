"""How late a message is at the receiver, at a steady rate; and what the pipeline uses when nothing comes.

The bench writes a capture to the pipeline's standard input as it happens: every millisecond of an absolute schedule
a few exchanges with the present as their time.  The receiver notes when each message had arrived.
"""

import json
import select
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import IO, Any, Final

from scripts.benchmark.paths import COUNTED, FOLDER, PATHS, arguments, far_end
from scripts.benchmark.pcap import FILE_HEADER, SERVER_PORT, Block, Traffic, steps
from scripts.benchmark.processes import END_S, cpu_now_s, wait_for
from scripts.benchmark.results import Row
from scripts.benchmark.shapes import SMALL

RATE: Final = 5000  # exchanges per second
TICK_S: Final = 0.001
MEDIAN_MS: Final = 5
WORST_MS: Final = 20
IDLE_PERCENT: Final = 1
ONE: Final[Traffic] = replace(SMALL, connections=1)


class Source:
    """Writes exchanges of one connection into a pipe, with the present as their time."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self.pipe = pipe
        self.done = 0
        self.opening, self.exchange, _ = steps(ONE)
        pipe.write(FILE_HEADER)

    def open(self) -> None:
        """Begin the connection."""
        block = Block(ONE, 0, 1, self.opening)
        block.number(1, 1, 0, 0)
        self.send(block)

    def exchanges(self, count: int) -> None:
        """Write some exchanges."""
        block = Block(ONE, 0, count, self.exchange)
        up, down = len(SMALL.request), len(SMALL.response)
        block.number(2 + self.done * up, 2 + self.done * down, up, down)
        self.done += count
        self.send(block)

    def send(self, block: Block) -> None:
        """Write frames, all with the present as their time."""
        seconds, nanos = divmod(time.time_ns(), 10**9)
        block.set_time(seconds, nanos // 1000)
        self.pipe.write(block.buffer)
        self.pipe.flush()


@contextmanager
def pipeline(address: str) -> Iterator[tuple[subprocess.Popen[bytes], Source]]:
    """Run a pipeline that reads what a `Source` writes, for the length of a block."""
    command = arguments("-", SERVER_PORT, PATHS["sink"].output.format(address=address))
    process = subprocess.Popen(command, stdin=subprocess.PIPE)
    assert process.stdin is not None
    try:
        source = Source(process.stdin)
        source.open()
        yield process, source
    finally:
        process.stdin.close()
        if process.wait(END_S):
            raise SystemExit(f"bench: {' '.join(command)} ended with {process.returncode}")


def measure(quick: bool, raw: dict[str, Any]) -> list[Row]:
    """Measure at a steady rate, then at rest."""
    return [*steady(3 if quick else 10, raw), idle(3 if quick else 10)]


def steady(length_s: float, raw: dict[str, Any]) -> list[Row]:
    """Return median and 99th percentile of arrival less event time."""
    with far_end("sink", keep=True) as (_, address), pipeline(address) as (_, source):
        source.exchanges(1)
        log = FOLDER / "far.log"
        wait_for("the first message", lambda: "first" in log.read_text())
        begin_ns, late_s = time.time_ns(), 0.0
        begin = time.monotonic()
        for tick in range(1, int(length_s / TICK_S) + 1):
            wait_s = begin + tick * TICK_S - time.monotonic()
            if wait_s > 0:
                select.select([], [], [], wait_s)
            else:
                late_s = max(late_s, -wait_s)
            source.exchanges(int(RATE * TICK_S))
        sent = 2 * (source.done - 1)
    times = [us for event_ns, us in json.loads(COUNTED.read_text())["times"] if event_ns >= begin_ns - 1000]
    if len(times) != sent:
        raise SystemExit(f"bench: {len(times)} messages of {sent} arrived")
    times.sort()
    at = {share: times[int(share * (len(times) - 1))] / 1000 for share in (0.5, 0.9, 0.99, 0.999, 1)}
    raw["latency_ms"] = {**at, "source_late": late_s * 1000}
    note = f"{len(times):,} messages in {length_s:g} s; the source was at most {late_s * 1000:.1f} ms late"
    return [
        Row("latency", "median", statistics.median(times) / 1000, "ms", MEDIAN_MS, note=note),
        Row("latency", "99th percentile", at[0.99], "ms", WORST_MS, note=f"most {at[1]:.1f}"),
    ]


def idle(length_s: float) -> Row:
    """Return what a pipeline with an open, silent input and its receiver use together."""
    with far_end("receive") as (receiver, address), pipeline(address) as (process, source):
        source.exchanges(1)
        wait_for("the workers", lambda: cpu_now_s([process.pid]) > 0 and settled([process.pid, *receiver]))
        before = cpu_now_s([process.pid, *receiver])
        begin = time.perf_counter()
        threading.Event().wait(length_s)
        used = cpu_now_s([process.pid, *receiver]) - before
        took = time.perf_counter() - begin
    return Row("latency", "idle", 100 * used / took, "% of one core", IDLE_PERCENT, note="all processes of both sides")


def settled(pids: list[int]) -> bool:
    """Tell whether the processes are past their start: less than a tenth of a core for a second."""
    before = cpu_now_s(pids)
    threading.Event().wait(1)
    return cpu_now_s(pids) - before < 0.1
