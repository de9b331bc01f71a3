"""What the supervisor knows of a run: processes to start, and the rings and counters between them.

In: what `pipeline.stages` made from the configuration.  Out: counters and ring levels, readable at any time.
Of every kind of process there may be several; a name is the kind, and a number if there are.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from capture.child import EventQueue
from capture.counters import Counters
from capture.privileges import Rights
from capture.ring import Ring
from emit.summary import Summary
from emit.totals import Totals, merged
from pipeline.ledger import Counts, Delivery, Tally, total
from pipeline.live import Selection

WORKERS: Final = ("worker", "answer worker")
"""Kinds of stages that have the outputs: those of message rings, and those of the rings with answers to a replay."""


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
    reads: tuple[Ring, ...] = ()
    assembled: Counters | None = None  # what it does in an assembler's place: counters as of one
    cores: tuple[int, ...] = ()  # that it keeps to; none: all
    rights: Rights = field(default_factory=Rights)  # what it may do, of what this process may
    again: bool = True  # it is started again if it dies
    turns: tuple[Counters, ...] = ()  # pages of stages that share something; if one dies, all of them begin anew

    @property
    def kind(self) -> str:
        """What it is, whatever its number."""
        return self.name.rstrip("0123456789 ")

    @property
    def number(self) -> int:
        """Which of its kind it is."""
        return int(self.name[len(self.kind) :] or 0)


@dataclass
class Wiring:
    """All stages of one run, consumers before producers, and the rings between them; workers may be succeeded."""

    stages: list[Stage]
    rings: dict[str, Ring]
    outputs: tuple[str, ...]
    selection: Selection | None = None  # what was looked up for a live input
    succeeded: list[Delivery] = field(default_factory=list)  # what earlier workers counted, which have ended
    leaving: tuple[list[Stage], tuple[str, ...]] | None = None  # workers that are being succeeded, and their outputs
    replayed: list[tuple[str, Summary]] = field(default_factory=list)  # by outputs that nobody goes on with

    def workers(self) -> list[Stage]:
        """Return the workers of now, those for answers included."""
        return [stage for stage in self.stages if stage.kind in WORKERS]

    def all_stages(self) -> list[Stage]:
        """Return every stage, those that are being succeeded first."""
        return [*([] if self.leaving is None else self.leaving[0]), *self.stages]

    def replace(self, before: Stage, stage: Stage) -> None:
        """Put a stage in the place of the one whose process has died."""
        self.stages = [stage if each is before else each for each in self.stages]
        if self.leaving is not None:
            stages, outputs = self.leaving
            self.leaving = [stage if each is before else each for each in stages], outputs

    def restarts(self) -> dict[str, int]:
        """Return how many processes have died and were followed by another, by stage."""
        counts = {stage.name: getattr(stage.spec, "attempt", 0) for stage in self.stages}
        return {name: count for name, count in counts.items() if count}

    def succeed(self, successors: Sequence[Stage], outputs: tuple[str, ...]) -> None:
        """Put other workers in the place of those of now, which go on until they are buried."""
        self.leaving = self.workers(), self.outputs
        self._replace_workers(successors, outputs)

    def bury(self) -> None:
        """Keep of the workers that were succeeded what they counted, now that they have ended."""
        if self.leaving is not None:
            stages, outputs = self.leaving
            self.replayed = self._earlier_replays()
            self.succeeded.append(_delivery(stages, outputs))
            self.leaving = None

    def restore(self) -> None:
        """Put the workers back that were to be succeeded."""
        if self.leaving is not None:
            (stages, outputs), self.leaving = self.leaving, None
            self._replace_workers(stages, outputs)

    def _replace_workers(self, others: Sequence[Stage], outputs: tuple[str, ...]) -> None:
        before = self.workers()
        self.stages = [*others, *(stage for stage in self.stages if stage not in before)]
        self.outputs = outputs

    def tally(self) -> Tally:
        """Read every counter page as it stands now."""
        captures, assemblers = self._pages("capture"), self._pages("assembler")
        now = _delivery(self.workers(), self.outputs)
        several = len(assemblers) > 1
        for stage in self.stages:
            if stage.assembled is not None:
                assemblers[f"{stage.name} as assembler"] = stage.assembled.as_dict()
        parts = captures | assemblers if several else {}
        return Tally(
            total(captures.values()), total(assemblers.values()), total(self._pages("receiver").values()),
            now.workers, now.outputs, parts, self._earlier(), total(self._pages("reader").values()), now.answers,
        )  # fmt: skip

    def _earlier(self) -> tuple[Delivery, ...]:
        leaving = [] if self.leaving is None else [_delivery(*self.leaving)]
        return (*self.succeeded, *leaving)

    def replays(self) -> dict[str, Totals]:
        """Read what every output that replays has summed up, as it stands now, by its name in the ledger."""
        found: dict[str, list[Totals]] = {}
        for name, summary in [*self._earlier_replays(), *_summaries(self.workers(), self.outputs, "")]:
            found.setdefault(name, []).append(summary.totals())
        return {name: merged(parts) for name, parts in found.items()}

    def _earlier_replays(self) -> list[tuple[str, Summary]]:
        if self.leaving is None:
            return self.replayed
        going_on = {id(summary) for _name, summary in _summaries(self.workers(), self.outputs, "")}
        left = _summaries(*self.leaving, f", before reload {len(self.succeeded) + 1}")
        return [*self.replayed, *(each for each in left if id(each[1]) not in going_on)]

    def _pages(self, kind: str) -> dict[str, Counts]:
        return {stage.name: stage.counters.as_dict() for stage in self.stages if stage.kind == kind}

    def feeding(self, stage: Stage) -> list[Stage]:
        """Return the stages that could not go on if this one read no more: those that feed it, by way of others too."""
        found, read = [], set(stage.reads)
        for each in self.stages:
            if read & set(each.writes):
                found.append(each)
                read |= set(each.reads)
        return found

    def in_flight(self) -> str:
        """Say what lies in the rings, in words; empty if nothing does."""
        held = {name: ring.stats() for name, ring in self.rings.items()}
        return ", ".join(f"{stats.used:,} bytes in {name}" for name, stats in held.items() if stats.used)


def _summaries(stages: Sequence[Stage], outputs: Sequence[str], when: str) -> list[tuple[str, Summary]]:
    specs = [output for stage in stages for output in getattr(stage.spec, "outputs", ())]
    named = [(f"output {spec.index}: {outputs[spec.index]}{when}", spec.summary) for spec in specs]
    return [(name, summary) for name, summary in named if summary is not None]


def _delivery(stages: Sequence[Stage], outputs: Sequence[str]) -> Delivery:
    """Read what workers count."""
    pages = [(stage.kind, stage.counters.as_dict()) for stage in stages]
    workers, answers = ([counts for kind, counts in pages if kind == each] for each in WORKERS)
    return Delivery(workers, outputs, answers)
