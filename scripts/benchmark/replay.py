"""Replay beside wrk, on the same nginx with the same number of connections; reading alone; and how punctual it is.

In: a recording of what wrk asked nginx for.  Out: rows.  Rates are counted by nginx, from the first request to the
last, so that start-up is not in them; wrk asks before and after each, as other work on the machine comes and goes.
"""

import json
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
from scripts.benchmark.processes import PIPELINE, run
from scripts.benchmark.recording import capture, requests_served
from scripts.benchmark.results import Row

PART: Final = "replay"
EXCHANGES: Final = 400_000
QUICK: Final = 100_000
LOOK_S: Final = 0.02
SHARE: Final = 0.5  # of wrk's rate
READ: Final = 100_000  # records/s
PACE: Final = 5000  # requests/s
LATE_MS: Final = 5


def recording(exchanges: int) -> tuple[Path, int]:
    """Return a recording of so many exchanges or more, and how many there are; made now if need be."""
    source, note = capture(FOLDER, exchanges)
    path = FOLDER / f"recorded-{exchanges}.rec"
    if not path.exists():
        output = f'[[output]]\ntype = "file"\nformat = "recording"\npath = "{path}"\n'
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
            config.write(f'[input]\ntype = "pcap"\npath = "{source}"\n{output}')
            config.flush()
            run([PIPELINE, "run", "--quiet", "--config", config.name])
    return path, int(note["messages"]) // 2


def measure(quick: bool, raw: dict[str, Any]) -> list[Row]:
    """Return all rows."""
    path, count = recording(QUICK if quick else EXCHANGES)
    with serving() as service:
        rows = [*_beside(service, path, count, 2 if quick else 5, raw), *_paced(service, path, 2 if quick else 10, raw)]
    return [*rows, _read(path, count, raw)]


def _beside(service: Service, path: Path, count: int, rounds: int, raw: dict[str, Any]) -> Iterator[Row]:
    """Yield how replay does beside wrk."""
    wrk = [service.load(2).rate]
    rates: dict[str, list[float]] = {"session": [], "pool": []}
    ratios: dict[str, list[float]] = {"session": [], "pool": []}
    for _ in range(rounds):
        for mode in rates:
            rates[mode].append(_rate(service, path, count, mode))
            wrk.append(service.load(2).rate)
            ratios[mode].append(rates[mode][-1] / (wrk[-1] + wrk[-2]) * 2)
    raw["replay beside wrk"] = {"wrk": wrk, "replay": rates}
    yield Row(PART, "wrk", median(wrk), "requests/s", note=f"{min(wrk):,.0f} to {max(wrk):,.0f}")
    for mode, found in rates.items():
        yield Row(PART, f"replay, {mode}", median(found), "requests/s", note=f"{min(found):,.0f} to {max(found):,.0f}")
    for mode, shares in ratios.items():
        each = " ".join(f"{share:.2f}" for share in shares)
        yield Row(PART, f"replay, {mode}, over wrk", median(shares), "x wrk", SHARE, at_least=True, note=each)


def _rate(service: Service, path: Path, count: int, mode: str) -> float:
    """Replay a recording as fast as it goes; returns the requests/s that nginx has served."""
    before = requests_served(service.status)
    command = _replay(service, path, "--speed", "max", "--mode", mode, "--quiet")
    looks, pause = [(time.perf_counter(), 0)], threading.Event()
    with subprocess.Popen(command) as process:
        while process.poll() is None and looks[-1][1] < count:
            pause.wait(LOOK_S)
            looks.append((time.perf_counter(), requests_served(service.status) - before - len(looks)))
    if process.returncode != 0 or looks[-1][1] != count:
        raise SystemExit(f"bench: nginx has served {looks[-1][1]} of {count} requests of {' '.join(command)}")
    begun = max(at for at, (_, served) in enumerate(looks) if served == 0)
    return (count - looks[begun + 1][1]) / (looks[-1][0] - looks[begun + 1][0])


def _replay(service: Service, path: Path, *options: str) -> list[str]:
    url = f"http://127.0.0.1:{service.port}"
    return [PIPELINE, "replay", str(path), "--to", url, "--connections", str(CONNECTIONS), *options]


def _paced(service: Service, path: Path, seconds: int, raw: dict[str, Any]) -> Iterator[Row]:
    """Yield how late requests are at a fixed rate, as the replay itself has found."""
    with tempfile.TemporaryDirectory() as folder:
        part, ledger = Path(folder, "part.rec"), Path(folder, "ledger.json")
        with Reader(str(path)) as reader, Writer(str(part)) as writer:
            for record in islice(reader, 2 * PACE * seconds):
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
