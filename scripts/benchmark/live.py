"""Live mirroring beside what it mirrors: nginx and wrk, tcpreplay over a cable, on the cores that all of them share.

In: real programs.  Out: rows: what was seen of what was sent, its cost to the service, the highest rate without a drop.
tcpdump with a buffer of the same size is measured beside it, in the same minutes.
"""

import json
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final

from scripts.benchmark.paths import FOLDER
from scripts.benchmark.processes import PIPELINE, Run, accounted, background, wait_for
from scripts.benchmark.recording import NGINX, answers, capture, free_port, requests_served, running
from scripts.benchmark.results import Row

PART: Final = "live"
BUFFER_MIB: Final = 64
CONNECTIONS: Final = 16
STEADY_CONNECTIONS: Final = 176
STEADY_DELAY_MS: Final = 6  # of each connection: wrk waits in whole milliseconds, and comes to 20,000/s with so many
STEADY_RATE: Final = 20_000
STEPS: Final = 6  # of the search for the highest rate
REPLAY_S: Final = 4
UNITS: Final = {"us": 1.0, "ms": 1000.0, "s": 1e6}


@dataclass
class Watched:
    """What a mirror or tcpdump saw."""

    frames: int = 0
    messages: int = 0
    dropped: int = 0
    pid: int = 0
    rings: dict[str, dict[str, int]] = field(default_factory=dict)
    cpu_s: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Load:
    """What wrk measured, and nginx served meanwhile."""

    rate: float  # requests per second
    p99_us: float
    served: int


class Service:
    """nginx on loopback."""

    def __init__(self, port: int, status: int) -> None:
        self.port = port
        self.status = status

    def load(self, seconds: int, connections: int = CONNECTIONS, delay_ms: int = 0) -> Load:
        """Ask it for so many seconds."""
        before = requests_served(self.status)
        with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
            script.write(f"function delay() return {delay_ms} end\n" if delay_ms else "")
            script.flush()
            given = ["-s", script.name] if delay_ms else []
            url = f"http://127.0.0.1:{self.port}/items/42"
            said = subprocess.run(
                ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", *given, url],
                capture_output=True, text=True, check=True,
            ).stdout  # fmt: skip
        amount, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", said).groups()
        rate = float(re.search(r"Requests/sec:\s+([\d.]+)", said)[1])
        return Load(rate, float(amount) * UNITS[unit], requests_served(self.status) - before - 1)


@contextmanager
def serving() -> Iterator[Service]:
    """Run nginx for the length of a block."""
    port, status = free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder:
        conf = Path(folder, "nginx.conf")
        conf.write_text(NGINX.format(dir=folder, port=port, status=status))
        with running(["nginx", "-p", folder, "-c", str(conf)], stderr=subprocess.DEVNULL):
            wait_for("nginx", lambda: answers(port))
            yield Service(port, status)


@contextmanager
def mirrored(interface: str, ports: str = "[]", inside: str = "", more: str = "") -> Iterator[Watched]:
    """Run the pipeline for the length of a block; what it saw is known behind it."""
    seen, run = Watched(), Run()
    with tempfile.TemporaryDirectory() as folder, accounted(run) as environment:
        config, ledger = Path(folder, "m.toml"), Path(folder, "ledger.json")
        source = f'[input]\ntype = "live"\ninterfaces = ["{interface}"]\nports = {ports}\nbuffer = "{BUFFER_MIB}MiB"\n'
        config.write_text(f'{source}{more}[[output]]\ntype = "null"\n')
        command = [*_within(inside), PIPELINE, "run", "-v", "--config", str(config), "--ledger", str(ledger)]
        with background(command, Path(folder, "log"), "ready: every source ", env=environment) as (seen.pid, _word):
            yield seen
        result = json.loads(ledger.read_text())
    counters, seen.rings = result["counters"], result["rings"]
    taken = counters["capture"]
    seen.frames, seen.messages = taken["frames_captured"], counters["assemble"]["messages"]
    seen.dropped = sum(taken[f"frames_dropped_{place}"] for place in ("kernel", "interface", "ring"))
    seen.cpu_s = run.cpu_s


