"""From the outputs of a configuration to what a worker is given of each.

In: a `Config`, and what the workers before were given.  Out: `OutputSpec`s, without the rings.  Invariant: what an
output knows and keeps goes on with the next one to the same place.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from emit.kept import Kept
from emit.notes import Note, Notes
from emit.pace import Pace
from emit.records import (
    ALL,
    OUTCOMES,
    HttpSpec,
    OutputSpec,
    Sifting,
    TlsSpec,
    WorkerSpec,
)
from emit.spool import SpoolSpec
from emit.summary import Summary
from emit.verdicts import Verdicts
from pipeline import rules
from pipeline.config import Config
from pipeline.credentials import login
from pipeline.outputs import FileOutput, HttpOutput, Output, StdoutOutput, TcpOutput, TlsOutput, replays
from pipeline.steps import transforms
from pipeline.values import read_url


def labels(config: Config) -> tuple[str, ...]:
    """Name the outputs the way people know them."""
    return tuple(label(output) for output in config.output)


def label(output: Output) -> str:
    """Name an output the way people know it."""
    if isinstance(output, TcpOutput | HttpOutput):
        return f"{output.type} {output.address}"
    return f"file {output.path}" if isinstance(output, FileOutput) else output.type


def outputs(
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
            "payload": output.payload,
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


def spooled(worker: str, output: OutputSpec, number: int, workers: int) -> OutputSpec:
    """Return an output with a place of its own in its spool."""
    if output.spool is None:
        return output
    place = replace(output.spool, worker=worker.replace(" ", "-"), number=number, workers=workers)
    return replace(output, spool=place)


def _summary(output: OutputSpec, before: list[OutputSpec]) -> Summary:
    """Return what an earlier output to the same place has summed up, and take that off the list; or nothing yet."""
    for at, each in enumerate(before):
        if each.summary is not None and (each.type, each.address) == (output.type, output.address):
            del before[at]
            return each.summary
    return Summary.create()


def _verdicts(where: str | None, before: list[OutputSpec]) -> Verdicts:
    """Return what an earlier output of the same `where` knows of requests, and take that off the list; or nothing."""
    for at, each in enumerate(before):
        if each.where == where and each.verdicts is not None:
            del before[at]
            return each.verdicts
    return Verdicts.create()


def _kept(output: OutputSpec, before: list[OutputSpec]) -> Kept | None:
    """Return what an earlier output to the same place has kept for its successor, and take that off the list.

    Nothing if its payloads have another form: of a message in parts the rest would have it, too.
    """
    if output.type != "tcp":
        return None
    for at, each in enumerate(before):
        if each.kept is not None and _place(each) == _place(output):
            before[at] = replace(each, kept=None)
            return each.kept
    return Kept.create()


def _place(output: OutputSpec) -> tuple[str | None, ...]:
    """Return what chunks that are kept are bound to."""
    return output.address, output.tag, output.payload, None if output.spool is None else output.spool.path


def paces(config: Config, before: Iterable[WorkerSpec]) -> list[Pace | None]:
    """Return the schedule that all workers share, of each output that has one; one that goes on keeps it."""
    known = [(each.address, each.http.pace) for spec in before for each in spec.outputs if each.http is not None]
    return [_pace(output, known) if isinstance(output, HttpOutput) else None for output in config.output]


def _pace(output: HttpOutput, known: Sequence[tuple[str | None, Pace]]) -> Pace:
    for address, pace in known:
        if address == output.address and (pace.speed, pace.rate, pace.ramp_s) == output.pace:
            return pace
    return Pace.create(*output.pace)


def asked(config: Config, before: WorkerSpec | None) -> dict[Sifting, Verdicts]:
    """Return where it is noted what those who take answers will want to know of requests."""
    known = {} if before is None else dict(before.asked)
    takers = [output for output in config.output if not replays(output)]
    wanted = [Sifting(each.where, each.sample, each.sample_from, each.sample_by) for each in takers]
    return {each: known.get(each) or Verdicts.create() for each in wanted if each != ALL}


def notes(config: Config, workers: int, before: Iterable[WorkerSpec]) -> dict[int, tuple[Note, ...]]:
    """Return the notes of all workers at each output that is a file, by the output's number.

    Where there was an output to the same files, they are its notes, and nothing that is there is written again.
    """
    known = {id(each.notes.all): each for spec in before for each in spec.outputs if each.notes is not None}
    found = {}
    for at, output in enumerate(config.output):
        if not isinstance(output, FileOutput) or output.format == "har":  # its requests wait, and are not in order
            continue
        place = (output.path, output.format, output.compression, output.rotate_size, output.rotate_every)
        same = [number for number, each in known.items() if _files(each) == place]
        notes = known.pop(same[0]).notes if same else None
        whole = notes is not None and len(notes.all) == workers
        found[at] = notes.all if notes and whole else tuple(Note.create(OUTCOMES) for _worker in range(workers))
    return found


def _files(output: OutputSpec) -> tuple[object, ...]:
    return (output.path, output.format, output.compression, output.rotate_bytes, output.rotate_every_s)


def noting(outputs: tuple[OutputSpec, ...], notes: dict[int, tuple[Note, ...]], own: int) -> tuple[OutputSpec, ...]:
    """Return outputs with the notes that they share, of which one is their worker's own."""
    return tuple(
        replace(each, notes=Notes(notes[each.index], own)) if each.index in notes else each for each in outputs
    )
