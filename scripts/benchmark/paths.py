"""The paths that are compared with tcpdump: how each is run over a file, and how it is held against the note.

In: a path's name, a file and its note.  Out: a `Run`.  Invariant: a run in which a message is missing, or the
ledger does not close, ends the benchmark.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from scripts.benchmark.processes import PIPELINE, Run, background, run

FOLDER: Final = Path("build/bench")
WRITTEN: Final = FOLDER / "messages"
COUNTED: Final = FOLDER / "sink.json"
LEDGER: Final = FOLDER / "ledger.json"
Note = dict[str, int]


@dataclass(frozen=True)
class Way:
    """One way through the pipeline: its target in multiples of tcpdump's time, and its output's table."""

    target: float
    output: str
    far: str = ""  # what is at the other end: "receive" or "sink"


PATHS: Final = {
    "null": Way(1.6, 'type = "null"'),
    "tcp": Way(3.5, 'type = "tcp"\naddress = "{address}"', "receive"),
    "sink": Way(2.6, 'type = "tcp"\naddress = "{address}"', "sink"),
    "jsonl": Way(5.0, 'type = "file"\npath = "{file}"\nformat = "jsonl"'),
    "library": Way(1.8, ""),
}
"""A new format of the file output is one line more: "recording": Way(2.5, 'type = "file" ... format = "..."')."""


def arguments(source: str, port: int, output: str, settings: Sequence[str] = ()) -> list[str]:
    """Write a configuration and return the command that runs it."""
    config = FOLDER / "bench.toml"
    config.write_text(f'[input]\ntype = "pcap"\npath = "{source}"\nports = [{port}]\n[[output]]\n{output}\n')
    changes = [part for each in settings for part in ("--set", each)]
    return [PIPELINE, "run", "--quiet", "--config", str(config), "--ledger", str(LEDGER), *changes]


@contextmanager
def far_end(kind: str, keep: bool = False) -> Iterator[tuple[list[int], str]]:
    """Run what receives, for the length of a block; give its process and its address."""
    if not kind:
        yield [], ""
        return
    command = {
        "receive": [PIPELINE, "receive", "--listen", "127.0.0.1:0", "--to", "null"],
        "sink": [sys.executable, "-m", "scripts.benchmark.sink", str(COUNTED), *(["--keep"] if keep else [])],
    }
    with background(command[kind], FOLDER / "far.log", "listening on ") as (pid, address):
        yield [pid], address


def run_tcpdump(file: Path) -> Run:
    """Run what everything is measured against."""
    return run(["tcpdump", "-r", str(file), "-w", "/dev/null"])


def run_path(name: str, file: Path, note: Note, settings: Sequence[str] = (), watch: bool = False) -> Run:
    """Run one path over one capture and check that everything went through."""
    if name == "tcpdump":
        return run_tcpdump(file)
    if name == "library":
        counted = FOLDER / "library.txt"
        with counted.open("w") as stdout:
            result = run(
                [sys.executable, "-m", "scripts.benchmark.library", str(file), str(note["port"])],
                watch=watch, stdout=stdout,
            )  # fmt: skip
        check_count("the library", int(counted.read_text()), note)
        return result
    path = PATHS[name]
    WRITTEN.unlink(missing_ok=True)
    LEDGER.unlink(missing_ok=True)
    with ExitStack() as stack:
        pids, address = stack.enter_context(far_end(path.far))
        output = path.output.format(address=address, file=WRITTEN)
        result = run(arguments(str(file), note["port"], output, settings), watch=watch, beside=pids)
    assembled = check_ledger(json.loads(LEDGER.read_text()), note)
    if path.far == "sink" and json.loads(COUNTED.read_text())["messages"] != assembled:
        raise SystemExit(f"bench: the sink has other than {assembled} messages: {COUNTED.read_text()}")
    if name == "jsonl":
        check_lines(assembled)
    WRITTEN.unlink(missing_ok=True)
    return result


def check_ledger(ledger: dict[str, Any], note: Note) -> int:
    """Hold the ledger against the note; return how many messages there were."""
    assembled = int(next(e for e in ledger["equations"] if e["name"] == "messages")["left"])
    check_count("the pipeline", assembled, note)
    incomplete = note["messages"] - note.get("complete", note["messages"])
    if not ledger["closed"] or (ledger["loss"] and not incomplete):
        raise SystemExit(f"bench: the ledger does not close, or something is lost: {ledger['loss']}")
    return assembled


def check_count(what: str, messages: int, note: Note) -> None:
    """Hold a count against the note.

    A recording may have more than nginx served: a request that its connection's end caught on the way, at most one
    per connection and burst.
    """
    if not note["messages"] <= messages <= note["messages"] + note.get("may_exceed", 0):
        raise SystemExit(f"bench: {what} found {messages} messages of {note['messages']}")


def check_lines(assembled: int) -> None:
    """Count the lines that were written."""
    with WRITTEN.open("rb") as written:
        lines = sum(block.count(b"\n") for block in iter(lambda: written.read(1 << 20), b""))
    if lines != assembled:
        raise SystemExit(f"bench: {lines} lines for {assembled} messages")
