"""Replay beside wrk, on the same nginx with the same number of connections; reading alone; and how punctual it is.

In: a recording of what wrk asked nginx for.  Out: rows.  Rates are counted by nginx, from the first request to the
last, so that start-up is not in them; wrk asks before and after each, as other work on the machine comes and goes.
"""

import json
import resource
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any, Final

from emit.recording import Reader, Writer
from scripts.benchmark.live import CONNECTIONS, Service, serving
from scripts.benchmark.paths import FOLDER
from scripts.benchmark.processes import PIPELINE, Run, accounted, run
from scripts.benchmark.recording import capture, requests_served
from scripts.benchmark.results import Row

PART: Final = "replay"
EXCHANGES: Final = 400_000
QUICK: Final = 100_000
KINDS: Final = {"requests": "kind == 'request'", "exchanges": "size >= 0"}
"""What recordings hold, as filters: requests alone, or responses too, which are read, and not sent."""
LOOK_S: Final = 0.02
SHARE: Final = 0.5  # of wrk's rate
READ: Final = 100_000  # records/s
PACE: Final = 5000  # requests/s
LATE_MS: Final = 5


def recording(exchanges: int, kind: str) -> tuple[Path, int]:
    """Return a recording of so many exchanges or more, and how many there are; made now if need be."""
    source, note = capture(FOLDER, exchanges)
    path = FOLDER / f"recorded-{exchanges}-{kind}.rec"
    if not path.exists():
        output = f'[[output]]\ntype = "file"\nformat = "recording"\npath = "{path}"\nwhere = "{KINDS[kind]}"\n'
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
            config.write(f'[input]\ntype = "pcap"\npath = "{source}"\n{output}')
            config.flush()
            run([PIPELINE, "run", "--quiet", "--config", config.name])
    return path, int(note["messages"]) // 2


def measure(quick: bool, raw: dict[str, Any]) -> list[Row]:
    """Return all rows."""
    made = {kind: recording(QUICK if quick else EXCHANGES, kind) for kind in KINDS}
    rows: list[Row] = []
    with serving() as service:
        for kind, (path, count) in made.items():
            rows += _beside(service, path, count, 2 if quick else 5, kind, raw)
        rows += _paced(service, made["requests"][0], 2 if quick else 10, raw)
    return [*rows, _read(*made["exchanges"], raw)]


class Beside:
    """Replays and wrk in turn."""

    def __init__(self, service: Service, path: Path, count: int) -> None:
        self.service, self.path, self.count = service, path, count
        self.used = Run()  # CPU time of all replays
        self.replays = self.served = 0
        self.wrk_s = 0.0

    def wrk(self) -> float:
        """Have wrk ask for a while; returns requests/s."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        load = self.service.load(2)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.wrk_s += after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        self.served += load.served
        return load.rate

    def replay(self, mode: str) -> float:
        """Replay the recording as fast as it goes; returns the requests/s that nginx has served."""
        before = requests_served(self.service.status)
        command = _replay(self.service, self.path, "--speed", "max", "--mode", mode, "--quiet")
        looks, pause = [(time.perf_counter(), 0)], threading.Event()
        with accounted(self.used) as environment, subprocess.Popen(command, env=environment) as process:
            while process.poll() is None and looks[-1][1] < self.count:
                pause.wait(LOOK_S)
                looks.append((time.perf_counter(), requests_served(self.service.status) - before - len(looks)))
            process.wait()
        if process.returncode != 0 or looks[-1][1] != self.count:
            raise SystemExit(f"bench: nginx has served {looks[-1][1]} of {self.count} requests of {' '.join(command)}")
        self.replays += 1
        begun = 1 + max(at for at, (_, served) in enumerate(looks) if served == 0)
        return (self.count - looks[begun][1]) / (looks[-1][0] - looks[begun][0])


def _beside(service: Service, path: Path, count: int, rounds: int, kind: str, raw: dict[str, Any]) -> Iterator[Row]:
    """Yield how the replay of one kind of recording does beside wrk."""
    beside = Beside(service, path, count)
    wrk = [beside.wrk()]
    rates: dict[str, list[float]] = {"session": [], "pool": []}
    ratios: dict[str, list[float]] = {"session": [], "pool": []}
    for _ in range(rounds):
        for mode in rates:
            rates[mode].append(beside.replay(mode))
            wrk.append(beside.wrk())
            ratios[mode].append(rates[mode][-1] / (wrk[-1] + wrk[-2]) * 2)
    raw[f"replay of {kind} beside wrk"] = {
        "wrk": wrk,
        "replay": rates,
        "cpu_s": beside.used.cpu_s,
        "wrk cpu_s": beside.wrk_s,
    }
    yield Row(PART, f"wrk, beside {kind}", median(wrk), "requests/s", note=f"{min(wrk):,.0f} to {max(wrk):,.0f}")
    for mode, found in rates.items():
        yield Row(PART, f"{kind}, {mode}", median(found), "requests/s", note=f"{min(found):,.0f} to {max(found):,.0f}")
    for mode, shares in ratios.items():
        each = " ".join(f"{share:.2f}" for share in shares)
        yield Row(PART, f"{kind}, {mode}, over wrk", median(shares), "x wrk", SHARE, at_least=True, note=each)
    yield Row(PART, f"{kind}: CPU time, wrk", 1e6 * beside.wrk_s / beside.served, "us per request")
    for stage in ("worker", "reader"):
        used_us = 1e6 * beside.used.cpu_of(stage) / (beside.replays * count)
        yield Row(PART, f"{kind}: CPU time, {stage}", used_us, "us per request", note="start-up included")


def _replay(service: Service, path: Path, *options: str) -> list[str]:
    url = f"http://127.0.0.1:{service.port}"
    return [PIPELINE, "replay", str(path), "--to", url, "--connections", str(CONNECTIONS), *options]


def _paced(service: Service, path: Path, seconds: int, raw: dict[str, Any]) -> Iterator[Row]:
    """Yield how late requests are at a fixed rate, as the replay itself has found."""
    with tempfile.TemporaryDirectory() as folder:
        part, ledger = Path(folder, "part.rec"), Path(folder, "ledger.json")
        with Reader(str(path)) as reader, Writer(str(part)) as writer:
            for record in islice(reader, PACE * seconds):
                writer.write(record)
        run(_replay(service, part, "--rate", str(PACE), "--quiet", "--ledger", str(ledger)))
        late = json.loads(ledger.read_text())["replay"][0]["late_ns"]
    raw["replay paced"] = late
    found = {name: value / 1e6 for name, value in late.items() if value is not None}
    yield Row(PART, f"late at {PACE:,}/s, median", found["p50"], "ms")
    note = f"99.9%: {found['p99.9']:.3g}, most {found['p100']:.3g}"
    yield Row(PART, f"late at {PACE:,}/s, 99th percentile", found["p99"], "ms", LATE_MS, note=note)


def _read(path: Path, count: int, raw: dict[str, Any]) -> Row:
    """Return how fast records are read, by a run that forgets them."""
    took = []
    for _ in range(3):
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
            config.write(f'[input]\ntype = "file"\npath = "{path}"\n[[output]]\ntype = "null"\n')
            config.flush()
            took.append(run([PIPELINE, "run", "--quiet", "--config", config.name]).wall_s)
    raw["replay read"] = took
    rate = 2 * count / median(took)
    return Row(PART, "records read", rate, "records/s", READ, at_least=True, note="start-up included")
