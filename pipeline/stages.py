"""From a configuration to the stages of a run: what each process is given.

In: a `Config`.  Out: a `Wiring`, its stages in the order in which they start, consumers before producers.
Invariant: every ring has, at a time, one writing and one reading stage.  A lane is a frame ring, its assembler and
their workers, which are numbered through all lanes.  Where outputs want the answers to a replay, each worker writes
them into a ring of its own, for an answer worker of the same number.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from emit.kept import Kept
from emit.notes import Note, Notes
from emit.pace import Pace
from emit.records import (
    ALL,
    OUTCOMES,
    READER_COUNTERS,
    RECEIVER_COUNTERS,
    HttpSpec,
    OutputSpec,
    ReaderSpec,
    ReceiverSpec,
    ServerTlsSpec,
    Sifting,
    TlsSpec,
    WorkerSpec,
    worker_counters,
)
from emit.selection import FOREVER, Moment, Selection
from emit.spool import Spool, SpoolSpec
from emit.succession import Ended
from emit.summary import Summary
from emit.verdicts import Verdicts
from pipeline import live, rules
from pipeline.config import Config
from pipeline.confinement import confine
from pipeline.credentials import access, login
from pipeline.inputs import FileInput, LiveInput, PcapInput, TcpInput
from pipeline.lanes import by_kernel, lanes
from pipeline.outputs import FileOutput, HttpOutput, Output, StdoutOutput, TcpOutput, TlsOutput, replays
from pipeline.steps import transforms
from pipeline.trust import check_trust
from pipeline.values import read_address, read_url
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
    return Wiring(confine(config, stages), rings | answers, labels(config), selection)


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
    paces = _paces(config, old.values())
    notes = _notes(config, len(rings) + len(answers))
    writing, reading = [], []
    for at, (ring, answer) in enumerate(zip_longest(rings, answers)):
        name = f"worker {at}"
        asked = {} if answer is None else _asked(config, old.get(name))
        outputs = _noting(_outputs(config, len(rings), old.get(name), paces), notes, at)
        common = {"level": level, "index": at, "workers": len(rings), "kept": kept(config)}
        more = {"answers": answer, "asked": tuple(asked.items())}
        writing.append(_worker(name, ring, outputs, ends.get(name), **common, **more))
        if answer is not None:
            name = f"answer worker {at}"
            outputs = _noting(_outputs(config, len(rings), old.get(name), paces, asked), notes, len(rings) + at)
            reading.append(_worker(name, answer, outputs, ends.get(name), **common))
    return [*reading, *writing]


def _notes(config: Config, workers: int) -> dict[int, tuple[Note, ...]]:
    """Return the notes of all workers at each output that is a file, by the output's number."""
    return {
        at: tuple(Note.create(OUTCOMES) for _worker in range(workers))
        for at, output in enumerate(config.output)
        if isinstance(output, FileOutput) and output.format != "har"  # its requests wait, and are not in order
    }


def _noting(outputs: tuple[OutputSpec, ...], notes: dict[int, tuple[Note, ...]], own: int) -> tuple[OutputSpec, ...]:
    """Return outputs with the notes that they share, of which one is their worker's own."""
    return tuple(
        replace(each, notes=Notes(notes[each.index], own)) if each.index in notes else each for each in outputs
    )


def kept(config: Config) -> str:
    """Return the directory for copies of messages that workers died of (file-hierarchy(7))."""
    if config.supervision.kept is not None:
        return config.supervision.kept
    own = os.environ.get("STATE_DIRECTORY", "").split(":")[0]  # systemd.exec(5)
    home = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return own or os.path.join(home, "ringtap")


def _asked(config: Config, before: WorkerSpec | None) -> dict[Sifting, Verdicts]:
    """Return where it is noted what those who take answers will want to know of requests."""
    known = {} if before is None else dict(before.asked)
    takers = [output for output in config.output if not replays(output)]
    wanted = [Sifting(each.where, each.sample, each.sample_from, each.sample_by) for each in takers]
    return {each: known.get(each) or Verdicts.create() for each in wanted if each != ALL}


