"""Runs captures of two lengths through every path in alternating rounds, and prints ratios to tcpdump.

In: real captures (bench_traffic.py).  Out: a table, and the same as JSON in build/bench/.  A path's figure is
the slope between the two files over tcpdump's slope between the same two, so that start-up does not count.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

from bench_traffic import capture, wait_for

FOLDER = Path("build/bench")
GOALS = {"null": 3.0, "tcp": 8.0, "jsonl": 12.0}
PIPELINE = str(Path(sys.executable).with_name("pipeline"))
TICK_S = 0.1


class Watch(threading.Thread):
    """Samples CPU time and memory of a process and all its descendants until it ends."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid = pid
        self.cpu_s: dict[str, float] = {}
        self.peak_kib: dict[str, int] = {}
        self.curve_kib: dict[str, list[int]] = {}
        self.ended = threading.Event()

    def run(self) -> None:
        """Sample until told that the process has ended."""
        while not self.ended.wait(TICK_S):
            for pid in [self.pid, *descendants(self.pid)]:
                self.sample(pid)

    def sample(self, pid: int) -> None:
        """Read one process; it may be gone."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
            status = Path(f"/proc/{pid}/status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return
        name = stat[stat.index("(") + 1 : stat.rindex(")")]
        fields = stat[stat.rindex(")") + 2 :].split()
        self.cpu_s[name] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        anonymous = next((int(x.split()[1]) for x in status.splitlines() if x.startswith("RssAnon")), 0)
        self.peak_kib[name] = max(self.peak_kib.get(name, 0), anonymous)
        self.curve_kib.setdefault(name, []).append(anonymous)


def descendants(pid: int) -> list[int]:
    """Return the numbers of all processes below one."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(x) for x in task.read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue
        for child in children:
            found += [child, *descendants(child)]
    return found


def timed(command: list[str], watch: bool = False) -> tuple[float, Watch | None]:
    """Run a command; return its wall time in seconds, and what was watched."""
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    watcher = Watch(process.pid) if watch else None
    if watcher:
        watcher.start()
    _, errors = process.communicate()
    wall_s = time.perf_counter() - begin
    if watcher:
        watcher.ended.set()
        watcher.join()
    if process.returncode != 0:
        raise SystemExit(f"bench: {' '.join(command)} ended with {process.returncode}:\n{errors}")
    return wall_s, watcher


class Receiver:
    """A `pipeline receive` that writes nowhere, for the length of a block."""

    def __enter__(self) -> str:
        self.log = FOLDER / "receiver.log"
        with self.log.open("w") as stderr:
            command = [PIPELINE, "receive", "--listen", "127.0.0.1:0", "--to", "null"]
            self.process = subprocess.Popen(command, stderr=stderr)
        wait_for("the receiver", lambda: "listening on" in self.log.read_text())
        return self.log.read_text().split("listening on ")[1].split()[0]

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(30)


def run_path(path: str, file: Path, note: dict[str, int], watch: bool = False) -> tuple[float, Watch | None]:
    """Run one path over one capture and check that everything went through."""
    if path == "tcpdump":
        return timed(["tcpdump", "-r", str(file), "-w", "/dev/null"])
    ledger, config, lines = FOLDER / "ledger.json", FOLDER / "bench.toml", FOLDER / "messages.jsonl"
    lines.unlink(missing_ok=True)
    output = {"null": 'type = "null"', "jsonl": f'type = "file"\npath = "{lines}"\nformat = "jsonl"'}
    command = [PIPELINE, "run", "--quiet", "--config", str(config), "--ledger", str(ledger)]
    source = f'[input]\ntype = "pcap"\npath = "{file}"\nports = [{note["port"]}]\n[[output]]\n'
    if path == "tcp":
        with Receiver() as address:
            config.write_text(f'{source}type = "tcp"\naddress = "{address}"\n')
            result = timed(command, watch)
    else:
        config.write_text(source + output[path] + "\n")
        result = timed(command, watch)
    if path == "jsonl":
        with lines.open("rb") as written:
            count = sum(block.count(b"\n") for block in iter(lambda: written.read(1 << 20), b""))
        lines.unlink()
    else:
        count = None
    check(json.loads(ledger.read_text()), note, count)
    return result


