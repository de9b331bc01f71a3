"""One whole run: wire it, supervise it, show progress, print and write the ledger, decide the exit code.

In: a checked configuration and how the user wants to be told.  Out: the exit code.  Everything said goes to
standard error; standard output belongs to the outputs.
"""

import contextlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from capture.errors import ConfigError, MirrorError, reason
from pipeline import ledger as ledgers
from pipeline import progress, report, summary
from pipeline.advice import Advisor
from pipeline.config import Config
from pipeline.hearing import Hearing
from pipeline.inputs import FileInput, LiveInput, PcapInput
from pipeline.notify import Notifier
from pipeline.reload import Reloader
from pipeline.service import Service
from pipeline.stages import wire
from pipeline.supervisor import Outcome, Supervisor
from pipeline.terminal import Terminal
from pipeline.wiring import Wiring

STATUS_EVERY_S: Final = 0.5  # on a terminal
LOG_EVERY_S: Final = 5.0  # elsewhere
ADVISE_EVERY_S: Final = 1.0
LOSS_EXIT_CODE: Final = 3

log = logging.getLogger("pipeline")


@dataclass(frozen=True)
class Origin:
    """Where the configuration came from, and how to read it again."""

    path: Path
    load: Callable[[], Config]


@dataclass(frozen=True)
class Telling:
    """What the user wants to hear, and where."""

    terminal: Terminal
    ledger: Path | None = None  # "-" is standard output
    strict: bool = False
    quiet: bool = False
    say: Callable[[ledgers.Ledger], Iterable[str]] | None = None  # lines in place of the ledger


def run(config: Config, telling: Telling, origin: Origin | None = None) -> int:
    """Run to the end and return the exit code; raises `MirrorError` if it cannot even start."""
    _check_ledger_path(config, telling.ledger)
    _check_directory()
    level = logging.getLogger().getEffectiveLevel()
    wiring = wire(config, level)
    log.info("%s", _beginning(config, wiring))
    watch = Watch(wiring, telling)
    supervisor = Supervisor(wiring, watch, stall_s=config.supervision.stall)
    notifier = Notifier.from_environment()
    service = Service(supervisor, notifier)
    watch.tasks.append(service.attend)
    watch.tell = notifier.status
    with contextlib.ExitStack() as stack:
        stack.callback(notifier.close)
        stack.callback(telling.terminal.status, "")
        if origin is not None:
            reloader = Reloader(origin.load, config, wiring, supervisor, level)
            reload = partial(service.reloading, reloader.reload)
            hearing = Hearing(supervisor, reload, lambda: reloader.settled, origin.path)
            stack.callback(hearing.close)
            watch.tasks.append(hearing.attend)
        outcome = supervisor.run()
        config = config if origin is None else reloader.config
    tally = wiring.tally()
    _remark(config, tally, wiring)
    log.info(
        "%s after %.1f s: %s",
        "stopped" if outcome.stopped_by else "done",
        watch.elapsed_s(),
        watch.total(tally),
    )
    return _settle(ledgers.build(tally), wiring, outcome, telling)


def _beginning(config: Config, wiring: Wiring) -> str:
    kinds = [stage.kind for stage in wiring.stages]
    parts = [_several(kinds.count("worker"), "worker")]
    if kinds.count("assembler") > 1:
        parts.insert(0, _several(kinds.count("assembler"), "lane"))
    return f"{_what(config)}; {'; '.join(parts)}; to {', '.join(wiring.outputs)}"


def _what(config: Config) -> str:
    source = config.input
    if isinstance(source, LiveInput):
        ports = f", TCP port {', '.join(map(str, source.ports))}" if source.ports else ", every TCP port"
        return f"watching {', '.join(source.interfaces)}{ports}"
    return f"reading {', '.join(source.path)}" if isinstance(source, PcapInput | FileInput) else "receiving"


def _several(count: int, what: str) -> str:
    return f"1 {what}" if count == 1 else f"{count} {what}s"


class Watch:
    """Called by the supervisor a few times per second; shows how far the run has come."""

    def __init__(self, wiring: Wiring, telling: Telling, clock: Callable[[], float] = time.monotonic) -> None:
        self.wiring = wiring
        self.telling = telling
        self.clock = clock
        self.every_s = STATUS_EVERY_S if telling.terminal.live else LOG_EVERY_S
        self.began_s = self.shown_s = clock()
        self.before = wiring.tally()
        self.advisor = Advisor()
        self.advised_s = self.began_s
        self.tell: Callable[[str], None] = lambda _text: None
        self.tasks: list[Callable[[], None]] = []  # what else is looked at as often

    def __call__(self) -> None:
        now_s = self.clock()
        for task in self.tasks:
            task()
        if now_s - self.advised_s >= ADVISE_EVERY_S:
            self.advised_s = now_s
            rings = {name: ring.stats() for name, ring in self.wiring.rings.items()}
            for line in self.advisor.look(self.wiring.tally(), rings, now_s):
                log.warning("%s", line)
        if self.telling.quiet or now_s - self.shown_s < self.every_s:
            return
        tally = self.wiring.tally()
        levels = [ring.stats() for ring in self.wiring.rings.values()]
        fullest = max((level.used / level.capacity for level in levels), default=None)
        text = progress.describe(tally, self.before, now_s - self.shown_s, now_s - self.began_s, fullest)
        self.tell(text)
        if self.telling.terminal.live:
            self.telling.terminal.status(text)
        elif _moved(tally, self.before):  # an idle receiver has nothing to say
            log.info("%s", text)
        self.before, self.shown_s = tally, now_s

    def elapsed_s(self) -> float:
        """Return the seconds since the start."""
        return self.clock() - self.began_s

    def total(self, tally: ledgers.Tally) -> str:
        """Say what the whole run did."""
        return progress.describe(tally, ledgers.Tally(), self.elapsed_s(), self.elapsed_s())


