"""Starts the processes of a run, watches them, drains them, ends them (DESIGN 11).

In: stages, and a function to call a few times per second.  Out: an `Outcome`.  Invariant: when `run` returns
or raises, no child is left.  Signal handlers only note the signal; the loop acts.

A child that dies, or shows no sign of life, is started again, and goes on at its rings; one that dies again and again
without getting on ends the run.  Errors that a child explains are not of that kind: they would come again.  Some share
what only all of them can begin anew: if one dies, the others are ended, too, and all are started again.

Workers can be succeeded while the run goes on: each successor is started first, and waits for the end of the worker
whose ring it takes over; that one is asked to leave when all successors are ready.  One whose ring has no further use,
as nobody writes there any more, is not succeeded: it reads it to its end.
"""

import contextlib
import gc
import logging
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from types import FrameType
from typing import Any, Final

from capture.child import BUG_EXIT_CODE
from capture.ring import Producer
from capture.turns import forget
from emit.succession import Ended
from pipeline.events import EventReader, log_event
from pipeline.leftovers import settle
from pipeline.processes import Child, died, exit_code, note_death, start, start_again, why
from pipeline.restarts import LONGEST_S
from pipeline.watchdog import STALL_S
from pipeline.wiring import Stage, Wiring

TICK_S: Final = 0.1
QUICK_TICK_S: Final = 0.01
DRAIN_S: Final = 10.0
STOPPING: Final = (signal.SIGINT, signal.SIGTERM)

log = logging.getLogger("supervisor")


@dataclass
class Outcome:
    """How a run ended; `exit_code` is 0 if every child ended well and nobody interrupted the draining."""

    errors: list[str] = field(default_factory=list)
    exit_code: int = 0
    stopped_by: str | None = None  # the signal that made it drain

    def fail(self, text: str, exit_code: int = 1) -> None:
        """Note one error; the largest exit code wins."""
        self.errors.append(text)
        self.exit_code = max(self.exit_code, exit_code)


@dataclass
class Succession:
    """Workers that take over from others."""

    before: list[Child]
    after: list[Child]
    prepared: Callable[[], bool]
    failed: Callable[[], None]
    asked: bool = False  # those of before, to leave


