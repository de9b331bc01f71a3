"""What was measured, as rows: printed with target and verdict, kept as JSON, one line per run in a history.

In: rows.  Out: text, files.  Invariant: a row's (part, name) is the same in every run, so that runs can be compared.
"""

import json
import os
import platform
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

HISTORY: Final = "history.jsonl"


@dataclass(frozen=True)
class Row:
    """One figure; `target` is the most it may be, or the least if `at_least`."""

    part: str
    name: str
    value: float
    unit: str
    target: float | None = None
    at_least: bool = False
    note: str = ""

    @property
    def verdict(self) -> str:
        """Return "met", "MISSED", or nothing where there is no target."""
        if self.target is None:
            return ""
        met = self.value >= self.target if self.at_least else self.value <= self.target
        return "met" if met else "MISSED"


def number(value: float) -> str:
    """Return a number with three significant digits or all before the point."""
    if value == 0:
        return "0"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def table(title: str, rows: Iterable[Row]) -> str:
    """Return rows as text."""
    lines = [f"\n{title}", f"  {'':<34}{'measured':>12}  {'unit':<22}{'target':>10}"]
    for row in rows:
        target = "" if row.target is None else f"{'>=' if row.at_least else '<='} {number(row.target)}"
        ending = "  ".join(x for x in (row.verdict, row.note) if x)
        lines.append(f"  {row.name:<34}{number(row.value):>12}  {row.unit:<22}{target:>10}  {ending}".rstrip())
    return "\n".join(lines)


def slope_ratio(path: tuple[float, float], base: tuple[float, float]) -> float:
    """Return how a path's time grows from the short file to the long one, as a multiple of the base's growth."""
    growth = base[1] - base[0]
    if growth <= 0:
        raise SystemExit("bench: the long file took no longer than the short one; take longer files (--exchanges)")
    return (path[1] - path[0]) / growth


def machine() -> dict[str, Any]:
    """Say where this ran."""
    models = [x.split(":")[1].strip() for x in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in x]
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def commit() -> str:
    """Return the commit that is checked out, with a + if something was changed since."""
    found = subprocess.run(["git", "describe", "--always", "--dirty=+"], capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


def save(folder: Path, rows: Sequence[Row], took_s: float, quick: bool, raw: dict[str, Any]) -> Path:
    """Write one run as JSON, and add its line to the history."""
    result = {
        "date": time.strftime("%Y-%m-%dT%H:%M:%S"), "commit": commit(), "machine": machine(),
        "took_s": round(took_s, 1), "quick": quick,
        "rows": [{**asdict(row), "verdict": row.verdict} for row in rows],
    }  # fmt: skip
    path = folder / f"result-{time.strftime('%Y%m%d-%H%M%S')}.json"
    path.write_text(json.dumps({**result, "raw": raw}, indent=1))
    with (folder / HISTORY).open("a") as history:
        history.write(json.dumps(result) + "\n")
    return path


def history(folder: Path) -> list[dict[str, Any]]:
    """Return all runs of the past, the oldest first."""
    path = folder / HISTORY
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def find(runs: Sequence[dict[str, Any]], wanted: str) -> dict[str, Any]:
    """Return a run by its number (from the end if negative), or the latest of a commit or date by its beginning."""
    try:
        return runs[int(wanted)]
    except (ValueError, IndexError):
        pass
    for each in reversed(runs):
        if each["commit"].startswith(wanted) or each["date"].startswith(wanted):
            return each
    known = ", ".join(f"{at} ({each['commit']}, {each['date']})" for at, each in enumerate(runs)) or "none yet"
    raise SystemExit(f"bench: {wanted}: no such run; there are {known}")


def compare(first: dict[str, Any], second: dict[str, Any]) -> str:
    """Return two runs side by side; rows that only one of them has are left out."""
    before = {(row["part"], row["name"]): row for row in first["rows"]}
    lines = [f"{'':<10}{'':<34}{first['commit']:>14}{second['commit']:>14}{'change':>9}"]
    if first["machine"] != second["machine"] or first["quick"] != second["quick"]:
        lines.insert(0, "the runs are from different machines or of different sizes")
    for row in second["rows"]:
        old = before.get((row["part"], row["name"]))
        if old is None:
            continue
        change = f"{100 * (row['value'] / old['value'] - 1):+.0f}%" if old["value"] else ""
        verdict = row["verdict"] if row["verdict"] == old["verdict"] else f"{old['verdict']} -> {row['verdict']}"
        values = f"{number(old['value']):>14}{number(row['value']):>14}{change:>9}"
        lines.append(f"{row['part']:<10}{row['name']:<34}{values}  {row['unit']}  {verdict}".rstrip())
    return "\n".join(lines)