def check(ledger: dict, note: dict[str, int], lines: int | None) -> None:
    """Hold the ledger against nginx's own count: a request and a response for each that it served.

    A request that its connection's end caught on the way may come on top: one per connection and burst.
    """
    assembled = next(e for e in ledger["equations"] if e["name"] == "messages")["left"]
    served = 2 * note["served"]
    if not ledger["closed"] or ledger["loss"] or not served <= assembled <= served + note["may_exceed"]:
        raise SystemExit(f"bench: {assembled} messages of {served}; lost: {ledger['loss']}")
    if lines is not None and lines != assembled:
        raise SystemExit(f"bench: {lines} lines for {assembled} messages")


def frames_in(file: Path) -> int:
    """Count the frames of a capture."""
    from capture.sources import FrameSource

    with FrameSource((str(file),)) as source:
        return sum(int.from_bytes(batch[:4], "little") for batch in source.payloads())


def spark(values: list[int], width: int = 20) -> str:
    """Return a curve as text: `width` medians, in MiB."""
    step = max(1, len(values) // width)
    return " ".join(f"{statistics.median(values[at : at + step]) / 1024:.0f}" for at in range(0, len(values), step))


def report_run(path: str, file: Path, note: dict[str, int]) -> dict:
    """Run one path once more over the long file and print rates, CPU and memory of each process."""
    wall_s, watch = run_path(path, file, note, watch=True)
    frames = frames_in(file)
    messages = 2 * note["served"]
    print(f"\n{path}: {wall_s:.2f} s, {frames / wall_s:,.0f} frames/s, {messages / wall_s:,.0f} messages/s")
    print(f"  {'process':<16}{'CPU s':>8}{'peak MiB':>10}  memory over the run beside the rings, MiB")
    for name in watch.cpu_s:
        peak = watch.peak_kib[name] / 1024
        print(f"  {name:<16}{watch.cpu_s[name]:>8.2f}{peak:>10.1f}  {spark(watch.curve_kib[name])}")
    return {
        "wall_s": wall_s, "frames": frames, "messages": messages, "cpu_s": watch.cpu_s,
        "peak_kib": watch.peak_kib, "curve_kib": watch.curve_kib,
    }  # fmt: skip


def main() -> None:
    """Record, run, compare, print."""
    options = argparse.ArgumentParser(prog="scripts/bench", description=__doc__.splitlines()[0])
    options.add_argument("--exchanges", type=int, default=1_000_000, help="of the short file; the long one has 3 times")
    options.add_argument("--rounds", type=int, default=5, help="alternating rounds (default %(default)s)")
    options.add_argument("--paths", default=",".join(GOALS), help="which paths (default %(default)s)")
    chosen = options.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    files = [capture(FOLDER, chosen.exchanges * times) for times in (1, 3)]
    for file, note in files:
        size = file.stat().st_size / 2**20
        print(f"{file}: {size:,.0f} MiB, {note['served']:,} exchanges by nginx's count")
    paths = ["tcpdump", *chosen.paths.split(",")]
    walls: dict[str, list[list[float]]] = {path: [[], []] for path in paths}
    for turn in range(chosen.rounds):
        for path in paths:
            for at, (file, note) in enumerate(files):
                walls[path][at].append(run_path(path, file, note)[0])
        print(f"round {turn + 1} of {chosen.rounds}", file=sys.stderr)
    medians = {path: [statistics.median(times) for times in both] for path, both in walls.items()}
    slopes = {path: long - short for path, (short, long) in medians.items()}
    print(f"\n{'path':<10}{'short s':>9}{'long s':>9}{'slope':>8}{'/tcpdump':>10}{'goal':>6}")
    for path in paths:
        ratio = slopes[path] / slopes["tcpdump"]
        goal = GOALS.get(path)
        verdict = "" if goal is None else f"{goal:>6.0f}  {'met' if ratio <= goal else 'MISSED'}"
        print(f"{path:<10}{medians[path][0]:>9.2f}{medians[path][1]:>9.2f}{slopes[path]:>8.2f}{ratio:>10.2f}{verdict}")
    runs = {path: report_run(path, *files[1]) for path in paths[1:]}
    result = FOLDER / f"result-{time.strftime('%Y%m%d-%H%M%S')}.json"
    result.write_text(json.dumps({"walls_s": walls, "slopes_s": slopes, "runs": runs}, indent=1))
    print(f"\n{result}")


if __name__ == "__main__":
    main()
