"""What is wrong between the keys of a configuration, each of which is right by itself.

In: a `Config`.  Out: nothing, or a `CombinationError`, which names a key and says what to write.
"""

from pathlib import Path
from typing import Final

from emit.records import WHOLE_SAMPLE
from emit.rotation import Names
from pipeline.access import check_access
from pipeline.config import Config
from pipeline.inputs import LONGEST_SNAP, FileInput, PcapInput, TcpInput
from pipeline.outputs import FileOutput, HttpOutput, StdoutOutput, TcpOutput, replays
from pipeline.rules import check_rules
from pipeline.table import CombinationError
from pipeline.values import read_address

LARGEST_FRAME: Final = LONGEST_SNAP + 64  # and the frame's entry in the ring


def check_combinations(config: Config) -> None:
    """Raise `CombinationError` for what is wrong between keys, each of which is right by itself."""
    if not config.output:
        raise CombinationError("output", [], 'nothing would come out: add [[output]] with type = "file", "tcp", …')
    if isinstance(config.input, TcpInput | FileInput):
        _check_no_frames(config, config.input)
    else:
        _check_frame_ring(config)
    _check_writers(config)
    _check_spools(config)
    _check_formats(config)
    _check_replay(config)
    check_access(config)
    _check_answers(config)
    for at, output in enumerate(config.output):
        check_rules(f"output.{at}", output.rewrite, output.mask)
    _check_sifting(config)


def _check_spools(config: Config) -> None:
    seen: dict[Path, int] = {}
    for at, output in enumerate(config.output):
        if isinstance(output, TcpOutput) and output.spool is not None:
            path = Path(output.spool.path).resolve()
            if path in seen:
                advice = f"output.{seen[path]}.spool.path is the same: give each its own"
                raise CombinationError(f"output.{at}.spool.path", output.spool.path, advice)
            seen[path] = at


def _check_replay(config: Config) -> None:
    for at, output in enumerate(config.output):
        if not isinstance(output, HttpOutput):
            continue
        if output.rate is not None and "speed" in output.model_fields_set:
            raise CombinationError(f"output.{at}.rate", output.rate, "speed is given too: write one of them")
        if output.ramp and output.rate is None and output.speed == "max":
            raise CombinationError(f"output.{at}.ramp", output.ramp, "it needs a speed that is a number, or a rate")
        for name in ("copy_header", "copy_parameter"):
            if name in output.model_fields_set and output.multiply == 1:
                raise CombinationError(f"output.{at}.{name}", getattr(output, name), "it needs multiply")


def _check_answers(config: Config) -> None:
    """Answers that are asked for go somewhere."""
    if config.wants_answers and all(replays(output) for output in config.output):
        at = next(at for at, output in enumerate(config.output) if getattr(output, "answers", False))
        advice = "no other output is there to take them: add one, or leave this out"
        raise CombinationError(f"output.{at}.answers", True, advice)


def _check_sifting(config: Config) -> None:
    """No key says how, where another that says what is missing."""
    for at, output in enumerate(config.output):
        for how, what in (("sample_by", "sample"), ("sample_from", "sample"), ("over_limit", "limit")):
            if how in output.model_fields_set and what not in output.model_fields_set:
                advice = f"it says how, not how many: add {what}, or leave it out"
                raise CombinationError(f"output.{at}.{how}", getattr(output, how), advice)
        if round(output.sample_from + output.sample, 9) > WHOLE_SAMPLE:
            advice = f"with a sample of {output.sample:g}% it ends beyond 100%: write less"
            raise CombinationError(f"output.{at}.sample_from", output.sample_from, advice)


def _check_formats(config: Config) -> None:
    for at, output in enumerate(config.output):
        if not isinstance(output, FileOutput):
            continue
        if output.format != "recording" and output.compression != "none":
            advice = 'only recordings are compressed: leave this key out, or write format = "recording"'
            raise CombinationError(f"output.{at}.compression", output.compression, advice)
        if output.rotate_every is not None:
            _check_rotation(at, output.path, output.rotate_every)


def _check_rotation(at: int, path: str, every_s: float) -> None:
    """A name is for one stretch of time only."""
    finest_s = Names(path).finest_s
    if not finest_s:
        advice = 'the path would always be the same: write one like "%Y-%m-%dT%H%M.rec"'
        raise CombinationError(f"output.{at}.rotate_every", every_s, advice)
    if every_s % finest_s:
        advice = f"the path does not tell them apart: write a multiple of {finest_s} s, or a path with finer directives"
        raise CombinationError(f"output.{at}.rotate_every", every_s, advice)


def _check_no_frames(config: Config, source: TcpInput | FileInput) -> None:
    if "assemble" in config.model_fields_set:
        advice = f'a "{source.type}" input brings whole messages: leave this table out'
        raise CombinationError("assemble", None, advice)
    if isinstance(source, TcpInput):
        _check_addresses(config, source)


def _check_addresses(config: Config, source: TcpInput) -> None:
    for at, output in enumerate(config.output):
        if isinstance(output, TcpOutput) and read_address(output.address) == read_address(source.listen):
            advice = "this is the address that the input listens on: write the address of another receiver"
            raise CombinationError(f"output.{at}.address", output.address, advice)


def _check_frame_ring(config: Config) -> None:
    ring = config.ring
    needed = 2 * (ring.batch_bytes + 24 * ring.batch_frames + LARGEST_FRAME)
    if ring.frames < needed:
        advice = f"two batches do not fit: write at least {needed}, or smaller batch_frames or batch_bytes"
        raise CombinationError("ring.frames", ring.frames, advice)


def _check_writers(config: Config) -> None:
    """No file has two writers, or a reader and a writer, in one run."""
    taken: dict[Path | str, str] = {}
    if isinstance(config.input, PcapInput | FileInput):
        taken |= {Path(path).resolve(): "input.path" for path in config.input.path if path != "-"}
    for at, output in enumerate(config.output):
        where: Path | str = "standard output"
        if isinstance(output, FileOutput):
            where = Path(output.path).resolve()
        elif not isinstance(output, StdoutOutput):
            continue
        key = f"output.{at}.path" if isinstance(output, FileOutput) else f"output.{at}.type"
        value = output.path if isinstance(output, FileOutput) else output.type
        if where in taken:
            raise CombinationError(key, value, f"{taken[where]} is the same: write another file")
        taken[where] = key