def _moved(now: ledgers.Tally, before: ledgers.Tally) -> bool:
    """Tell whether anything has come or gone; the time that looking takes is not news."""
    idle = {"cpu_ms": 0}
    return replace(now, capture={**(now.capture or {}), **idle}, parts={}) != replace(
        before, capture={**(before.capture or {}), **idle}, parts={}
    )


def _settle(ledger: ledgers.Ledger, wiring: Wiring, outcome: Outcome, telling: Telling) -> int:
    """Print and write the ledger and what was replayed, then the errors, and return the exit code."""
    terminal = telling.terminal
    replays = wiring.replays()
    if telling.say is not None:
        terminal.line("\n".join(telling.say(ledger)))
    elif not telling.quiet:
        terminal.line(report.coloured(ledger, terminal.columns) if terminal.live else report.plain(ledger))
        if replays:
            terminal.line(summary.coloured(replays, terminal.columns) if terminal.live else summary.plain(replays))
    if any(each.in_flight < 0 for each in ledger.equations):  # no abort explains that
        outcome.fail("the ledger does not close: something was counted twice; this is a bug")
    elif not ledger.closed and not outcome.errors:
        outcome.fail("the ledger does not close: something is in no counted place; this is a bug")
    if telling.ledger is not None:
        rings = {name: ring.stats()._asdict() for name, ring in wiring.rings.items()}
        more: dict[str, object] = {"replay": summary.as_json(replays)} if replays else {}
        if restarts := wiring.restarts():
            more["restarts"] = restarts
        _write_ledger(ledger.as_json() | {"rings": rings} | more, telling.ledger, outcome)
    for error in outcome.errors:
        terminal.line(f"pipeline: error: {error}")
    if outcome.exit_code == 0 and telling.strict and ledger.losses:
        terminal.line(f"pipeline: error: --strict: {report.verdict(ledger)}")
        return LOSS_EXIT_CODE
    return outcome.exit_code


def private(path: str, flags: int) -> int:
    """Open a file, which nobody else can read if it is new."""
    return os.open(path, flags, 0o600)


def _write_ledger(ledger: dict[str, object], path: Path, outcome: Outcome) -> None:
    text = json.dumps(ledger | {"exit_code": outcome.exit_code, "errors": outcome.errors}, indent=1) + "\n"
    try:
        if str(path) == "-":
            os.write(1, text.encode())
        else:
            _write_file(path, text)
    except OSError as error:
        outcome.fail(f"--ledger {path}: cannot be written: {reason(error)}")


def _write_file(path: Path, text: str) -> None:
    """Write a file as a whole, or leave it empty: half a ledger is taken for a whole one, or for our bug."""
    try:
        with open(path, "w", encoding="utf-8", opener=private) as file:
            file.write(text)
    except OSError:
        with contextlib.suppress(OSError):
            os.truncate(path, 0)
        raise


def _check_ledger_path(config: Config, path: Path | None) -> None:
    """Find out before the run, not after it, that its ledger cannot be written."""
    if path is None:
        return
    if str(path) == "-":
        if any(output.type == "stdout" for output in config.output):
            raise ConfigError("--ledger -: standard output is taken by an output; write a file name")
        return
    try:
        with open(path, "a", encoding="utf-8", opener=private):
            pass
    except OSError as error:
        raise MirrorError(f"--ledger {path}: cannot be written: {reason(error)}") from error


def _check_directory() -> None:
    """Find out what would keep every child from starting: it begins where this process is."""
    try:
        os.chdir(os.getcwd())
    except OSError as error:
        raise MirrorError(f"the current directory cannot be entered: {error.strerror}; start from another") from error


def _remark(config: Config, tally: ledgers.Tally, wiring: Wiring) -> None:
    """Say in words why nothing may have come out, and what was lost on the way to this log."""
    counts = tally.assemble
    source = config.input
    if counts is not None and isinstance(source, PcapInput | LiveInput) and not counts["messages"]:
        log.warning("%s", _why_no_message(counts, tally.capture or {}, source))
    lost = sum(stage.events.counters["events_lost"] for stage in wiring.stages)
    if lost:
        log.warning("%d log records were lost: the processes had more to say than was read", lost)


def _why_no_message(counts: ledgers.Counts, capture: ledgers.Counts, source: PcapInput | LiveInput) -> str:
    if not capture.get("frames_captured", 0):
        if isinstance(source, PcapInput):
            return "no frame was read"
        return f"no frame was captured on {', '.join(source.interfaces)}; `pipeline interfaces` shows where traffic is"
    if counts["segments_data"] + counts["segments_control"]:
        return "TCP was seen, but no HTTP message in it"
    if counts.get("refused_port", 0):
        watched = ", ".join(map(str, source.ports))
        return f"no TCP was seen on port {watched}: {counts['refused_port']:,} frames are of other ports"
    return f"no TCP was seen in {capture['frames_captured']:,} frames"
