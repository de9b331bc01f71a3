"""Three charts of the latest runs: ratios with their targets, cost per message over size, CPU time by stage.

In: the history.  Out: docs/performance-*.svg.  Runs of small files are not drawn.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from scripts.benchmark.results import number
from scripts.benchmark.svg import COLOURS, FAINT, INK, Drawing

WIDTH: Final = 760
LEFT: Final = 110
RIGHT: Final = 40
BAR: Final = 24
STEP: Final = 38
TOP: Final = 74

Result = dict[str, Any]


def draw(runs: Sequence[Result], folder: Path) -> list[Path]:
    """Draw what there are figures for; return the files."""
    kinds: dict[str, tuple[str, Callable[[Result], str]]] = {
        "ratios": ("main", ratios),
        "sizes": ("shapes", sizes),
        "stages": ("cpu", stages),
    }
    written = []
    for name, (part, chart) in kinds.items():
        found = [each for each in runs if not each["quick"] and any(row["part"] == part for row in each["rows"])]
        if not found:
            continue
        path = folder / f"performance-{name}.svg"
        path.write_text(chart(found[-1]))
        written.append(path)
    if not written:
        raise SystemExit("bench: nothing to draw; run scripts/bench first, without --quick")
    return written


def heading(drawing: Drawing, title: str, result: Result) -> None:
    """Write what a chart shows, and where and when it was measured."""
    drawing.words(16, 28, title, size=17, weight=600)
    where = result["machine"]
    drawing.words(16, 48, f"{where['cores']} cores of {where['cpu']}, {result['date'][:10]}, commit {result['commit']}")


def ticks(most: float) -> list[float]:
    """Return round values from 0 to at least `most`."""
    step = 10 ** math.floor(math.log10(most))
    step = next(step * part for part in (0.2, 0.5, 1, 2) if most / (step * part) <= 8)
    return [step * at for at in range(math.ceil(most / step) + 1)]


def across(drawing: Drawing, most: float, bottom: float) -> float:
    """Draw a scale from left to right; return pixels per unit."""
    values = ticks(most)
    scale = (WIDTH - LEFT - RIGHT) / values[-1]
    for value in values:
        x = LEFT + value * scale
        drawing.line([(x, TOP - 8), (x, bottom)], FAINT)
        drawing.words(x, bottom + 16, f"{value:g}", "middle", 12)
    return scale


def ratios(result: Result) -> str:
    """Draw one bar per path, and its target as a mark."""
    rows = [row for row in result["rows"] if row["part"] == "main" and row["target"] is not None]
    drawing = Drawing(WIDTH, TOP + STEP * len(rows) + 48)
    heading(drawing, "Time as a multiple of tcpdump -r FILE -w /dev/null", result)
    bottom = TOP + STEP * len(rows)
    scale = across(drawing, max(max(row["value"], row["target"]) for row in rows) * 1.08, bottom)
    for at, row in enumerate(rows):
        y = TOP + STEP * at
        drawing.words(LEFT - 10, y + 17, row["name"], "end", weight=600)
        drawing.box(LEFT, y, row["value"] * scale, BAR, COLOURS[0 if row["verdict"] == "met" else 4])
        drawing.words(LEFT + 8, y + 17, number(row["value"]), weight=600)
        drawing.parts[-1] = drawing.parts[-1].replace(INK, "#ffffff")
        x = LEFT + row["target"] * scale
        drawing.line([(x, y - 5), (x, y + BAR + 5)], INK, 2.5)
    drawing.words(LEFT, bottom + 38, "black mark: target; red bar: missed", size=12)
    return drawing.text()


def sizes(result: Result) -> str:
    """Draw the cost per message over the number of messages."""
    rows = [row for row in result["rows"] if row["part"] == "shapes" and row["unit"] == "us per message"]
    left, bottom, height = 60, 320, 236
    drawing = Drawing(WIDTH, bottom + 52)
    heading(drawing, "CPU time per message over the length of a file, all processes, null output", result)
    values = ticks(max(row["value"] for row in rows) * 1.2)
    for value in values:
        y = bottom - value / values[-1] * height
        drawing.line([(left, y), (WIDTH - RIGHT, y)], FAINT)
        drawing.words(left - 8, y + 4, f"{value:g}", "end", 12)
    drawing.words(16, TOP - 2, "µs", size=12)
    spread = (WIDTH - RIGHT - left - 80) / max(1, len(rows) - 1)
    points = [(left + 40 + at * spread, bottom - row["value"] / values[-1] * height) for at, row in enumerate(rows)]
    drawing.line(points, COLOURS[0], 2.5)
    for (x, y), row in zip(points, rows, strict=True):
        drawing.dot(x, y, COLOURS[0])
        drawing.words(x, y - 12, number(row["value"]), "middle", weight=600)
        drawing.words(x, bottom + 20, f"{10 ** int(row['name'].split()[0][3:]):,}", "middle", 12)
    drawing.words(WIDTH / 2, bottom + 42, "messages", "middle", 12)
    return drawing.text()


def stages(result: Result) -> str:
    """Draw the CPU time of each process, one stacked bar per path."""
    used: dict[str, dict[str, float]] = {}
    for row in result["rows"]:
        if row["part"] == "cpu":
            path, stage = row["name"].split(": ")
            used.setdefault(path, {})[stage] = row["value"]
    names = sorted({stage for each in used.values() for stage in each}, key=_order)
    drawing = Drawing(WIDTH, TOP + STEP * len(used) + 66)
    heading(drawing, "CPU seconds per million messages, by process of the sending side", result)
    bottom = TOP + STEP * len(used)
    scale = across(drawing, max(sum(each.values()) for each in used.values()) * 1.08, bottom)
    for at, (path, parts) in enumerate(used.items()):
        x, y = float(LEFT), TOP + STEP * at
        drawing.words(LEFT - 10, y + 17, path, "end", weight=600)
        for stage in names:
            width = parts.get(stage, 0.0) * scale
            drawing.box(x, y, width, BAR, COLOURS[names.index(stage) % len(COLOURS)], f"{stage}: {width / scale:.3f} s")
            x += width
        drawing.words(x + 6, y + 17, number(sum(parts.values())), weight=600)
    x = float(LEFT)
    for at, stage in enumerate(names):
        drawing.box(x, bottom + 34, 14, 14, COLOURS[at % len(COLOURS)])
        drawing.words(x + 20, bottom + 46, stage, size=12)
        x += 44 + 7.5 * len(stage)
    return drawing.text()


def _order(stage: str) -> tuple[int, str]:
    known = ("capture", "assembler", "worker", "pipeline")
    return next((at for at, name in enumerate(known) if stage.startswith(name)), len(known)), stage
