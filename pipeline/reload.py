"""Changes a running job to what its configuration says now, as far as that is possible without a restart.

In: the configuration of now and the one in force.  Out: orders to captures and assemblers, workers that succeed others,
and lines that say what was applied and what needs a restart.  Invariant: a configuration with a fault changes nothing.
"""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

import assemble.process
import capture.process
from capture.errors import MirrorError
from capture.filters import expression
from capture.interfaces import check_names, datalink
from capture.privileges import account, may_write
from emit.rotation import Names
from emit.succession import Ended
from pipeline import live, rules, specs, stages
from pipeline.config import Config
from pipeline.inputs import LiveInput
from pipeline.outputs import FileOutput
from pipeline.supervisor import Supervisor
from pipeline.wiring import Stage, Wiring

LIVE: Final = ("interfaces", "ports", "hosts", "direction", "filter", "sample")
"""Keys of a live input that can be changed while it runs."""
ADDRESSES: Final = "addresses"
"""Changed where no key is: names of outputs stand for others than before, or this machine has others."""

log = logging.getLogger("pipeline")


class Reloader:
    """The configuration that a run has in force, and how to change it."""

    def __init__(
        self, load: Callable[[], Config], config: Config, wiring: Wiring, supervisor: Supervisor, level: int
    ) -> None:
        self.load = load
        self.config = config
        self.wiring = wiring
        self.supervisor = supervisor
        self.level = level
        self.selected = wiring.selection
        self.excluded = () if self.selected is None else self.selected.exclude

    def reload(self) -> tuple[list[str], int]:
        """Read the configuration again and apply it; returns lines for the operator, and an exit code."""
        try:
            lines = list(self._apply(self.load()))
        except (MirrorError, OSError) as error:
            log.error("reload: %s; nothing was changed", error)
            return [f"{error}; nothing was changed"], getattr(error, "exit_code", 1)
        for line in lines:
            log.info("reload: %s", line)
        return lines, 0

    @property
    def settled(self) -> bool:
        """Whether what was applied is in force: captures obey within a second, workers when they have taken over."""
        return not self.supervisor.succeeding and self._obeyed

    @property
    def _obeyed(self) -> bool:
        specs = [(stage.spec, stage.counters) for stage in self.wiring.stages]
        return all(
            spec.live is None or counters["order_now"] == spec.live.orders.seen
            for spec, counters in specs
            if isinstance(spec, capture.process.CaptureSpec)
        )

    def _apply(self, new: Config) -> Iterator[str]:
        now = self.config
        changed = list(_differences(now, new))
        if live.select(now) != self.selected:  # what names stand for, or this machine's own
            changed.append(ADDRESSES)
        if not changed:
            return iter(["nothing has changed"])
        if self.supervisor.stopping or self.supervisor.succeeding:
            raise MirrorError("an earlier change is still under way, or the run is ending: try again")
        selectable = {ADDRESSES, *(f"input.{key}" for key in LIVE if isinstance(new.input, LiveInput))}
        selected = [key for key in changed if key in selectable]
        outputs = "output" in changed
        chosen = live.select(new)
        _check(new, chosen)
        source: LiveInput | None = None
        force = now.model_copy(update={"output": new.output})
        if isinstance(now.input, LiveInput) and isinstance(new.input, LiveInput):
            source = now.input.model_copy(update={key: getattr(new.input, key) for key in LIVE})
            force = force.model_copy(update={"input": source})
        if outputs:
            self._succeed(force)
        self.config = force
        if source is not None and chosen is not None and (selected or outputs):
            self._order(source, chosen)
        return _say([*selected, *(["output"] if outputs else [])], changed)

    def _order(self, source: LiveInput, chosen: live.Selection) -> None:
        """Tell captures and assemblers; what was sent to once stays left out, as something may be on its way still."""
        self.selected = chosen
        self.excluded = tuple(sorted({*self.excluded, *chosen.exclude}))
        told = replace(chosen, exclude=self.excluded)
        for stage in self.wiring.stages:
            if isinstance(stage.spec, capture.process.CaptureSpec) and stage.spec.live is not None:
                stage.spec.live.orders.give(live.capture_order(source, told))
            elif isinstance(stage.spec, assemble.process.AssembleSpec) and stage.spec.orders is not None:
                stage.spec.orders.give(live.assemble_order(source, told))

    def _succeed(self, config: Config) -> None:
        """Start other workers; they take over once captures leave out what these send to."""
        workers = self.wiring.workers()
        count = sum(stage.kind == "worker" for stage in workers)
        answers = stages.answer_rings(config, count, workers)
        self.wiring.rings.update(answers)
        before = self.config.output

        def make(after: Sequence[Ended]) -> list[Stage]:
            return stages.workers(config, self.level, tuple(answers.values()), after, workers)

        def failed() -> None:
            self.config = self.config.model_copy(update={"output": before})
            self.selected = live.select(self.config)

        self.supervisor.succeed(make, specs.labels(config), lambda: self._obeyed, failed)


def _check(config: Config, chosen: live.Selection | None) -> None:
    """Find out before anything is changed what would be an error at the start: interfaces, filters, files."""
    source = config.input
    user = None
    if isinstance(source, LiveInput) and chosen is not None:
        check_names(source.interfaces)
        expression(live.wanted(config, source, chosen), datalink(source.interfaces))
        user = account(source.user) if source.user is not None and os.geteuid() == 0 else None
    for at, output in enumerate(config.output):
        rules.steps(f"output.{at}", output.rewrite, output.mask)
        if isinstance(output, FileOutput) and not may_write(stands_for(output.path), user):
            raise MirrorError(f"output.{at}.path: {output.path} cannot be written{f' by {user.name}' if user else ''}")


def stands_for(path: str) -> Path:
    """Return the file, or where its directories are made, if its name depends on the time."""
    names = Names(path)
    return Path(names.fixed) if names.by_time else Path(names.path(0))


def _differences(now: Config, new: Config) -> Iterator[str]:
    """Yield the keys that differ; all outputs are one."""
    for table in Config.model_fields:
        before, after = getattr(now, table), getattr(new, table)
        if before == after:
            continue
        if table == "output" or type(before) is not type(after):
            yield table
        else:
            yield from (f"{table}.{key}" for key in _keys(before) if getattr(before, key) != getattr(after, key))


def _keys(table: BaseModel) -> Iterator[Any]:
    yield from type(table).model_fields


def _say(applied: list[str], changed: list[str]) -> Iterator[str]:
    rest = [key for key in changed if key not in applied]
    if applied:
        yield f"applied: {', '.join(applied)}"
    if rest:
        yield f"needs a restart: {', '.join(rest)}"
