"""The command line of scripts/bench.

scripts/bench [--only PART,…] [--quick]   measure, print, and keep the result in build/bench/
scripts/bench compare [A B]               two runs side by side; without A and B the latest two
scripts/bench charts                      draw docs/performance-*.svg from the latest runs
scripts/bench profile PATH                a flame graph of a run (null, tcp, sink, jsonl or library)
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from scripts.benchmark import charts, costs, flame, latency, live, memory, ratios, replay, results, soak, startup
from scripts.benchmark.paths import FOLDER, PATHS, Note
from scripts.benchmark.recording import capture
from scripts.benchmark.results import Row
from scripts.benchmark.shapes import PASSING, catalogue, generated

PARTS: Final = {
    "startup": "From the shell to the prompt",
    "main": "Recorded small exchanges, slope over tcpdump's slope",
    "memory": "Private memory at its highest",
    "shapes": "Generated traffic: CPU time less that of a tiny file",
    "latency": "Arrival less event time at 10,000 messages/s, and at rest",
    "scale": "Lanes: CPU time of all processes",
    "live": "Live, beside the service that is mirrored, on the same cores",
    "replay": "Replay of a recording to nginx, beside wrk on the same connections",
    "soak": "Live, at a steady rate for a long time",
}
TITLES: Final = {**PARTS, "cpu": "CPU time of each process of the sending side over the long recording"}
USUAL_PARTS: Final = ",".join(name for name in PARTS if name != "soak")
QUICK: Final = 100_000  # exchanges of the short recording
USUAL: Final = 1_000_000


class Bench:
    """One run of the benchmark."""

    def __init__(self, chosen: argparse.Namespace) -> None:
        self.quick: bool = chosen.quick
        self.rounds: int = chosen.rounds or (2 if chosen.quick else 5)
        self.exchanges: int = chosen.exchanges or (QUICK if chosen.quick else USUAL)
        self.soak_s: int = 60 if chosen.quick else chosen.soak
        self.names: list[str] = chosen.paths.split(",")
        self.raw: dict[str, Any] = {}

    def recorded(self) -> list[tuple[Path, Note]]:
        """Return the recordings of two lengths, made now if need be."""
        return [capture(FOLDER, self.exchanges * times) for times in (1, 3)]

    def prepare(self, parts: list[str]) -> None:
        """Record and generate what is not there yet, so that its time is not in the figures."""
        generated(FOLDER, "tiny", self.quick)
        if {"main", "memory"} & set(parts):
            for file, note in self.recorded():
                size = file.stat().st_size / 2**20
                print(f"{file}: {size:,.0f} MiB, {note['messages'] // 2:,} exchanges by nginx's count")
        if "shapes" in parts:
            for name in catalogue(self.quick).keys() - {PASSING}:
                generated(FOLDER, name, self.quick)

    def main(self) -> list[Row]:
        """Compare with tcpdump, and say where the CPU time goes."""
        files = self.recorded()
        rows = ratios.measure(files, self.rounds, self.names, self.raw)
        rows += ratios.peers(files[0][0], rows, files)
        for name in self.names:
            rows += ratios.stages(name, *files[1], self.raw)
        return rows

    def part(self, name: str) -> list[Row]:
        """Measure one part."""
        parts: dict[str, Callable[[], list[Row]]] = {
            "main": self.main,
            "startup": lambda: startup.measure(self.quick, self.raw),
            "memory": lambda: memory.measure(self.quick, self.recorded()[0], self.raw),
            "shapes": lambda: costs.shapes(self.quick, self.raw),
            "latency": lambda: latency.measure(self.quick, self.raw),
            "scale": lambda: costs.lanes(self.quick, self.raw),
            "live": lambda: live.measure(self.quick, self.raw),
            "replay": lambda: replay.measure(self.quick, self.raw),
            "soak": lambda: soak.measure(self.soak_s, self.raw),
        }
        return parts[name]()

    def run(self, parts: list[str]) -> None:
        """Measure the parts, print each as it is known, and keep the result."""
        begin = time.monotonic()
        FOLDER.mkdir(parents=True, exist_ok=True)
        self.prepare(parts)
        prepared_s = time.monotonic() - begin
        rows: list[Row] = []
        for name in parts:
            since = time.monotonic()
            found = self.part(name)
            rows += found
            for group in dict.fromkeys(row.part for row in found):
                title = f"{TITLES[group]} ({group}{f', {time.monotonic() - since:.0f} s' if group == name else ''})"
                print(results.table(title, [row for row in found if row.part == group]), flush=True)
        took_s = time.monotonic() - begin
        missed = [f"{row.part} {row.name}" for row in rows if row.verdict == "MISSED"]
        judged = sum(row.target is not None for row in rows)
        print(
            f"\n{judged - len(missed)} of {judged} targets met" + (f"; missed: {', '.join(missed)}" if missed else "")
        )
        if self.quick:
            print("small files: good for trying the benchmark, not for its figures")
        print(f"took {took_s:.0f} s, {prepared_s:.0f} s of it for recording and generating what was not there yet")
        print(results.save(FOLDER, rows, took_s, self.quick, self.raw))


def arguments() -> argparse.Namespace:
    """Read the command line."""
    options = argparse.ArgumentParser(
        prog="scripts/bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("command", nargs="?", choices=("run", "compare", "charts", "profile"), default="run")
    options.add_argument("names", nargs="*", help="of compare: two runs; of profile: a path")
    options.add_argument("--only", default=USUAL_PARTS, help="parts to run (default %(default)s; also soak)")
    options.add_argument("--soak", type=int, default=3600, help="seconds of the soak (default %(default)s)")
    options.add_argument("--quick", action="store_true", help="small files, two rounds: about a minute")
    options.add_argument("--exchanges", type=int, help="of the short recording; the long one has 3 times as many")
    options.add_argument("--rounds", type=int, help="alternating rounds of the main table (default 5)")
    options.add_argument("--paths", default=",".join(PATHS), help="of the main table (default %(default)s)")
    chosen = options.parse_args()
    for given, known in ((chosen.only, PARTS), (chosen.paths, PATHS)):
        if unknown := set(given.split(",")) - set(known):
            options.error(f"{', '.join(sorted(unknown))}: not one of {', '.join(known)}")
    if chosen.command == "profile" and (len(chosen.names) != 1 or chosen.names[0] not in PATHS):
        options.error(f"profile: write one of {', '.join(PATHS)}")
    return chosen


def main() -> None:
    """Do what the command line says."""
    chosen = arguments()
    if chosen.command == "compare":
        runs = results.history(FOLDER)
        print(results.compare(*(results.find(runs, each) for each in (chosen.names or ["-2", "-1"])[:2])))
    elif chosen.command == "charts":
        for path in charts.draw(results.history(FOLDER), Path("docs")):
            print(path)
    elif chosen.command == "profile":
        FOLDER.mkdir(parents=True, exist_ok=True)
        print(flame.profile(chosen.names[0], *Bench(chosen).recorded()[0]))
    else:
        Bench(chosen).run([name for name in PARTS if name in chosen.only.split(",")])


if __name__ == "__main__":
    main()
