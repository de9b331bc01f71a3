"""The main table: every path over recorded traffic, as a ratio to tcpdump in alternating rounds of the same run.

In: captures of two lengths.  Out: rows.  A figure is the slope between the two files over tcpdump's slope between
the same two, so that start-up does not count.
"""

import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from scripts.benchmark.paths import PATHS, Note, run_path
from scripts.benchmark.pcap import FILE_HEADER, RECORD
from scripts.benchmark.processes import run
from scripts.benchmark.results import Row, slope_ratio

PEER_FRAMES: Final = {"tshark": (20_000, 80_000), "tcpflow": (100_000, 400_000)}
"""Frames of the two cuts that a peer is given: tshark needs minutes for the whole file."""


def measure(files: list[tuple[Path, Note]], rounds: int, names: list[str], raw: dict[str, Any]) -> list[Row]:
    """Run all paths in alternating rounds over both files."""
    walls: dict[str, list[list[float]]] = {name: [[], []] for name in ("tcpdump", *names)}
    for turn in range(rounds):
        for name, both in walls.items():
            for at, (file, note) in enumerate(files):
                both[at].append(run_path(name, file, note).wall_s)
        print(f"main: round {turn + 1} of {rounds}", file=sys.stderr)
    medians = {name: (statistics.median(short), statistics.median(long)) for name, (short, long) in walls.items()}
    raw["walls_s"] = walls
    base = medians["tcpdump"]
    rows = [Row("main", "tcpdump", base[1] - base[0], "s", note=seconds(base))]
    for name in names:
        ratio = slope_ratio(medians[name], base)
        rows.append(Row("main", name, ratio, "x tcpdump", PATHS[name].target, note=seconds(medians[name])))
    return rows


def seconds(both: tuple[float, float]) -> str:
    """Say how long both files took."""
    return f"{both[0]:.2f} s and {both[1]:.2f} s"


def stages(name: str, file: Path, note: Note, raw: dict[str, Any]) -> list[Row]:
    """Return the CPU time of each process of one run over the long file, per million messages."""
    result = run_path(name, file, note)
    raw.setdefault("cpu_s", {})[name] = result.cpu_s
    millions = note["messages"] / 1e6
    if name == "library":
        used = {"one process": result.total_cpu_s}
    else:  # without the resource tracker of multiprocessing, which does nothing
        used = {stage: cpu_s for stage, cpu_s in sorted(result.cpu_s.items()) if not stage.startswith("python")}
    return [Row("cpu", f"{name}: {stage}", cpu_s / millions, "s per 10^6 messages") for stage, cpu_s in used.items()]


def peers(file: Path, rows: list[Row], files: list[tuple[Path, Note]]) -> list[Row]:
    """Return what other programs need for the same traffic, from two cuts of it, scaled."""
    frames = [count_frames(path) for path, _ in files]
    tcpdump_s = rows[0].value / (frames[1] - frames[0])  # per frame
    found = []
    for name, cuts in PEER_FRAMES.items():
        if not shutil.which(name):
            print(f"main: {name} is not installed and left out", file=sys.stderr)
            continue
        port = files[0][1]["port"]
        with tempfile.TemporaryDirectory(dir=file.parent) as folder:
            times = [min(run_peer(name, cut(file, size, Path(folder)), port) for _ in range(3)) for size in cuts]
        ratio = (times[1] - times[0]) / (cuts[1] - cuts[0]) / tcpdump_s
        found.append(Row("main", name, ratio, "x tcpdump", note=f"from {cuts[0]:,} and {cuts[1]:,} frames, scaled"))
    return found


def run_peer(name: str, file: Path, port: int) -> float:
    """Run another program over a file: tshark prints the fields of requests, tcpflow writes the streams."""
    if name == "tcpflow":
        with tempfile.TemporaryDirectory(dir=file.parent) as folder:
            return run(["tcpflow", "-r", str(file), "-o", folder]).wall_s
    fields = ["-e", "frame.time_epoch", "-e", "ip.src", "-e", "http.request.method", "-e", "http.request.uri"]
    return run(
        ["tshark", "-r", str(file), "-d", f"tcp.port=={port},http", "-Y", "http.request", "-T", "fields", *fields]
    ).wall_s


def cut(file: Path, frames: int, folder: Path) -> Path:
    """Write the first frames of a capture."""
    target = folder / f"{frames}.pcap"
    with file.open("rb") as source, target.open("wb") as out:
        out.write(source.read(len(FILE_HEADER)))
        for _ in range(frames):
            header = source.read(RECORD.size)
            if len(header) < RECORD.size:
                break
            out.write(header + source.read(RECORD.unpack(header)[2]))
    return target


def count_frames(file: Path) -> int:
    """Count the frames of a capture."""
    from capture.sources import FrameSource

    with FrameSource((str(file),)) as source:
        return sum(int.from_bytes(batch[:4], "little") for batch in source.payloads())
