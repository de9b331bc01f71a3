"""What the supervisor knows of a run: processes to start, and the rings and counters between them.

In: what `pipeline.stages` made from the configuration.  Out: counters and ring levels, readable at any time.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from capture.child import EventQueue
from capture.counters import Counters
from capture.ring import Ring
from pipeline.ledger import Tally


@dataclass(frozen=True)
class Stage:
    """One process to be: what it runs, what it is given, and what the supervisor keeps of it."""

    name: str
    target: Callable[[Any], None]
    spec: object
    events: EventQueue
    counters: Counters
    writes: tuple[Ring, ...] = ()
    source: bool = False  # SIGTERM makes it stop taking input


@dataclass(frozen=True)
class Wiring:
    """All stages of one run, and the rings between them by name."""

    stages: tuple[Stage, ...]
    rings: dict[str, Ring]
    outputs: tuple[str, ...]

    def tally(self) -> Tally:
        """Read every counter page as it stands now."""
        pages = {stage.name: stage.counters.as_dict() for stage in self.stages}
        workers = [page for name, page in pages.items() if name.startswith("worker")]
        return Tally(pages.get("capture"), pages.get("assembler"), pages.get("receiver"), workers, self.outputs)

    def in_flight(self) -> str:
        """Say what lies in the rings, in words; empty if nothing does."""
        held = {name: ring.stats() for name, ring in self.rings.items()}
        return ", ".join(f"{stats.used:,} bytes in {name}" for name, stats in held.items() if stats.used)