class Supervisor:
    """Runs one wiring to its end; used once."""

    def __init__(
        self, wiring: Wiring, tick: Callable[[], None], drain_s: float = DRAIN_S, stall_s: float = STALL_S
    ) -> None:
        self.wiring = wiring
        self.tick = tick
        self.drain_s = drain_s
        self.stall_s = stall_s  # a child that shows no sign of life for so long hangs
        self.outcome = Outcome()
        self.children: list[Child] = []
        self.noted: list[int] = []
        self.acted = 0  # of the noted signals
        self.failed = False  # a child has ended badly: no source takes any more input
        self.deadline_s: float | None = None
        self.asked_s = 0.0  # when the sources were last asked to stop
        self.succession: Succession | None = None  # of workers, under way
        self.let_go: list[EventReader] = []  # of processes that were killed
        self.hung_up = False  # SIGHUP came: whoever drives the reload takes it back
        self.attending: Sequence[Any] = ()  # what else wakes the loop up: descriptors, or objects that have one

    def run(self) -> Outcome:
        """Start every stage, wait until all have ended, and return how that went."""
        with self._noting_signals():
            try:
                self._start()
                while living := [child for child in self.children if not child.reaped]:
                    sentinels = [child.process.sentinel for child in living if child.running]
                    wait([*sentinels, *self.attending], timeout=self._tick_s(living))
                    self._reap(living)
                    self._act()
                    self._relieve()
                    self._revive()
                    self.tick()
            finally:
                self._kill_all()
        if self.outcome.errors:
            settle(self.wiring, [child.stage for child in self.children if died(child)])
        return self.outcome

    @contextlib.contextmanager
    def _noting_signals(self) -> Iterator[None]:
        def note(number: int, _frame: FrameType | None) -> None:
            self.noted.append(number)

        def hang_up(_number: int, _frame: FrameType | None) -> None:
            self.hung_up = True

        before = {number: signal.getsignal(number) for number in (*STOPPING, signal.SIGHUP)}
        # A Ctrl-C reaches the children too: they must ignore it before they can say so themselves.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, note)
        if before[signal.SIGHUP] is not signal.SIG_IGN:  # nohup(1)
            signal.signal(signal.SIGHUP, hang_up)
        self.note = note
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @property
    def ready(self) -> bool:
        """Whether every source takes input."""
        return bool(self.children) and all(child.ready for child in self.children if child.stage.source)

    @property
    def stopping(self) -> bool:
        """Whether the sources are to take no more input."""
        return self.failed or self.outcome.stopped_by is not None

    @property
    def succeeding(self) -> bool:
        """Whether workers are being succeeded."""
        return self.succession is not None

    def succeed(
        self,
        make: Callable[[Sequence[Ended]], list[Stage]],
        outputs: tuple[str, ...],
        prepared: Callable[[], bool],
        failed: Callable[[], None],
    ) -> None:
        """Have the workers of now succeeded by those that `make` makes, given the ends of those of now, in order.

        They are asked to leave once `prepared` says so.  If a successor ends before that they stay, and `failed` is
        called.  Raises OSError if there is no room for more processes; then nothing has changed.
        """
        workers = self.wiring.workers()
        before = [next(child for child in self.children if child.stage is stage) for stage in workers]
        stages = make([Ended(child.process.pid or 0) for child in before])
        known = len(self.children)
        try:
            for stage in stages:
                self._spawn(stage)
        except OSError:
            self._dismiss(self.children[known:])
            raise
        self.wiring.succeed(stages, outputs)
        self.succession = Succession(before, self.children[known:], prepared, failed)

    def _start(self) -> None:
        for stage in self.wiring.stages:
            self._spawn(stage)
        signal.signal(signal.SIGINT, self.note)

    def _spawn(self, stage: Stage) -> None:
        child = start(stage, lambda name, event: self._hear(child, 0, name, event), time.monotonic())
        self.children.append(child)

    def _hear(self, child: Child, life: int, name: str, event: dict[str, Any]) -> None:
        """Take one event of a process, before which so many have died; called in the reader's thread."""
        if event.get("event") == "failed":
            if life == child.deaths.total:  # else what is heard late is not about its successor
                child.failure = event
        elif event.get("event") in {"ready", "listening"}:
            child.ready = True
        else:
            log_event(name, event)

    def _relieve(self) -> None:
        """Take a succession further: predecessors leave when successors are ready, and are forgotten when they have."""
        succession = self.succession
        if succession is None:
            return
        if succession.asked:
            if all(child.reaped for child in succession.before):
                self.wiring.bury()
                self.children = [child for child in self.children if child not in succession.before]
                self.succession = succession = None
                gc.collect()  # each has a thread that refers back to it, and descriptors that the next ones need
            else:
                for child in succession.before:
                    if child.reaped:
                        self._close_behind(child)
        elif failed := [child for child in succession.after if child.reaped and child.process.exitcode]:
            reasons = "; ".join(why(child) for child in failed)
            log.error("reload: the workers for the new outputs did not start: %s; those of before go on", reasons)
            self.wiring.restore()
            self._dismiss(succession.after)
            self.succession = None
            for child in succession.before:
                if child.process.exitcode:  # it has died meanwhile, and nobody goes on in its place
                    child.reaped = not self._await(child, time.monotonic())
            succession.failed()
        elif all(child.ready for child in succession.after) and succession.prepared():
            succession.asked = True
            taken_over = {ring for child in succession.after for ring in child.stage.reads}
            for child in succession.before:
                if taken_over.intersection(child.stage.reads):
                    child.stage.spec.leave.raise_()  # type: ignore[attr-defined]  # a WorkerSpec

    def _dismiss(self, children: Sequence[Child]) -> None:
        """End children that nobody has come to need, and forget them."""
        for child in children:
            child.kill()
            child.process.join()
            child.reader.finish(killed=True)
        self.children = [child for child in self.children if child not in children]

    def _reap(self, living: list[Child]) -> None:
        for child in living:
            code = child.process.exitcode
            if not child.running or code is None:
                continue
            now_s = time.monotonic()
            child.process.join()
            if code < 0:
                self.let_go = [each for each in self.let_go if each.is_alive()] + [child.reader]
                child.reader.let_go()  # who goes on in its place does not wait for that
            else:
                child.reader.finish(killed=False)
            log.debug("%s ended with %d", child.stage.name, code)
            if code != 0 and self._may_return(child, code) and self._await(child, now_s):
                self._take_along(child)
                continue
            child.reaped = True
            if code != 0:
                self._bury(child, code)

    def _may_return(self, child: Child, code: int) -> bool:
        """Whether a child is one whose work another process can go on with."""
        succession = self.succession
        if succession is not None and child in [*succession.before, *(() if succession.asked else succession.after)]:
            return False  # its work is another's already, or still
        if (
            child.killed
            or not child.stage.again
            or (child.stage.source and self.stopping and not self._owes(child, code))
        ):
            return False
        return child.failure is None or code == BUG_EXIT_CODE  # else it would meet the same error again

    def _owes(self, child: Child, code: int) -> bool:
        """Whether a source that died while it was to stop is to come back once more: to put right what it had counted.

        Not if it was ended by us before it had begun, nor if this was the one that had come back for that.
        """
        return not self.failed and code != -signal.SIGTERM and child.died_s is None

    def _await(self, child: Child, now_s: float) -> bool:
        """Have another process started for a child that has died; False if that leads nowhere."""
        wait_s = note_death(child, now_s)
        if wait_s is None:
            log.error("%s died %d times in a row without getting on", child.stage.name, child.deaths.in_row)
            return False
        log.warning("%s; it is started again in %g s", why(child), wait_s)
        return True

    def _take_along(self, child: Child) -> None:
        """End those that have to begin anew with a child that has died."""
        for each in self._others(child):
            if each.running and not each.along:
                each.along = child.stage.name
                each.process.kill()

    def _others(self, child: Child) -> list[Child]:
        """Return those that begin anew together with a child, without it; nobody does when all are to stop."""
        turns = child.stage.turns
        if not turns or self.stopping:
            return []
        return [each for each in self.children if each.stage.turns is turns and each is not child]

    def _due(self, now_s: float) -> list[Child]:
        """Return those whose time has come to be started again; those that begin together, when it has come for all."""
        due = [child for child in self.children if child.due_s is not None and now_s >= child.due_s]
        together = [child for child in due if all(each in due for each in self._others(child))]
        for child in together:
            if self._others(child):
                forget(child.stage.turns)
        return together

    def _tick_s(self, living: Sequence[Child]) -> float:
        """Return how long to wait at most: less while somebody is about to come back."""
        return QUICK_TICK_S if any(child.died_s is not None for child in living) else TICK_S

    def _revive(self) -> None:
        """Start those again whose time has come, see who is back, and end those that hang."""
        now_s = time.monotonic()
        for child in self._due(now_s):
            self._start_again(child, now_s)
        for child in self.children:
            if not child.running:
                continue
            silent_s = child.pulse.look(child.beats(), now_s)
            if child.died_s is not None and child.pulse.works:
                log.info("%s works again, %.2f s after it died", child.stage.name, now_s - child.died_s)
                child.died_s = None
            if silent_s >= self.stall_s and child.pulse.works and not child.hung:
                log.error("%s has shown no sign of life for %g s and is killed", child.stage.name, self.stall_s)
                child.hung = True
                child.process.kill()

    def _start_again(self, child: Child, now_s: float) -> None:
        before = child.stage
        try:
            life = child.deaths.total
            stage = start_again(child, lambda name, event: self._hear(child, life, name, event), now_s)
        except OSError as error:
            log.error("%s cannot be started again yet: %s", before.name, error.strerror)
            child.due_s = now_s + LONGEST_S
            self._take_along(child)
            return
        self.wiring.replace(before, stage)

    def _bury(self, child: Child, code: int) -> None:
        """Deal with a child that did not end well: note why, let those behind it finish what is there."""
        if self.succession is not None and child in self.succession.after and not self.succession.asked:
            return  # the workers of before go on
        if self.succession is not None and child in self.succession.before and not child.killed:
            log.warning("%s; its successor goes on", why(child))
            self._close_behind(child)
            return
        asked = child.stage.source and self.stopping and code == -signal.SIGTERM
        if not child.killed and not asked:
            self.outcome.fail(why(child), exit_code(child))
            log.error("%s: what is there is delivered, then the run ends", why(child))
            self.failed = True
            if not child.stage.source:
                self._kill(self.wiring.feeding(child.stage))
                self._set_deadline()
        self._close_behind(child)

    def _close_behind(self, gone: Child) -> None:
        """Close, on behalf of a child that has ended, the rings that nobody else writes or is about to."""
        written = {ring for child in self.children if not child.reaped for ring in child.stage.writes}
        for ring in gone.stage.writes:
            if ring not in written:
                Producer(ring).close()

    def _act(self) -> None:
        """Act on the signals noted since the last time, and on the deadline."""
        for number in self.noted[self.acted :]:
            self.acted += 1
            name = signal.Signals(number).name
            if self.outcome.stopped_by is None:
                log.info("%s: draining, up to %g s; once more aborts", name, self.drain_s)
                self.outcome.stopped_by = name
                self._set_deadline()
            else:
                self._abort(f"aborted by {name}", 128 + number)
        now_s = time.monotonic()
        if self.deadline_s is not None and now_s >= self.deadline_s:
            self._abort(f"not drained within {self.drain_s:g} s", 1)
        # Asked again and again: the first time may have been before the source was ready to hear it.
        if self.stopping and now_s - self.asked_s >= 0.5:
            self.asked_s = now_s
            for child in self.children:
                if child.stage.source and child.due_s is not None:
                    if self.failed:
                        self._end(child)  # else it comes back for a moment, see `_owes`
                elif child.stage.source and child.running:
                    if child.died_s is None or self.failed:  # else it does not hear us yet, and would die of it
                        child.process.terminate()
                elif child.stage.kind == "worker":
                    child.stage.spec.stop.raise_()  # type: ignore[attr-defined]  # a WorkerSpec

    def _set_deadline(self) -> None:
        if self.deadline_s is None:
            self.deadline_s = time.monotonic() + self.drain_s

    def _abort(self, why: str, exit_code: int) -> None:
        if all(child.reaped or child.killed for child in self.children):
            return
        in_flight = self.wiring.in_flight() or "nothing in the rings"
        self.outcome.fail(f"{why}; in flight: {in_flight}", exit_code)
        self._kill([child.stage for child in self.children])

    def _kill(self, stages: Sequence[Stage]) -> None:
        """Kill the children that run these stages."""
        for child in self.children:
            if child.stage in stages and not child.reaped:
                self._end(child)

    def _end(self, child: Child) -> None:
        """End a child for good; what waits to be started again leaves nobody whose death would be noticed."""
        waiting = child.due_s is not None
        child.kill()
        if waiting:
            self._close_behind(child)

    def _kill_all(self) -> None:
        living = [child for child in self.children if not child.reaped]
        self._kill([child.stage for child in living])
        for child in living:
            child.process.join()
            self.let_go.append(child.reader)
        for reader in self.let_go:
            reader.finish(killed=True)
        # multiprocessing's tracker would outlive us by a moment, as nobody's child; it tracks nothing here.
        stop_tracker = getattr(resource_tracker._resource_tracker, "_stop", None)
        if stop_tracker is not None:
            stop_tracker()
