"""`pipeline convert`: files of messages, or captures, to another format, by a run like any other.

In: paths and what is wanted of them.  Out: the exit code; at the end, two lines about what was read and written.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from capture.errors import ConfigError
from capture.sources import expand
from emit.formats import BY_ENDING, by_ending
from pipeline.inspection import hold_messages
from pipeline.ledger import Ledger
from pipeline.run import Telling, run
from pipeline.settings import build
from pipeline.terminal import Terminal

STANDARD: Final = "-"
STANDARD_OUTPUT: Final = "/dev/stdout"
CAPTURE: Final = "pcap"
NO_PLACE: Final = {
    "gor": "addresses and ports are not in it",
    "har": "bodies in chunks are one piece, unusual white space and line ends the usual ones",
}
"""What a format cannot hold of messages that it does hold."""


@dataclass(frozen=True)
class Wish:
    """What is wanted of the files."""

    format: str | None = None  # of what is written; None: by its name
    origin: str | None = None  # of what is read; None: by its content
    compression: str | None = None
    start: str | None = None
    end: str | None = None
    where: str | None = None
    ports: Sequence[int] = ()
    overrides: Sequence[str] = ()
    strict: bool = False


def convert(files: Sequence[str], wish: Wish, terminal: Terminal) -> int:
    """Read all files but the last, which is written; return the exit code."""
    if len(files) < 2:
        raise ConfigError("write at least two files: those to read, and last the one to write")
    *sources, target = files
    kind = wish.format or ("jsonl" if target == STANDARD else by_ending(target))
    if kind is None:
        raise ConfigError(f"{target}: write --format, or a name that ends with {', '.join(BY_ENDING)}")
    paths = expand(sources)
    if any(same(path, target) for path in paths):
        raise ConfigError(f"{target}: is one of the files that are read; write another name")
    tables = {"input": _input(paths, wish), "output": [_output(target, kind, wish)]}
    job = build(tables, "convert", wish.overrides)

    def say(ledger: Ledger) -> Iterator[str]:
        yield _read(ledger, paths)
        yield _written(ledger, target, kind)

    return run(job, Telling(terminal, strict=wish.strict, say=say))


def same(path: str, other: str) -> bool:
    """Whether two names are of one file."""
    try:
        return STANDARD not in (path, other) and os.path.samefile(path, other)
    except OSError:
        return False


def _input(paths: Sequence[str], wish: Wish) -> dict[str, Any]:
    moments = {key: value for key, value in (("start", wish.start), ("end", wish.end)) if value is not None}
    frames = wish.origin == CAPTURE or (wish.origin is None and hold_messages(paths) is False)
    if frames and moments:
        raise ConfigError(f"--{next(iter(moments))}: captures are read as a whole; convert to a recording first")
    if frames:
        return {"type": "pcap", "path": list(paths), "ports": list(wish.ports)}
    if wish.ports:
        raise ConfigError("--port: is about captures; write --where 'dport == …' for files of messages")
    return {"type": "file", "path": list(paths), "format": wish.origin or "auto"} | moments


def _output(target: str, kind: str, wish: Wish) -> dict[str, Any]:
    if target == STANDARD and kind == "jsonl":
        output: dict[str, Any] = {"type": "stdout"}
    else:
        output = {"type": "file", "path": STANDARD_OUTPUT if target == STANDARD else target, "format": kind}
    if wish.compression is not None:
        output["compression"] = wish.compression
    return output if wish.where is None else output | {"where": wish.where}


def _read(ledger: Ledger, paths: Sequence[str]) -> str:
    _verb, source = ledger.tally.source
    named = "standard input" if paths == (STANDARD,) else ", ".join(paths[:3]) + (", …" if len(paths) > 3 else "")
    lost = [f"{count:,} {words}" for words, count in ledger.losses.items() if " at output " not in words]
    return "; ".join([f"read {(source or {}).get('messages', 0):,} messages from {named}", *lost])


def _written(ledger: Ledger, target: str, kind: str) -> str:
    tally = ledger.tally
    name = "standard output" if target == STANDARD else target
    parts = [f"wrote {tally.worker('output0_delivered'):,} messages to {name}"]
    filtered, undelivered = (tally.worker(f"output0_{each}") for each in ("filtered", "undelivered"))
    if filtered:
        parts.append(f"{filtered:,} were not wanted")
    if undelivered:
        parts.append(f"{undelivered:,} could not be written")
    altered = tally.worker("output0_altered")
    if kind == "gor":
        parts.append(NO_PLACE[kind] + (f", nor that {altered:,} messages are not complete" if altered else ""))
    elif altered:
        parts.append(f"{altered:,} changed: {NO_PLACE[kind]}")
    return "; ".join(parts)
