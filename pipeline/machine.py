"""This machine, as far as it matters to a live run: rights, cores, memory, clock.

In: /proc, /sys, a socket that is opened and closed again.  Out: a `Machine`.  Invariant: what cannot be found out is
None.
"""

import ctypes
import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from capture.privileges import Capability, permitted

TIME_ERROR: Final = 5  # of adjtimex(2): the clock is not synchronised
TIMEX_BYTES: Final = 208  # struct timex


@dataclass(frozen=True)
class Machine:
    """What a run would find; sizes in bytes."""

    may_capture: bool
    root: bool
    interpreter: str  # the file that would get the right
    cores: int  # that this process may use
    available: int | None  # memory that could be had now
    limit: int | None  # of this container's memory
    synchronised: bool | None  # the clock
    clock: str | None  # what it runs on


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
    )


def _may_capture() -> bool:
    """Try: it is the kernel that decides.  What is only permitted is taken up by the capture process."""
    if Capability.NET_RAW in permitted():
        return True
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()
    except OSError:
        return False
    return True


def _available(root: Path) -> int | None:
    """Return MemAvailable of proc(5)."""
    for line in _text(root / "proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _limit(root: Path) -> int | None:
    """Return the limit of the control group, version 2 or 1; None if there is none."""
    for name in ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"):
        text = _line(root / name)
        if text is not None and text.isdigit() and int(text) < 2**60:
            return int(text)
    return None


def _synchronised() -> bool | None:
    """Ask the kernel whether somebody keeps its clock (adjtimex(2))."""
    state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(TIMEX_BYTES))
    return None if state < 0 else state != TIME_ERROR


def _line(path: Path) -> str | None:
    return _text(path).strip() or None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
