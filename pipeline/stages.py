"""From a configuration to the stages of a run: what each process is given.

In: a `Config`.  Out: a `Wiring`, its stages in the order in which they start, consumers before producers.
Invariant: every ring has, at a time, one writing and one reading stage.  A lane is a frame ring, its assembler and
their workers, which are numbered through all lanes.  Where outputs want the answers to a replay, each worker writes
them into a ring of its own, for an answer worker of the same number.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import Any

import assemble.process
import capture.process
import emit.worker
from assemble.route import FlowRoute
from assemble.settings import Settings
from assemble.tally import ASSEMBLE_COUNTERS
from capture.child import EventQueue
from capture.counters import Counters
from capture.orders import Orders
from capture.records import CAPTURE_COUNTERS
from capture.ring import Ring
from capture.sources import expand
from capture.streams import StandardInput
from emit.records import (
    READER_COUNTERS,
    RECEIVER_COUNTERS,
    OutputSpec,
    ReaderSpec,
    ReceiverSpec,
    ServerTlsSpec,
    WorkerSpec,
    worker_counters,
)
from emit.selection import FOREVER, Moment, Selection
from emit.spool import Spool
from emit.succession import Ended
from pipeline import live, specs
from pipeline.config import Config
from pipeline.confinement import confine
from pipeline.credentials import access
from pipeline.inputs import FileInput, LiveInput, PcapInput, TcpInput
from pipeline.lanes import by_kernel, lanes
from pipeline.trust import check_trust
from pipeline.values import read_address
from pipeline.wiring import Stage, Wiring


def wire(config: Config, level: int) -> Wiring:
    """Make everything that the processes of a run share; raises `MirrorError` if an input is not there."""
    check_trust(config)
    count = lanes(config)
    rings = {f"message ring {at}": Ring.create(config.ring.messages) for at in range(count * config.workers.count)}
    messages = tuple(rings.values())
    answers = answer_rings(config, len(messages))
    stages = _workers(config, level, messages, tuple(answers.values()))
    for spec in (stage.spec for stage in stages if isinstance(stage.spec, WorkerSpec)):
        for spool in (output.spool for output in spec.outputs if output.spool is not None):
            Spool(spool).check()
    selection = live.select(config)
    if isinstance(config.input, TcpInput):
        stages.append(_receiver(config.input, level, messages))
    elif isinstance(config.input, FileInput):
        stages.append(_reader(config.input, level, messages))
    else:
        names = [f" {lane}" for lane in range(count)] if count > 1 else [""]
        frames = {f"frame ring{name}": Ring.create(config.ring.frames) for name in names}
        chosen = settings(config, config.input, selection)
        stages += _assemblers(names, level, chosen, tuple(frames.values()), messages)
        stages += _captures(config, level, chosen, selection, tuple(frames.values()))
        rings = frames | rings
    return Wiring(confine(config, stages), rings | answers, specs.labels(config), selection)


def answer_rings(config: Config, count: int, before: Sequence[Stage] = ()) -> dict[str, Ring]:
    """Return the answer rings that a configuration has use for, by name; those that workers of before write go on."""
    if not config.wants_answers:
        return {}
    known = {stage.number: stage.writes[0] for stage in before if stage.kind == "worker" and stage.writes}
    return {f"answer ring {at}": known.get(at) or Ring.create(config.ring.messages) for at in range(count)}


def workers(
    config: Config, level: int, answers: Sequence[Ring], after: Sequence[Ended], before: Sequence[Stage]
) -> list[Stage]:
    """Return workers in the place of those of `before`, which read the rings until now; `after` are their ends."""
    rings = [stage.reads[0] for stage in before if stage.kind == "worker"]
    return confine(config, _workers(config, level, rings, answers, after, before))


def _workers(
    config: Config, level: int, rings: Sequence[Ring], answers: Sequence[Ring],
    after: Sequence[Ended] = (), before: Sequence[Stage] = (),
) -> list[Stage]:  # fmt: skip
    """Return a worker for each message ring, behind one for each answer ring: consumers start first."""
    old = {stage.name: stage.spec for stage in before if isinstance(stage.spec, WorkerSpec)}
    ends = {stage.name: ended for stage, ended in zip(before, after, strict=False)}
    paces = specs.paces(config, old.values())
    notes = specs.notes(config, len(rings) + len(answers), old.values())
    writing, reading = [], []
    for at, (ring, answer) in enumerate(zip_longest(rings, answers)):
        name = f"worker {at}"
        asked = {} if answer is None else specs.asked(config, old.get(name))
        outputs = specs.noting(specs.outputs(config, len(rings), old.get(name), paces), notes, at)
        common = {"level": level, "index": at, "workers": len(rings), "kept": kept(config)}
        more = {"answers": answer, "asked": tuple(asked.items())}
        writing.append(_worker(name, ring, outputs, ends.get(name), **common, **more))
        if answer is not None:
            name = f"answer worker {at}"
            outputs = specs.outputs(config, len(rings), old.get(name), paces, asked)
            outputs = specs.noting(outputs, notes, len(rings) + at)
            reading.append(_worker(name, answer, outputs, ends.get(name), **common))
    return [*reading, *writing]


def kept(config: Config) -> str:
    """Return the directory for copies of messages that workers died of (file-hierarchy(7))."""
    if config.supervision.kept is not None:
        return config.supervision.kept
    own = os.environ.get("STATE_DIRECTORY", "").split(":")[0]  # systemd.exec(5)
    home = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return own or os.path.join(home, "ringtap")


def _worker(name: str, ring: Ring, outputs: tuple[OutputSpec, ...], after: Ended | None, **more: Any) -> Stage:
    events, counters = EventQueue(), Counters(worker_counters(output.index for output in outputs))
    outputs = tuple(specs.spooled(name, output, more["index"], more["workers"]) for output in outputs)
    spec = WorkerSpec(
        parent=os.getpid(), events=events, counters=counters, ring=ring, outputs=outputs, after=after, **more
    )  # fmt: skip
    writes = () if spec.answers is None else (spec.answers,)
    return Stage(name, emit.worker.main, spec, events, counters, writes=writes, reads=(ring,))


def _assemblers(
    names: list[str], level: int, chosen: Settings, frames: tuple[Ring, ...], messages: tuple[Ring, ...]
) -> Iterator[Stage]:
    """Yield the assembler of each lane, with its share of the message rings and of the memory."""
    share = replace(chosen, memory=chosen.memory // len(names))
    workers = len(messages) // len(names)
    for lane, name in enumerate(names):
        outputs = messages[lane * workers : (lane + 1) * workers]
        yield _assembler(f"assembler{name}", level, share, frames[lane], outputs)


def _assembler(name: str, level: int, chosen: Settings, ring: Ring, outputs: tuple[Ring, ...]) -> Stage:
    events, counters = EventQueue(), Counters(ASSEMBLE_COUNTERS)
    spec = assemble.process.AssembleSpec(
        parent=os.getpid(), level=level, events=events, counters=counters, ring=ring,
        outputs=outputs, settings=chosen, orders=Orders(),
    )  # fmt: skip
    return Stage(name, assemble.process.main, spec, events, counters, writes=outputs, reads=(ring,))


def settings(config: Config, source: PcapInput | LiveInput, selection: live.Selection | None) -> Settings:
    """Translate the [assemble] table, and what of [input] is its business, for the assembler."""
    table = config.assemble
    chosen = Settings(
        ports=source.ports, decapsulate=source.decapsulate,
        responses=table.responses, gap_timeout_s=table.gap_timeout,
        idle_timeout_s=table.idle_timeout, max_header=table.max_header,
        max_message=table.max_message, memory=table.memory,
        separate=table.separate, checksums=table.checksums,
    )  # fmt: skip
    if isinstance(source, LiveInput) and selection is not None:
        return replace(chosen, **live.assemble_order(source, selection))
    return chosen


def _captures(
    config: Config, level: int, chosen: Settings, selection: live.Selection | None, rings: tuple[Ring, ...]
) -> list[Stage]:
    """Return one capture for each ring where the kernel splits the flows, else one for them all."""
    source, split = config.input, len(rings) > 1
    if isinstance(source, LiveInput) and selection is not None:
        plans = live.plans(config, source, selection, len(rings) if by_kernel(config) else 1)
        if split and by_kernel(config):
            return [
                _capture(config, f"capture {at}", level, rings[at : at + 1], live=plan) for at, plan in enumerate(plans)
            ]
        given: dict[str, Any] = {"live": next(plans)}
    else:
        assert isinstance(source, PcapInput)
        given = {"paths": expand(source.path), "bpf": source.filter}
    return [_capture(config, "capture", level, rings, route=FlowRoute(chosen, len(rings)) if split else None, **given)]


def _capture(
    config: Config, name: str, level: int, rings: tuple[Ring, ...], route: FlowRoute | None = None, **source: Any
) -> Stage:
    events, counters = EventQueue(), Counters(CAPTURE_COUNTERS)
    spec = capture.process.CaptureSpec(
        parent=os.getpid(), level=level, events=events, counters=counters, rings=rings, route=route,
        batch_frames=config.ring.batch_frames, batch_bytes=config.ring.batch_bytes, **source,
    )  # fmt: skip
    return Stage(
        name, capture.process.main, spec, events, counters, writes=rings, source=True,
        assembled=None if route is None else route.page,
        # Who splits the flows himself has pieces of datagrams that nobody else has.
        again=_can_be_read_again(spec.paths) if spec.live is None else len(rings) == 1,
        turns=() if spec.live is None else spec.live.turns.pages,
    )  # fmt: skip


def _can_be_read_again(paths: Iterable[str]) -> bool:
    """Whether all are files: what came from a pipe, or standard input, and is not in the rings yet, is gone."""
    return all(path != "-" and os.path.isfile(path) for path in paths)


def _receiver(source: TcpInput, level: int, outputs: tuple[Ring, ...]) -> Stage:
    import emit.receiver  # here, as a run that reads files has no use for it

    host, port = read_address(source.listen)
    tls = None if source.certificate is None else ServerTlsSpec(source.certificate, source.key, source.client_ca)
    events, counters = EventQueue(), Counters(RECEIVER_COUNTERS)
    spec = ReceiverSpec(
        parent=os.getpid(), level=level, events=events, counters=counters, outputs=outputs,
        host=host, port=port, tls=tls, access=access(source), connections=source.max_connections,
        connections_per_address=source.max_connections_per_address,
    )  # fmt: skip
    return Stage("receiver", emit.receiver.main, spec, events, counters, writes=outputs, source=True)


def selection(source: FileInput) -> Selection:
    """Return what of its files an input wants, and how often."""
    return Selection(
        format=source.format,
        start=None if source.start is None else Moment(*source.start),
        end=None if source.end is None else Moment(*source.end),
        loop=FOREVER if source.loop == "forever" else source.loop,
        longest_gap_ns=None if source.longest_gap is None else round(source.longest_gap * 1e9),
        most_bytes=source.max_message,
    )


def _reader(source: FileInput, level: int, outputs: tuple[Ring, ...]) -> Stage:
    import emit.reader  # here, as a run over frames has no use for it

    events, counters = EventQueue(), Counters(READER_COUNTERS)
    spec = ReaderSpec(
        parent=os.getpid(), level=level, events=events, counters=counters, outputs=outputs,
        paths=expand(source.path), selection=selection(source),
        stdin=StandardInput() if "-" in source.path else None,
    )  # fmt: skip
    return Stage(
        "reader", emit.reader.main, spec, events, counters, writes=outputs, source=True,
        again=_can_be_read_again(spec.paths),
    )  # fmt: skip
