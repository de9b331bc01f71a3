"""This machine, as far as it matters to a live run: rights, kernel, cores, memory, clock.

In: /proc, /sys, sockets that are opened and closed again.  Out: a `Machine`.  Invariant: what cannot be found out is
None.
"""

import ctypes
import errno
import os
import resource
import socket
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pcapy

from capture.interfaces import FANOUT_BY_FLOW, FANOUT_NEW, PACKET_FANOUT, SOL_PACKET, text_of
from capture.privileges import Capability, effective, permitted

TIME_ERROR: Final = 5  # of adjtimex(2): the clock is not synchronised
TIMEX_BYTES: Final = 208  # struct timex
ETH_P_LOOPBACK: Final = 0x0060  # a protocol that nothing sends: the attempt is given no frame
V1: Final = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
V2: Final = ("memory.max", "memory.current", "inactive_file")
"""A control group's limit, what is used of it, and the part of that which it gets back when it needs to."""


@dataclass(frozen=True)
class Machine:
    """What a run would find; sizes in bytes."""

    may_capture: bool
    root: bool
    interpreter: str  # the file that would get the right
    cores: int  # that this process may use
    available: int | None  # memory that could be had now
    limit: int | None  # what the control groups leave of it
    synchronised: bool | None  # the clock
    clock: str | None  # what it runs on
    held: bool = False  # CAP_NET_RAW, whether or not it is enough
    fanout: bool | None = None  # whether lanes can share an interface
    libpcap: str | None = None
    address_space: int | None = None  # of one process
    open_files: int | None = None
    governors: tuple[str, ...] = ()  # who sets the cores' speed


def machine(root: Path = Path("/")) -> Machine:
    """Look around; `root` is where /proc and /sys are."""
    return Machine(
        may_capture=_may_capture(),
        root=os.geteuid() == 0,
        interpreter=str(Path(sys.executable).resolve()),
        cores=len(os.sched_getaffinity(0)),
        available=_available(root),
        limit=_limit(root),
        synchronised=_synchronised(),
        clock=_line(root / "sys/devices/system/clocksource/clocksource0/current_clocksource"),
        held=Capability.NET_RAW in permitted(),
        fanout=_fanout(),
        libpcap=_libpcap(),
        address_space=_soft(resource.RLIMIT_AS),
        open_files=_soft(resource.RLIMIT_NOFILE),
        governors=_governors(root),
    )


def _may_capture() -> bool:
    """Try: it is the kernel that decides.  What is only permitted is taken up by the capture process."""
    if Capability.NET_RAW in permitted() - effective():
        return True
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()
    except OSError:
        return False
    return True


def _available(root: Path) -> int | None:
    """Return MemAvailable of proc(5)."""
    for line in text_of(root / "proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _limit(root: Path) -> int | None:
    """Return what the narrowest control group above this process leaves, version 2 or 1; None if there is no limit."""
    tops = {V2: root / "sys/fs/cgroup", V1: root / "sys/fs/cgroup/memory"}
    groups = list(tops.items())
    for line in text_of(root / "proc/self/cgroup").splitlines():
        controllers, _, path = line.partition(":")[2].partition(":")
        if not controllers or "memory" in controllers.split(","):
            files = V1 if controllers else V2
            own = tops[files] / path.strip("/")
            groups += [(files, each) for each in (own, *own.parents) if each.is_relative_to(tops[files])]
    left = [_left(place, *files) for files, place in groups]
    return min((each for each in left if each is not None), default=None)


def _left(place: Path, limit: str, usage: str, spare: str) -> int | None:
    most = _line(place / limit) or ""
    if not most.isdigit() or int(most) >= 2**60:
        return None
    stat = dict(line.partition(" ")[::2] for line in text_of(place / "memory.stat").splitlines())
    used = int(_line(place / usage) or 0) - int(stat.get(spare, 0))
    return max(0, int(most) - max(0, used))


def _fanout() -> bool | None:
    """Try on the loopback; None without the right to, or without a loopback that is up."""
    try:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_LOOPBACK)) as trying:
            trying.bind(("lo", ETH_P_LOOPBACK))
            try:
                trying.setsockopt(SOL_PACKET, PACKET_FANOUT, struct.pack("I", (FANOUT_BY_FLOW | FANOUT_NEW) << 16))
            except OSError as error:
                return False if error.errno == errno.ENOPROTOOPT else None
    except OSError:
        return None
    return True


def _libpcap() -> str | None:
    """Ask the library that pcapy-ng has in it, or loads (pcap_lib_version(3PCAP))."""
    try:
        ask = ctypes.CDLL(pcapy.__file__).pcap_lib_version
    except (OSError, AttributeError):
        return None
    ask.restype = ctypes.c_char_p
    said: bytes = ask()
    return said.decode(errors="replace").removeprefix("libpcap version ").split(" ")[0]


def _soft(what: int) -> int | None:
    """Return a limit of this process (getrlimit(2))."""
    soft = resource.getrlimit(what)[0]
    return None if soft == resource.RLIM_INFINITY else soft


def _governors(root: Path) -> tuple[str, ...]:
    found = (_line(each) for each in (root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor"))
    return tuple(sorted({each for each in found if each}))


def _synchronised() -> bool | None:
    """Ask the kernel whether somebody keeps its clock (adjtimex(2))."""
    state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(TIMEX_BYTES))
    return None if state < 0 else state != TIME_ERROR


def _line(path: Path) -> str | None:
    return text_of(path).strip() or None
