"""What a live run needs of memory and descriptors, beside what this machine gives.

In: facts about the machine, a configuration, how many interfaces it watches.  Out: findings.
"""

from collections.abc import Iterator
from typing import Final

from capture.taps import LEAST_BUFFER
from pipeline.config import Config
from pipeline.findings import Finding, Verdict
from pipeline.inputs import LiveInput
from pipeline.lanes import CAPTURES, READERS, by_kernel, lanes
from pipeline.machine import Machine
from pipeline.values import write_size

FILES_OF_A_PROCESS: Final = 16  # that the supervisor holds for each of its children: rings, counters, queue, pipes
FILES: Final = 64  # and for itself
DEFAULT: Final = Config.model_validate({"input": {"type": "live"}, "output": [{"type": "null"}]})
"""What is judged without a configuration."""


def examine_resources(machine: Machine, config: Config | None, watching: int) -> Iterator[Finding]:
    """Yield what is to be said of each; nothing about a configuration whose input is not live."""
    config = DEFAULT if config is None else config
    if isinstance(config.input, LiveInput):
        count = lanes(config, machine.cores)
        yield _memory(machine, config, _fixed(config, config.input, count, watching))
        yield _files(machine, FILES + FILES_OF_A_PROCESS * _processes(config, count) + watching)


def _processes(config: Config, count: int) -> int:
    captures = count * CAPTURES if by_kernel(config) else READERS
    return captures + count * (1 + _workers(config))


def _workers(config: Config) -> int:
    """Return how many there are in a lane, each with its ring."""
    return config.workers.count * (2 if config.wants_answers else 1)


def _fixed(config: Config, source: LiveInput, count: int, watching: int) -> int:
    """Return what rings and the kernel's buffers take, whatever the traffic is."""
    captures = count if by_kernel(config) else READERS
    share = min(source.buffer, max(LEAST_BUFFER, source.buffer // max(1, watching)))
    ring = config.ring
    return captures * share * max(1, watching) + count * (ring.frames + _workers(config) * ring.messages)


def _memory(machine: Machine, config: Config, fixed: int) -> Finding:
    """Compare what a run takes from the start, and what it may take at most, with what there is."""
    most = fixed + config.assemble.memory
    bounds = [
        (machine.available, "can be had"), (machine.limit, "is left by the control group"),
        (machine.address_space, "can be mapped (ulimit -v)"),
    ]  # fmt: skip
    known = [(size, words) for size, words in bounds if size is not None]
    needs = f"up to {write_size(most)} are needed, {write_size(fixed)} of it for rings and buffers"
    if not known:
        return Finding("memory", Verdict.OK, needs)
    size, words = min(known)
    found = f"{needs}; {write_size(size)} {words}"
    if fixed > size:
        return Finding("memory", Verdict.MISSING, found, "smaller input.buffer, ring.frames or ring.messages")
    if most > size:
        advice = "smaller input.buffer, assemble.memory, ring.frames or ring.messages"
        return Finding("memory", Verdict.BETTER, found, advice)
    return Finding("memory", Verdict.OK, found)


def _files(machine: Machine, needed: int) -> Finding:
    if machine.open_files is None or machine.open_files >= needed:
        most = "no limit" if machine.open_files is None else f"{machine.open_files:,} allowed"
        return Finding("open files", Verdict.OK, f"about {needed:,} needed, {most}")
    enough = max(4096, 2 * needed)
    advice = f"ulimit -n {enough}, or in a service LimitNOFILE={enough}"
    return Finding(
        "open files", Verdict.BETTER, f"about {needed:,} needed, only {machine.open_files:,} allowed", advice
    )
