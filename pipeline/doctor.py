"""What is missing for a live run on this machine, and what would be better, each with what to do about it.

In: facts about machine and interfaces, and a configuration if there is one.  Out: findings.  Nothing is looked at here.
"""

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from capture.interfaces import ANY, chosen, missing
from pipeline.config import Config, LiveInput
from pipeline.devices import Device
from pipeline.lanes import lanes
from pipeline.machine import Machine
from pipeline.values import write_size

FEW: Final = 4  # names in a line


class Verdict(enum.StrEnum):
    """How it is with one thing."""

    OK = "ok"
    BETTER = "better"  # it works; something would improve it
    MISSING = "missing"  # it will not work


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    verdict: Verdict
    found: str
    advice: str = ""


def examine(machine: Machine, devices: Sequence[Device], config: Config | None = None) -> Iterator[Finding]:
    """Yield a finding for everything that a live run rests on."""
    yield _right(machine)
    watched = list(devices)
    if config is not None and isinstance(config.input, LiveInput):
        yield _interfaces(config.input, devices)
        names = chosen(config.input.interfaces, [each.name for each in devices])
        watched = watched if ANY in names else [each for each in devices if each.name in names]
    yield _cores(machine, config)
    yield from _memory(machine, watched, config)
    yield _clock(machine)
    yield from _cards([each for each in watched if each.up])


def _right(machine: Machine) -> Finding:
    if machine.may_capture:
        how = "root" if machine.root else "CAP_NET_RAW"
        return Finding("right to capture", Verdict.OK, f"there, as {how}")
    advice = f"sudo pipeline …, or a service with AmbientCapabilities=CAP_NET_RAW, or: {_grant(machine.interpreter)}"
    return Finding("right to capture", Verdict.MISSING, "CAP_NET_RAW is missing", advice)


def _grant(interpreter: str) -> str:
    return f"sudo setcap cap_net_raw+p {interpreter} (for every program that this Python runs: docs/live.md)"


def _interfaces(source: LiveInput, devices: Sequence[Device]) -> Finding:
    """Say which of the interfaces that a configuration names are there, and up."""
    names = [each.name for each in devices]
    absent = missing(source.interfaces, names)
    wrong = [each for each in absent if not any(mark in each for mark in "*?[")]
    if wrong:
        advice = f"there are {', '.join(names)}"
        return Finding("interfaces", Verdict.MISSING, f"{', '.join(wrong)}: no such interface", advice)
    picked = chosen(source.interfaces, names)
    down = [each.name for each in devices if each.name in picked and not each.up]
    if down and len(down) == len(picked):
        return Finding("interfaces", Verdict.MISSING, f"{_few(down)}: down", f"ip link set dev {down[0]} up")
    if down or absent:
        waited = f"{_few([*down, *absent])}: waited for"
        return Finding("interfaces", Verdict.OK, f"{_few([each for each in picked if each not in down])}; {waited}")
    return Finding("interfaces", Verdict.OK, _few(picked))


def _cores(machine: Machine, config: Config | None) -> Finding:
    """Compare the processes of a run with the cores that it may use."""
    if config is None:
        return Finding("cores", Verdict.OK, f"{machine.cores} can be used; a lane needs up to 3 when it is busy")
    count = lanes(config, machine.cores)
    processes = count * (2 + config.workers.count)
    found = f"{processes} processes in {_several(count, 'lane')}; {_several(machine.cores, 'core')}"
    if count > 1 and processes > machine.cores:
        return Finding("cores", Verdict.BETTER, found, 'fewer input.lanes, or "auto"; more than cores only take turns')
    return Finding("cores", Verdict.OK, found)


def _memory(machine: Machine, watched: Sequence[Device], config: Config | None) -> Iterator[Finding]:
    """Compare what a run may take, at most, with what there is."""
    if config is None or not isinstance(config.input, LiveInput):
        return
    count, source, ring = lanes(config, machine.cores), config.input, config.ring
    buffers = max(source.buffer, 2 * 2**20 * len(watched))
    needed = count * (buffers + ring.frames + config.workers.count * ring.messages) + config.assemble.memory
    known = [each for each in (machine.available, machine.limit) if each is not None]
    if not known:
        yield Finding("memory", Verdict.OK, f"up to {write_size(needed)} are needed")
        return
    found = f"up to {write_size(needed)} are needed, {write_size(min(known))} can be had"
    if needed <= min(known):
        yield Finding("memory", Verdict.OK, found)
    else:
        yield Finding(
            "memory", Verdict.BETTER, found, "smaller input.buffer, assemble.memory, ring.frames or ring.messages"
        )


def _clock(machine: Machine) -> Finding:
    source = f", on {machine.clock}" if machine.clock else ""
    if machine.synchronised is False:
        advice = "messages carry its time: timedatectl set-ntp true, or the host's NTP service"
        return Finding("clock", Verdict.BETTER, f"not synchronised{source}", advice)
    return Finding("clock", Verdict.OK, f"{'synchronised' if machine.synchronised else 'in use'}{source}")


def _cards(watched: Sequence[Device]) -> Iterator[Finding]:
    """Yield what could be set better at interfaces, one finding for each kind of trouble."""
    merging = [each.name for each in watched if each.offloads.get("lro")]
    if merging:
        advice = f"it joins packets before they can be seen: ethtool -K {merging[0]} lro off"
        yield Finding("large receive offload", Verdict.BETTER, f"on at {_few(merging)}", advice)
    else:
        yield Finding("offloads", Verdict.OK, "frames of GRO and TSO are captured whole")
    missed = [each for each in watched if each.rx_missed]
    small = [each for each in missed if each.rx_ring is not None and each.rx_ring[0] < each.rx_ring[1]]
    if small:
        now, most = small[0].rx_ring or (0, 0)
        advice = f"ethtool -G {small[0].name} rx {most} (it is {now})"
        yield Finding("interface drops", Verdict.BETTER, f"{_missed(missed)}; its buffer is not the largest", advice)
    elif missed:
        advice = "more receive queues (ethtool -L), or interrupts on more cores"
        yield Finding("interface drops", Verdict.BETTER, _missed(missed), advice)
    else:
        yield Finding("interface drops", Verdict.OK, "none since the machine was started")


def _missed(cards: Sequence[Device]) -> str:
    return ", ".join(f"{each.name}: {each.rx_missed:,} frames missed" for each in cards[:FEW])


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:FEW]) + (f" and {len(names) - FEW} more" if len(names) > FEW else "")


def _several(count: int, what: str) -> str:
    return f"1 {what}" if count == 1 else f"{count} {what}s"