@contextmanager
def dumped(interface: str, inside: str = "", filter_: str = "") -> Iterator[Watched]:
    """Run tcpdump for the length of a block."""
    seen = Watched()
    dump = ["tcpdump", "-i", interface, "-B", str(BUFFER_MIB * 1024), "-s", "262144", "-Z", "root", "-w", "/dev/null"]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        with background([*_within(inside), *dump, *filter_.split()], log, "listening on "):
            yield seen
        said = log.read_text()
    # Not "captured": it does not read what is left in the buffer at its end.
    seen.frames = int(re.search(r"(\d+) packets? received by filter", said)[1])
    seen.dropped = int(re.search(r"(\d+) packets? dropped by kernel", said)[1])


def _within(inside: str) -> list[str]:
    return ["ip", "netns", "exec", inside] if inside else []


def measure(quick: bool, raw: dict[str, Any]) -> list[Row]:
    """Return all rows."""
    seconds = 5 if quick else 30
    with serving() as service:
        rows = [*_loaded(service, seconds, raw), *_steady(service, seconds, raw)]
    return [*rows, *_replayed(quick, raw)]


def _loaded(service: Service, seconds: int, raw: dict[str, Any]) -> Iterator[Row]:
    """Yield what is seen, and what it costs, while wrk asks as fast as it can."""
    kinds: dict[str, list[Load]] = {"alone": [], "mirrored": [], "tcpdump": []}
    missing = dropped = messages = 0
    for _ in range(3):
        kinds["alone"].append(service.load(seconds // 3))
        with dumped("lo", filter_=f"tcp port {service.port}") as _seen:
            kinds["tcpdump"].append(service.load(seconds // 3))
    for length in (seconds // 3, seconds // 3, seconds):
        with mirrored("lo", f"[{service.port}]") as seen:
            kinds["mirrored"].append(service.load(length))
        missing += 2 * kinds["mirrored"][-1].served - seen.messages
        dropped, messages = dropped + seen.dropped, messages + seen.messages
    raw["live full speed"] = {name: [vars(each) for each in loads] for name, loads in kinds.items()}
    rate = {name: median(load.rate for load in loads) for name, loads in kinds.items()}
    p99 = {name: median(load.p99_us for load in loads) for name, loads in kinds.items()}
    yield Row(PART, "full speed: served but not seen", missing, "messages", 0, note=f"{messages:,} seen")
    yield Row(PART, "full speed: dropped", dropped, "frames")
    yield Row(PART, "full speed: rate, mirrored", rate["mirrored"] / rate["alone"], "x alone", note=_each(rate, "/s"))
    yield Row(PART, "full speed: rate, tcpdump", rate["tcpdump"] / rate["alone"], "x alone")
    yield Row(PART, "full speed: p99, mirrored", p99["mirrored"] / p99["alone"], "x alone", note=_each(p99, " us"))
    yield Row(PART, "full speed: p99, tcpdump", p99["tcpdump"] / p99["alone"], "x alone")


def _steady(service: Service, seconds: int, raw: dict[str, Any]) -> Iterator[Row]:
    """Yield the same at a rate that leaves cores idle."""
    alone = service.load(seconds // 3, STEADY_CONNECTIONS, STEADY_DELAY_MS)
    with dumped("lo", filter_=f"tcp port {service.port}"):
        dump = service.load(seconds // 3, STEADY_CONNECTIONS, STEADY_DELAY_MS)
    with mirrored("lo", f"[{service.port}]") as seen:
        load = service.load(seconds, STEADY_CONNECTIONS, STEADY_DELAY_MS)
    raw["live steady"] = {"alone": vars(alone), "mirrored": vars(load), "tcpdump": vars(dump), "cpu_s": seen.cpu_s}
    used = sum(seen.cpu_s.values()) / seconds
    yield Row(PART, "steady: rate", load.rate, "requests/s", STEADY_RATE * 0.9, at_least=True)
    yield Row(PART, "steady: served but not seen", 2 * load.served - seen.messages, "messages", 0)
    yield Row(PART, "steady: dropped", seen.dropped, "frames", 0)
    yield Row(
        PART, "steady: p99, mirrored", load.p99_us / alone.p99_us, "x alone", note=f"{alone.p99_us:,.0f} us alone"
    )
    yield Row(PART, "steady: p99, tcpdump", dump.p99_us / alone.p99_us, "x alone")
    yield Row(PART, "steady: CPU time", used, "cores", note="start-up included")


def _each(figures: dict[str, float], unit: str) -> str:
    return ", ".join(f"{name} {figure:,.0f}{unit}" for name, figure in figures.items())


class Cable:
    """Two namespaces with a cable between them; what is sent at one end is watched at the other."""

    device: Final = "cable"

    def __init__(self) -> None:
        self.ends = ("ringtap-bench-a", "ringtap-bench-b")

    def __enter__(self) -> "Cable":
        self.__exit__()
        first, second = self.ends
        for end in self.ends:
            _ip("netns", "add", end)
        there = ("netns", first, "type", "veth", "peer", "name", self.device, "netns", second)
        _ip("link", "add", self.device, *there)
        for end in self.ends:
            _ip("-n", end, "link", "set", self.device, "up")
        return self

    def __exit__(self, *_error: object) -> None:
        for end in self.ends:
            with suppress(subprocess.CalledProcessError):
                _ip("netns", "delete", end)

    def send(self, path: Path, rate: float, loops: int) -> tuple[int, float]:
        """Replay a capture; returns how many frames went out, and how many per second."""
        pace = ["--topspeed"] if rate == 0 else [f"--pps={rate:.0f}"]
        command = ["tcpreplay", "--preload-pcap", f"--loop={loops}", *pace, "-i", self.device, str(path)]
        said = subprocess.run([*_within(self.ends[0]), *command], capture_output=True, text=True, check=True).stdout
        count = int(re.search(r"Successful packets:\s+(\d+)", said)[1])
        return count, float(re.search(r"([\d.]+) pps", said)[1])


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def _replayed(quick: bool, raw: dict[str, Any]) -> Iterator[Row]:
    """Yield the highest rates without a drop."""
    path, _note = capture(FOLDER, 100_000)
    tried: dict[str, list[Any]] = {"mirrored": [], "tcpdump": []}
    with Cable() as cable:
        frames, top = cable.send(path, 0, 1)

        def clean(kind: str, rate: float) -> float:
            """Return the rate that was reached if nothing was dropped at it, else 0."""
            loops = max(1, round((rate or top) * (1 if quick else REPLAY_S) / frames))
            watch = mirrored if kind == "mirrored" else dumped
            with watch(cable.device, inside=cable.ends[1]) as seen:
                sent, reached = cable.send(path, rate, loops)
            tried[kind].append({"asked": rate, "reached": reached, "sent": sent, "seen": seen.frames})
            return reached if seen.dropped == 0 and seen.frames >= sent else 0.0

        best = {kind: _highest(lambda rate, kind=kind: clean(kind, rate), top) for kind in tried}
    raw["live replay"] = {"top": top, "tried": tried}
    yield Row(PART, "replay: highest rate, tcpdump", best["tcpdump"], "frames/s", note=f"tcpreplay alone {top:,.0f}/s")
    yield Row(PART, "replay: highest rate, mirrored", best["mirrored"], "frames/s")
    ratio = best["mirrored"] / best["tcpdump"] if best["tcpdump"] else 0.0
    yield Row(PART, "replay: mirrored", ratio, "x tcpdump", 0.8, at_least=True)


def _highest(clean: Any, top: float) -> float:
    """Return the highest rate at which nothing is dropped: that of no pacing at all, or one found by halving."""
    reached = clean(0)
    if reached:
        return reached
    low, high, best = 0.0, top, 0.0
    for _ in range(STEPS):
        middle = (low + high) / 2
        reached = clean(middle)
        low, high, best = (middle, high, max(best, reached)) if reached else (low, middle, best)
    return best
