"""What is missing for a live run on this machine, and what would be better, each with what to do about it.

In: facts about machine and interfaces, and a configuration if there is one.  Out: findings.  Nothing is looked at here.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from capture.interfaces import ANY, chosen, missing
from pipeline.config import Config
from pipeline.devices import Device
from pipeline.findings import Finding, Verdict
from pipeline.inputs import LiveInput
from pipeline.lanes import lanes
from pipeline.machine import Machine
from pipeline.reach import Named
from pipeline.resources import examine_resources

FEW: Final = 4  # names in a line


def examine(
    machine: Machine,
    devices: Sequence[Device],
    config: Config | None = None,
    named: Sequence[Named] = (),
    earlier: Sequence[Device] = (),
) -> Iterator[Finding]:
    """Yield a finding for everything that a live run rests on; `earlier` is how the interfaces were a moment ago."""
    yield _right(machine)
    yield _kernel(machine)
    watched, watching = list(devices), 1
    if config is not None and isinstance(config.input, LiveInput):
        yield _interfaces(config.input, devices)
        names = chosen(config.input.interfaces, [each.name for each in devices])
        watched = watched if ANY in names else [each for each in devices if each.name in names]
        watching = len(names)
    yield from (_named(each) for each in named)
    yield _cores(machine, config)
    yield from examine_resources(machine, config, watching)
    yield _clock(machine)
    yield from _governor(machine)
    yield from _cards([each for each in watched if each.up], {each.name: each.rx_missed for each in earlier})


def _right(machine: Machine) -> Finding:
    if machine.may_capture:
        how = "root" if machine.root else "CAP_NET_RAW"
        return Finding("right to capture", Verdict.OK, f"there, as {how}")
    if machine.held:
        advice = "look at the container's seccomp profile and user namespace"
        return Finding("right to capture", Verdict.MISSING, "CAP_NET_RAW is there, but is refused its use", advice)
    advice = f"sudo pipeline …, or a service with AmbientCapabilities=CAP_NET_RAW, or: {_grant(machine.interpreter)}"
    return Finding("right to capture", Verdict.MISSING, "CAP_NET_RAW is missing", advice)


def _kernel(machine: Machine) -> Finding:
    library = f"libpcap {machine.libpcap}" if machine.libpcap else "libpcap"
    if machine.fanout is False:
        return Finding("kernel", Verdict.BETTER, f"{library}; lanes cannot share an interface", "input.lanes = 1")
    return Finding("kernel", Verdict.OK, f"{library}{'; lanes can share an interface' if machine.fanout else ''}")


def _named(each: Named) -> Finding:
    return Finding(each.what, Verdict.MISSING if each.trouble else Verdict.OK, each.trouble or each.value, each.advice)


def _governor(machine: Machine) -> Iterator[Finding]:
    """Yield what is to be said of the cores' speed, where it can be seen."""
    if "powersave" in machine.governors:
        advice = "cores are slow to wake when a burst comes: sudo cpupower frequency-set -g performance"
        yield Finding("CPU frequency", Verdict.BETTER, "the governor is powersave", advice)


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


def _clock(machine: Machine) -> Finding:
    source = f", on {machine.clock}" if machine.clock else ""
    if machine.synchronised is False:
        advice = "messages carry its time: timedatectl set-ntp true, or the host's NTP service"
        return Finding("clock", Verdict.BETTER, f"not synchronised{source}", advice)
    return Finding("clock", Verdict.OK, f"{'synchronised' if machine.synchronised else 'in use'}{source}")


def _cards(watched: Sequence[Device], before: Mapping[str, int]) -> Iterator[Finding]:
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
        yield Finding(
            "interface drops", Verdict.BETTER, f"{_missed(missed, before)}; its buffer is not the largest", advice
        )
    elif missed:
        advice = "more receive queues (ethtool -L), or interrupts on more cores"
        yield Finding("interface drops", Verdict.BETTER, _missed(missed, before), advice)
    else:
        yield Finding("interface drops", Verdict.OK, "none since the machine was started")


def _missed(cards: Sequence[Device], before: Mapping[str, int]) -> str:
    growing = any(each.rx_missed > before.get(each.name, each.rx_missed) for each in cards)
    shown = ", ".join(f"{each.name}: {each.rx_missed:,} frames missed" for each in cards[:FEW])
    return f"{shown}, and it goes on" if growing else shown


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:FEW]) + (f" and {len(names) - FEW} more" if len(names) > FEW else "")


def _several(count: int, what: str) -> str:
    return f"1 {what}" if count == 1 else f"{count} {what}s"
