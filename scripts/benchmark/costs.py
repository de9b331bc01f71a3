"""What a shape of traffic costs: CPU time of the assembler, and of all processes, over generated files.

In: shapes by name.  Out: rows.  A cost is the CPU time over the file less that over a tiny one, each the least of some
runs: whatever else a machine does adds to it and never takes away, and start-up is not the shape's.
"""

import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from scripts.benchmark.paths import FOLDER, Note, arguments, run_path
from scripts.benchmark.processes import Run
from scripts.benchmark.results import Row
from scripts.benchmark.shapes import PASSING, catalogue, generated

BODY_TARGET: Final = 1.5  # GB of payload per CPU second of the assembler
MORE: Final = 1.5  # times the cost of the usual case
LANES: Final = (1, 2, 4)
SHORT_FRAMES: Final = 200_000


@dataclass
class Cost:
    """The least over the runs of one shape."""

    note: Note
    wall_s: float
    assembler_s: float
    total_s: float


class Costs:
    """Runs shapes; each once, however often it is asked for."""

    def __init__(self, quick: bool) -> None:
        self.quick = quick
        self.repeats = 1 if quick else 3
        self.known: dict[str, Cost] = {}

    def of(self, name: str, settings: tuple[str, ...] = ()) -> Cost:
        """Return what a shape costs beyond start-up."""
        key = " ".join((name, *settings))
        if key not in self.known:
            cost = self.measured(name, settings)
            if name != "tiny":
                tiny = self.of("tiny", settings)
                cost.assembler_s -= tiny.assembler_s
                cost.total_s -= tiny.total_s
            self.known[key] = cost
        return self.known[key]

    def measured(self, name: str, settings: tuple[str, ...]) -> Cost:
        """Run one shape some times."""
        file, note = generated(FOLDER, name, self.quick)
        needed = (*catalogue(self.quick)[name].settings, *settings)
        runs: list[Run] = []
        # Where start-up is most of the time it takes more runs to tell what is not.
        for _ in range(self.repeats * (3 if note["frames"] < SHORT_FRAMES else 1)):
            runs.append(run_path("null", file, note, needed))
        if name == PASSING:
            file.unlink()
        return Cost(
            note,
            min(each.wall_s for each in runs),
            min(each.cpu_of("assembler") for each in runs),
            min(each.total_cpu_s for each in runs),
        )


def shapes(quick: bool, raw: dict[str, Any]) -> list[Row]:
    """Measure every shape."""
    costs = Costs(quick)
    rows = []
    for name in [name for name in catalogue(quick) if name.startswith(("body", "chunked"))]:
        cost = costs.of(name)
        payload = cost.note["payload"] / 1e9
        note = f"whole run {payload / cost.wall_s:.2f} GB/s by the wall, start-up included"
        target = None if name.startswith("chunked") else BODY_TARGET
        rows.append(Row("shapes", name, payload / cost.assembler_s, "GB per CPU s", target, True, note))
    for name, usual, target in (
        ("100,000 connections", "100 connections", MORE),
        ("reordered", "in order", MORE),
        ("reordered 1 MB", "body 1 MB", MORE),
        ("one connection", "in order", None),
        ("IPv6", "in order", None),
        ("VLAN", "in order", None),
        ("requests only", "in order", None),
    ):
        cost = per_frame_us(costs.of(name)) / per_frame_us(costs.of(usual))
        note = f"{per_frame_us(costs.of(name)):.3f} us per frame"
        rows.append(Row("shapes", name, cost, f"x {usual}", target, note=note))
    rows += sizes(costs)
    if quick:  # too little to judge by
        rows = [replace(row, target=None) for row in rows]
    raw["costs"] = {name: vars(cost) for name, cost in costs.known.items()}
    return rows


def per_frame_us(cost: Cost) -> float:
    """Return the assembler's CPU time per frame."""
    return 1e6 * cost.assembler_s / cost.note["frames"]


def sizes(costs: Costs) -> list[Row]:
    """Return the cost per message over the number of messages, and how far it is from flat."""
    names = [name for name in catalogue(costs.quick) if name.startswith("10^")]
    each = {name: 1e6 * costs.of(name).total_s / costs.of(name).note["messages"] for name in names}
    own = {name: 1e6 * costs.of(name).assembler_s / costs.of(name).note["messages"] for name in names}
    rows = [
        Row("shapes", name, us, "us per message", note=f"all processes; assembler {own[name]:.3f}")
        for name, us in each.items()
    ]
    # The smallest file has hardly more than noise: the largest is held against the one in the middle.
    middle = names[len(names) // 2]
    return [*rows, Row("shapes", f"{names[-1]} against {middle}", each[names[-1]] / each[middle], "x", 1.1)]


def lanes(quick: bool, raw: dict[str, Any]) -> list[Row]:
    """Return the CPU time of all processes per million messages, for one, two and four lanes."""
    costs, name = Costs(quick), "10^5 messages" if quick else "10^6 messages"
    rows = []
    for count in LANES:
        setting = f"input.lanes={count}"
        if not known(setting, generated(FOLDER, "tiny", quick)[0]):
            print(f"scale: left out, this version has no key input.lanes (asked with --set {setting})")
            return rows
        cost = costs.of(name, (setting,))
        rows.append(Row(
            "scale", f"lanes {count}", 1e6 * cost.total_s / cost.note["messages"], "CPU s per 10^6",
            note=f"wall {cost.wall_s:.2f} s",
        ))  # fmt: skip
    raw["lanes"] = {name: vars(cost) for name, cost in costs.known.items()}
    return rows


def known(setting: str, file: Path) -> bool:
    """Tell whether the configuration has a key."""
    command = arguments(str(file), 8080, 'type = "null"')
    command = [command[0], "check", "--config", str(FOLDER / "bench.toml"), "--set", setting]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
