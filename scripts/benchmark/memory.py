"""How much memory all processes have together at their highest, beside the rings.

RssAnon of every process at the same moment, every 50 ms.  Shared pages (rings, the programs' files) do not count.
"""

from pathlib import Path
from typing import Any, Final

from scripts.benchmark.paths import FOLDER, Note, run_path
from scripts.benchmark.results import Row
from scripts.benchmark.shapes import generated

USUAL_MIB: Final = 150
PARTIAL_MIB: Final = 1024


def measure(quick: bool, recorded: tuple[Path, Note], raw: dict[str, Any]) -> list[Row]:
    """Watch one run of each kind."""
    rows = []
    for name in ("null", "tcp", "jsonl"):
        rows.append(watched(name, name, recorded, USUAL_MIB, raw))
    partial = generated(FOLDER, "partial", quick)
    count = partial[1]["messages"]
    return [*rows, watched("null", f"{count:,} partial messages", partial, PARTIAL_MIB, raw)]


def watched(path: str, name: str, traffic: tuple[Path, Note], target: float, raw: dict[str, Any]) -> Row:
    """Run once and look at the memory."""
    result = run_path(path, *traffic, watch=True)
    raw.setdefault("peak_kib", {})[name] = result.peak_kib
    # A process that has not told its name yet is "python".
    largest = max((x for x in result.peak_kib if not x.startswith("python")), key=result.peak_kib.__getitem__)
    note = f"{largest} {result.peak_kib[largest] / 1024:.0f}; rings {result.rings_kib / 1024:.0f}"
    return Row("memory", name, result.peak_sum_kib / 1024, "MiB, all processes", target, note=note)