def _paces(config: Config, before: Iterable[WorkerSpec]) -> list[Pace | None]:
    """Return the schedule that all workers share, of each output that has one; one that goes on keeps it."""
    known = [(each.address, each.http.pace) for spec in before for each in spec.outputs if each.http is not None]
    return [_pace(output, known) if isinstance(output, HttpOutput) else None for output in config.output]


def _pace(output: HttpOutput, known: Sequence[tuple[str | None, Pace]]) -> Pace:
    for address, pace in known:
        if address == output.address and (pace.speed, pace.rate, pace.ramp_s) == output.pace:
            return pace
    return Pace.create(*output.pace)


def labels(config: Config) -> tuple[str, ...]:
    """Name the outputs the way people know them."""
    return tuple(label(output) for output in config.output)


def label(output: Output) -> str:
    """Name an output the way people know it."""
    if isinstance(output, TcpOutput | HttpOutput):
        return f"{output.type} {output.address}"
    return f"file {output.path}" if isinstance(output, FileOutput) else output.type


def _worker(name: str, ring: Ring, outputs: tuple[OutputSpec, ...], after: Ended | None, **more: Any) -> Stage:
    events, counters = EventQueue(), Counters(worker_counters(output.index for output in outputs))
    outputs = tuple(_spooled(name, output, more["index"], more["workers"]) for output in outputs)
    spec = WorkerSpec(
        parent=os.getpid(), events=events, counters=counters, ring=ring, outputs=outputs, after=after, **more
    )  # fmt: skip
    writes = () if spec.answers is None else (spec.answers,)
    return Stage(name, emit.worker.main, spec, events, counters, writes=writes, reads=(ring,))


def _outputs(
    config: Config,
    workers: int,
    before: WorkerSpec | None,
    paces: Sequence[Pace | None],
    follows: Mapping[Sifting, Verdicts] | None = None,
) -> tuple[OutputSpec, ...]:
    """Return the outputs of a worker; or those that take answers, and follow what is noted of requests."""
    known = [] if before is None else list(before.outputs)
    listed = [(at, each) for at, each in enumerate(config.output) if follows is None or not replays(each)]
    judged = rules.judged(known)
    made = [_output(at, each, config, workers, known, judged, paces[at]) for at, each in listed]
    if follows is not None:
        return tuple(replace(each, follows=follows.get(each.sifting)) for each in made)
    summaries = [] if before is None else [each for each in before.outputs if each.summary is not None]
    sending = [replays(each) for _at, each in listed]
    return tuple(
        replace(each, summary=_summary(each, summaries)) if sends else each
        for each, sends in zip(made, sending, strict=True)
    )


def _summary(output: OutputSpec, before: list[OutputSpec]) -> Summary:
    """Return what an earlier output to the same place has summed up, and take that off the list; or nothing yet."""
    for at, each in enumerate(before):
        if each.summary is not None and (each.type, each.address) == (output.type, output.address):
            del before[at]
            return each.summary
    return Summary.create()


