"""What a live input means for the stages: filters, what the assemblers select, how interfaces are read and shared.

In: a checked `Config` with a live input.  Out: plans for capture processes, settings, and orders for a reload.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from capture.counters import Counters
from capture.filters import Direction, Wanted, addresses
from capture.interfaces import Manner, own_addresses
from capture.taps import LivePlan
from capture.turns import PAGE, Turns
from pipeline.config import Config
from pipeline.inputs import LiveInput


@dataclass(frozen=True)
class Selection:
    """Which connections a run wants, as capture and assembly are both told: `capture.filters.Wanted` explains it."""

    ports: tuple[int, ...]
    hosts: tuple[str, ...]
    direction: Direction
    ours: tuple[str, ...]
    exclude: tuple[tuple[str, int], ...]


def select(config: Config) -> Selection | None:
    """Look up what a live input says in names: this machine's addresses, those of the outputs; None without one."""
    source = config.input
    if not isinstance(source, LiveInput):
        return None
    ours = () if source.direction == "both" else source.hosts or own_addresses()
    # Where outputs connect to: watched, it would feed the run with what it sends itself.
    exclude = {each for output in config.output if output.end is not None for each in addresses(*output.end)}
    return Selection(source.ports, source.hosts, source.direction, ours, tuple(sorted(exclude)))


def wanted(config: Config, source: LiveInput, chosen: Selection) -> Wanted:
    """Return what the kernel is to let through."""
    return Wanted(
        **vars(chosen), responses=config.assemble.responses, decapsulate=source.decapsulate, filter=source.filter
    )


def plans(config: Config, source: LiveInput, chosen: Selection, count: int) -> Iterator[LivePlan]:
    """Yield one plan for each capture process; several share the interfaces."""
    manner = Manner(
        snap_bytes=source.snap_length, buffer_bytes=source.buffer, timeout_ms=max(1, round(source.timeout * 1000)),
        promiscuous=source.promiscuous,
    )  # fmt: skip
    pages = tuple(Counters(PAGE) for _lane in range(count)) if count > 1 else ()
    for lane in range(count):
        yield LivePlan(source.interfaces, manner, wanted(config, source, chosen), Turns(pages, lane))


def capture_order(source: LiveInput, chosen: Selection) -> dict[str, Any]:
    """Return what the captures of a running job are told on a reload."""
    return {**vars(chosen), "interfaces": source.interfaces, "filter": source.filter}


def assemble_order(source: LiveInput, chosen: Selection) -> dict[str, Any]:
    """Return what the assemblers of a running job are told on a reload."""
    return {**vars(chosen), "sample": source.sample}
