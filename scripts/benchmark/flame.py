"""A flame graph of a run over all its processes, from perf's samples.

In: a path and a capture.  Out: an SVG; a box is a function, its width the share of CPU time in it and in what it
calls, its caller below.  Needs perf and the right to use it.
"""

import subprocess
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Final

from scripts.benchmark.paths import FOLDER, PATHS, WRITTEN, Note, arguments, far_end
from scripts.benchmark.svg import Drawing

RATE_HZ: Final = 499
WIDTH: Final = 1400
ROW: Final = 17
LEAST: Final = 0.5  # pixels; narrower boxes are left out
LETTER: Final = 6.6  # pixels, about


@dataclass
class Node:
    """A function as called from its parent."""

    samples: int = 0
    below: dict[str, "Node"] = field(default_factory=dict)

    def add(self, stack: Iterable[str]) -> None:
        """Count one sample, the outermost function first."""
        node = self
        node.samples += 1
        for name in stack:
            node = node.below.setdefault(name, Node())
            node.samples += 1

    def depth(self) -> int:
        """Return how deep the stacks are."""
        return 1 + max((node.depth() for node in self.below.values()), default=0)


def profile(name: str, file: Path, note: Note) -> Path:
    """Run a path under perf and draw where the time went."""
    data = FOLDER / "perf.data"
    with ExitStack() as stack:
        if name == "library":
            command = [sys.executable, "-m", "scripts.benchmark.library", str(file), str(note["port"])]
        else:
            _, address = stack.enter_context(far_end(PATHS[name].far))
            command = arguments(str(file), note["port"], PATHS[name].output.format(address=address, file=WRITTEN))
        # cpu-clock: a timer, as virtual machines seldom have hardware counters.
        perf = ["perf", "record", "-q", "-F", str(RATE_HZ), "-g", "-e", "cpu-clock", "-o", str(data), *command]
        try:
            subprocess.run(perf, check=True, stdout=subprocess.DEVNULL)
        except FileNotFoundError:
            raise SystemExit("bench: perf is not installed; on Debian or Ubuntu: apt-get install linux-perf") from None
        except subprocess.CalledProcessError:
            raise SystemExit("bench: perf failed; it may need root, or kernel.perf_event_paranoid=1") from None
        finally:
            WRITTEN.unlink(missing_ok=True)
    script = subprocess.run(
        ["perf", "script", "-i", str(data), "-F", "comm,ip,sym,dso"],
        check=True, capture_output=True, text=True, errors="replace",
    )  # fmt: skip
    root = fold(script.stdout.splitlines())
    if not root.samples:
        raise SystemExit("bench: perf took no samples")
    path = FOLDER / f"flame-{name}.svg"
    path.write_text(drawn(root, f"{name}: {root.samples:,} samples at {RATE_HZ} Hz, all processes of the run"))
    data.unlink()
    return path


def fold(lines: Iterable[str]) -> Node:
    """Add up perf script's output: a line with the process, one per function from the innermost, an empty line."""
    root, name, stack = Node(), "", []
    for line in [*lines, ""]:
        if not line.strip():
            if name:
                root.add([name, *reversed(stack)])
            name, stack = "", []
        elif not name:
            name = line.strip().rstrip(":")
        else:
            words = line.split(maxsplit=1)
            symbol, _, library = words[1].rpartition(" (") if len(words) > 1 else ("[unknown]", "", "")
            if symbol == "[unknown]":
                symbol = f"[{Path(library.rstrip(')')).name}]"
            stack.append(symbol.removeprefix("__pyx_f_").removeprefix("__pyx_pf_"))
    return root


def drawn(root: Node, title: str) -> str:
    """Return the SVG."""
    depth = root.depth()
    drawing = Drawing(WIDTH, ROW * depth + 50)
    drawing.words(10, 24, title, size=15, weight=600)

    def place(name: str, node: Node, x: float, level: int) -> None:
        width = node.samples / root.samples * (WIDTH - 20)
        if width < LEAST:
            return
        y = drawing.height - 10 - ROW * (level + 1)
        share = f"{name}: {node.samples:,} samples, {100 * node.samples / root.samples:.1f} %"
        drawing.box(x, y, max(width - 0.5, 0.3), ROW - 1, colour(name), share)
        letters = int((width - 6) / LETTER)
        if letters >= 3:
            drawing.words(x + 3, y + 12, name if len(name) <= letters else name[: letters - 1] + "…", size=11)
        for inner, below in sorted(node.below.items()):
            place(inner, below, x, level + 1)
            x += below.samples / root.samples * (WIDTH - 20)

    place("all", root, 10, 0)
    return drawing.text()


def colour(name: str) -> str:
    """Return a warm colour that is the same for a name everywhere."""
    shade = sha256(name.encode()).digest()
    return f"#{225 + shade[0] % 30:02x}{140 + shade[1] % 90:02x}{70 + shade[2] % 50:02x}"
