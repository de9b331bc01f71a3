"""One child of the supervisor: a stage, and the processes that do its work, one after another if they die.

In: a stage.  Out: a process that runs it, and what it has to say.  Invariant: at most one of its processes lives.
"""

import contextlib
import errno
import logging
import mmap
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from multiprocessing.process import BaseProcess
from typing import Any, Final

from capture.child import BUG_EXIT_CODE
from capture.privileges import confined
from emit import care
from emit.records import WorkerSpec
from pipeline.events import EventReader
from pipeline.restarts import Deaths, of_itself, reached
from pipeline.watchdog import Pulse
from pipeline.wiring import Stage

STACK_BYTES: Final = 1 << 20
"""Of a thread that hears a child; what is usual is eight times that, for each of many."""
ROOM_BYTES: Final = 8 << 20
"""What starting a child takes at most, in this process."""

log = logging.getLogger("supervisor")


@dataclass(eq=False)
class Child:
    """A started stage."""

    stage: Stage
    process: BaseProcess
    reader: EventReader
    pulse: Pulse
    began_s: float
    failure: dict[str, Any] | None = None  # its "failed" event
    ready: bool = False  # it has said so
    killed: bool = False  # by us, for good: not an error of its own
    hung: bool = False  # killed by us as it showed no sign of life
    along: str = ""  # killed by us as this one had died, with which it begins anew
    reaped: bool = False  # it has ended, and is not started again
    due_s: float | None = None  # it has died; when it is started again
    died_s: float | None = None  # its successor has not shown yet that it works
    deaths: Deaths = field(default_factory=Deaths)

    @property
    def running(self) -> bool:
        """Whether there is a process to wait for."""
        return not self.reaped and self.due_s is None

    def beats(self) -> int:
        """Return its count of signs of life."""
        return self.stage.events.counters["beats"]

    def kill(self) -> None:
        """End it for good; one that waits to be started again is not."""
        self.killed = True
        if self.due_s is not None:
            self.due_s = None
            self.reaped = True
        else:
            self.process.kill()


def start(stage: Stage, hear: Callable[[str, dict[str, Any]], None], now_s: float) -> Child:
    """Start a process for a stage; raises OSError if there is no room for one more."""
    process, reader = _spawn(stage, hear)
    return Child(stage, process, reader, Pulse(stage.events.counters["beats"], now_s), now_s)


def start_again(child: Child, hear: Callable[[str, dict[str, Any]], None], now_s: float) -> Stage:
    """Start another process for a child that has died, on the same rings; return its stage, which replaces that of now.

    Raises OSError as `start` does; the child is as it was then.
    """
    stage, spec = child.stage, child.stage.spec
    more: dict[str, Any] = {"events": stage.events.renewed(), "attempt": child.deaths.total}
    if isinstance(spec, WorkerSpec):
        own = child.hung or of_itself(child.process.exitcode or 0)
        more["care"] = care.after_death(stage.counters, spec.care, child.deaths.in_row, own=own)
        if more["care"].differs(spec.care):
            child.deaths.in_row = 0
    new = replace(stage, spec=replace(spec, **more), events=more["events"])  # type: ignore[type-var]  # a dataclass
    child.process, child.reader = _spawn(new, hear)
    child.stage = new
    child.failure, child.hung, child.along, child.due_s, child.began_s = None, False, "", None, now_s
    child.pulse = Pulse(child.beats(), now_s)
    return new


def note_death(child: Child, now_s: float) -> float | None:
    """Note that its process has died; return after how long another is to be started, None: not at all."""
    if child.along:
        wait_s: float | None = child.deaths.forgive()
    else:
        wait_s = child.deaths.note(reached(child.stage), now_s - child.began_s)
    if wait_s is not None:
        child.due_s = now_s + wait_s
        child.died_s = now_s if child.died_s is None else child.died_s
    return wait_s


def why(child: Child) -> str:
    """Say how a child ended."""
    name, code = child.stage.name, child.process.exitcode or 0
    if child.failure is not None:
        return str(child.failure.get("text"))
    if child.hung:
        return f"{name} showed no sign of life and was killed"
    if child.along:
        return f"{name} begins anew together with {child.along}"
    if code < 0:
        return f"{name} was killed by {signal.Signals(-code).name}"
    return f"{name} ended with exit code {code} and gave no reason"


def died(child: Child) -> bool:
    """Whether its latest process ended in the middle of its work, by a signal or by a bug."""
    code = child.process.exitcode
    return code is not None and (code < 0 or code == BUG_EXIT_CODE)


def exit_code(child: Child) -> int:
    """Return what the run ends with on behalf of a child that ended badly."""
    if child.failure is not None:
        return int(child.failure["exit_code"])
    return max(child.process.exitcode or 0, 1)


def _spawn(stage: Stage, hear: Callable[[str, dict[str, Any]], None]) -> tuple[BaseProcess, EventReader]:
    process = multiprocessing.get_context("spawn").Process(
        target=confined, args=(stage.rights, stage.target, stage.spec), name=stage.name
    )
    reader = EventReader(stage.name, stage.events, hear)
    _start_thread(reader)  # first: if there is no room for it, there is no process yet that nobody would know of
    # Inherited: a Ctrl-C, or the end of a terminal, is for us, also before the child can say so itself.
    ours = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGHUP)}
    try:
        process.start()
    except OSError:
        reader.finish(killed=False)
        raise
    finally:
        for number, handler in ours.items():
            signal.signal(number, handler)
    if stage.cores and process.pid is not None:
        with contextlib.suppress(OSError):  # it has ended already, or these cores were taken from us meanwhile
            os.sched_setaffinity(process.pid, stage.cores)
    log.debug("started %s, process %d", stage.name, process.pid)
    return process, reader


def _start_thread(reader: EventReader) -> None:
    mmap.mmap(-1, ROOM_BYTES, mmap.MAP_PRIVATE).close()  # a thread that has no memory is waited for without an end
    before = threading.stack_size(STACK_BYTES)
    try:
        reader.start()
    except RuntimeError as error:  # of threading, which does not say why
        raise OSError(errno.EAGAIN, str(error)) from error
    finally:
        threading.stack_size(before)