def _output(
    index: int,
    output: Output,
    config: Config,
    workers: int,
    before: list[OutputSpec],
    judged: list[tuple[str, Verdicts]],
    pace: Pace | None,
) -> OutputSpec:
    common: dict[str, Any] = {
        "type": output.type, "index": index, "policy": config.policy(output), "where": wanted(output),
        "sample": output.sample, "sample_from": output.sample_from, "sample_by": output.sample_by,
        "limit": None if output.limit is None else output.limit / workers, "over_limit": config.over_limit(output),
        "answers": isinstance(output, HttpOutput) and output.answers,
    }  # fmt: skip
    if isinstance(output, FileOutput):
        common |= {"path": output.path, "format": output.format, "compression": output.compression}
        common |= {"rotate_bytes": output.rotate_size, "rotate_every_s": output.rotate_every}
    elif isinstance(output, StdoutOutput):
        common |= {"format": output.format}
    elif isinstance(output, HttpOutput):
        common |= {"address": output.address, "http": _target(output, pace)}
    elif isinstance(output, TcpOutput):
        common |= {
            "address": output.address, "tag": output.tag, "compression": output.compression,
            "tls": _tls(output, output.end[0]) if output.tls else None, "login": login(index, output),
            "retry_s": output.retry, "ack_timeout_s": output.ack_timeout,
            "connect_timeout_s": output.connect_timeout, "write_timeout_s": output.write_timeout,
            "window_chunks": output.window_chunks, "chunk_bytes": output.chunk_bytes,
            "chunk_records": output.chunk_records, "flush_s": output.flush,
            "spool": None if output.spool is None else SpoolSpec(output.spool.path, output.spool.size // workers),
        }  # fmt: skip
    spec, place = OutputSpec(**common), f"output.{index}"
    steps = (
        *rules.steps(place, output.rewrite, (), judged),
        *transforms(config, output, spec.name),
        *rules.steps(place, (), output.mask, judged),
    )
    spec = replace(spec, transforms=steps, kept=_kept(spec, before))
    return replace(spec, verdicts=_verdicts(spec.where, before)) if spec.sifts else spec


def _spooled(worker: str, output: OutputSpec, number: int, workers: int) -> OutputSpec:
    """Return an output with a place of its own in its spool."""
    if output.spool is None:
        return output
    place = replace(output.spool, worker=worker.replace(" ", "-"), number=number, workers=workers)
    return replace(output, spool=place)


def _kept(output: OutputSpec, before: list[OutputSpec]) -> Kept | None:
    """Return what an earlier output to the same place has kept for its successor, and take that off the list."""
    if output.type != "tcp":
        return None
    for at, each in enumerate(before):
        same = (each.address, each.tag, _path(each)) == (output.address, output.tag, _path(output))
        if each.kept is not None and same:
            before[at] = replace(each, kept=None)
            return each.kept
    return Kept.create()


def _path(output: OutputSpec) -> str | None:
    return None if output.spool is None else output.spool.path


def wanted(output: Output) -> str | None:
    """Return the filter of an output: its `where`, and the methods that it may send."""
    if not isinstance(output, HttpOutput) or not output.methods:
        return output.where
    allowed = " or ".join(f"method == '{method}'" for method in output.methods)
    return f"({allowed})" if output.where is None else f"({output.where}) and ({allowed})"


def _target(output: HttpOutput, pace: Pace | None) -> HttpSpec:
    url = read_url(output.address)
    return HttpSpec(
        host=url.host, port=url.port, base=url.base, pace=pace or Pace.create(),
        tls=_tls(output, url.host) if url.tls else None,
        authority={"target": url.authority, "captured": None}.get(output.host, output.host),
        pooled=output.mode == "pool", connections=output.connections, multiply=output.multiply,
        copy_header=output.copy_header, copy_parameter=output.copy_parameter,
        connect_timeout_s=output.connect_timeout, timeout_s=output.timeout, longest_s=output.longest,
        idle_s=output.idle_timeout, retry_s=output.retry, retries=output.retries, queue_bytes=output.queue,
        redirects=output.redirects, target_cookies=output.cookies == "target",
        max_answer=output.max_answer,
    )  # fmt: skip


def _tls(output: TlsOutput, host: str) -> TlsSpec:
    return TlsSpec(
        server_name=output.server_name or host, verify=output.verify,
        ca=output.ca, certificate=output.certificate, key=output.key,
    )  # fmt: skip


def _verdicts(where: str | None, before: list[OutputSpec]) -> Verdicts:
    """Return what an earlier output of the same `where` knows of requests, and take that off the list; or nothing."""
    for at, each in enumerate(before):
        if each.where == where and each.verdicts is not None:
            del before[at]
            return each.verdicts
    return Verdicts.create()


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
        # Lanes of interfaces listen together, or not at all.
        again=_can_be_read_again(spec.paths) if spec.live is None else len(rings) == 1 and not spec.live.turns.pages,
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
