"""How long somebody waits for a small file: from the shell until the prompt is back."""

import statistics
from typing import Any, Final

from scripts.benchmark.paths import FOLDER, run_path
from scripts.benchmark.processes import PIPELINE, run
from scripts.benchmark.results import Row
from scripts.benchmark.shapes import generated

RUN_S: Final = 0.8
HELP_S: Final = 0.3


def measure(quick: bool, raw: dict[str, Any]) -> list[Row]:
    """Run small things several times; the ledger says that every message was delivered."""
    repeats = 3 if quick else 9
    file, note = generated(FOLDER, "tiny", quick)
    times = {
        "run to null": [run_path("null", file, note).wall_s for _ in range(repeats)],
        "run to jsonl": [run_path("jsonl", file, note).wall_s for _ in range(repeats)],
        "pipeline --help": [run([PIPELINE, "--help"]).wall_s for _ in range(repeats)],
    }
    raw["startup_s"] = times
    return [
        Row("startup", name, statistics.median(each), "s", HELP_S if "help" in name else RUN_S,
            note=f"{min(each):.2f} to {max(each):.2f}")
        for name, each in times.items()
    ]  # fmt: skip
