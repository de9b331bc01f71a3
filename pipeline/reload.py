"""Changes a running job to what its configuration says now, as far as that is possible without a restart.

In: the configuration of now and the one in force.  Out: orders to captures and assemblers, workers that succeed others,
and lines that say what was applied and what needs a restart.  Invariant: a configuration with a fault changes nothing.
"""

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

import assemble.process
import capture.process
from capture.errors import MirrorError
from capture.filters import check
from pipeline import live, stages
from pipeline.config import Config, FileOutput, LiveInput
from pipeline.supervisor import Supervisor
from pipeline.wiring import Wiring

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
        self.selected = _selection(config)
        self.excluded = () if self.selected is None else self.selected.exclude

    def reload(self) -> tuple[list[str], int]:
        """Read the configuration again and apply it; returns lines for the operator, and an exit code."""
        try:
            lines = list(self._apply(self.load()))
        except MirrorError as error:
            log.error("reload: %s; nothing was changed", error)
            return [f"{error}; nothing was changed"], error.exit_code
        for line in lines:
            log.info("reload: %s", line)
        return lines, 0

    @property
    def settled(self) -> bool:
        """Whether what was applied is in force: captures obey within a second, workers when they have taken over."""
        captures = [stage for stage in self.wiring.stages if isinstance(stage.spec, capture.process.CaptureSpec)]
        return not self.supervisor.succeeding and all(
            stage.spec.live is None or stage.counters["order_now"] == stage.spec.live.orders.seen  # type: ignore[attr-defined]
            for stage in captures
        )

    def _apply(self, new: Config) -> Iterator[str]:
        now = self.config
        changed, selected_now = list(_differences(now, new)), _selection(now)
        if selected_now != self.selected:  # what names stand for, or this machine's own
            changed.append(ADDRESSES)
        if not changed:
            return iter(["nothing has changed"])
        if self.supervisor.stopping or self.supervisor.succeeding:
            raise MirrorError("an earlier change is still under way, or the run is ending: try again")
        selectable = {ADDRESSES, *(f"input.{key}" for key in LIVE if isinstance(new.input, LiveInput))}
        selected = [key for key in changed if key in selectable]
        outputs = "output" in changed
        _check(new)
        if isinstance(now.input, LiveInput) and isinstance(new.input, LiveInput):
            source = now.input.model_copy(update={key: getattr(new.input, key) for key in LIVE})
            self.config = now.model_copy(update={"input": source, "output": new.output})
            if selected or outputs:
                self._order(self.config, source)
        else:
            self.config = now.model_copy(update={"output": new.output})
        if outputs:
            self._succeed(self.config)
        return _say([*selected, *(["output"] if outputs else [])], changed)

    def _order(self, config: Config, source: LiveInput) -> None:
        """Tell captures and assemblers; what was sent to once stays left out, as something may be on its way still."""
        self.selected = live.select(config, source)
        self.excluded = tuple(sorted({*self.excluded, *self.selected.exclude}))
        kept = {"exclude": self.excluded}
        for stage in self.wiring.stages:
            if isinstance(stage.spec, capture.process.CaptureSpec) and stage.spec.live is not None:
                stage.spec.live.orders.give(live.capture_order(config, source) | kept)
            elif isinstance(stage.spec, assemble.process.AssembleSpec) and stage.spec.orders is not None:
                stage.spec.orders.give(live.assemble_order(config, source) | kept)

    def _succeed(self, config: Config) -> None:
        rings = [stage.reads[0] for stage in self.wiring.workers()]
        self.supervisor.succeed(lambda after: stages.workers(config, self.level, rings, after), stages.labels(config))


def _selection(config: Config) -> live.Selection | None:
    return live.select(config, config.input) if isinstance(config.input, LiveInput) else None


def _check(config: Config) -> None:
    """Find out before anything is changed what would end the run: a bad filter, a file that cannot be written."""
    if isinstance(config.input, LiveInput) and config.input.filter is not None:
        check(config.input.filter)
    for at, output in enumerate(config.output):
        if isinstance(output, FileOutput):
            path = Path(output.path)
            place = path if path.exists() else path.parent
            if path.is_dir() or not os.access(place, os.W_OK):
                raise MirrorError(f"output.{at}.path: {output.path} cannot be written")


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
