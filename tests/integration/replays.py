"""Replays for tests: what has to arrive, worked out without the code that sends it; the runs; what they counted.

In: captures with their expected messages, generated conversations, messages.  Out: bytes by captured connection.
"""

import hashlib
import itertools
import json
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from assemble.message import Message
from emit.recording import Writer
from tests.emit.builders import records_of, request
from tests.generator.cases import Case, make_case
from tests.generator.spoken import CLIENT
from tests.generator.truth import seen_of
from tests.integration.jobs import START_NS, configuration, errors, finished, reading, start
from tests.targets import Arrival, Target, is_within

CAPTURES: Final = Path(__file__).resolve().parents[2].parent / "shared" / "captures"
REASONS: Final = ("unreachable", "timeout", "reset", "garbage", "incomplete", "left")
MILLISECOND: Final = 1_000_000


def entries() -> list[dict[str, Any]]:
    """Return the entries of expected.json that have requests; none if the captures are not there."""
    path = CAPTURES / "expected.json"
    known = json.loads(path.read_text()) if path.exists() else []
    return [entry for entry in known if digests(entry)]


def digests(entry: dict[str, Any]) -> list[list[str]]:
    """Return SHA-256 of the requests that have to arrive, by captured connection and in order."""
    found: dict[Any, list[str]] = defaultdict(list)
    for each in entry["messages"]:
        if each["kind"] == "request" and each["tier"] == "must":
            found[each["src"], each["sport"], each["dst"], each["dport"]].append(each["sha256"])
    return list(found.values())


def spoken(case: Case) -> list[list[bytes]]:
    """Return the requests that were said, as they were captured first, by connection and in order; whole ones only."""
    found: dict[int, list[bytes]] = defaultdict(list)
    for number, line in enumerate(case.lines):
        seen = seen_of(number, line, case.frames)[CLIENT]
        for each in line.talk.spoken:
            if each.side is CLIENT and not each.cut and not each.refused:
                found[number].append(bytes(seen.content[each.start : each.end]))
    return list(found.values())


def generated(first: int, count: int) -> list[Case]:
    """Return so many cases of which it is clear what was said: a false reset may look true."""
    cases = (make_case("whole", seed) for seed in itertools.count(first))
    clear = (each for each in cases if not any(line.how.false_reset for line in each.lines))
    return list(itertools.islice(clear, count))


def readdressed(payload: bytes, authority: bytes) -> bytes:
    """Return a request whose Host headers, and authority of an absolute target, are exchanged: what is to arrive."""
    head_size = re.search(rb"\n\r?\n", payload).end()  # type: ignore[union-attr]
    first, *rest = re.findall(rb"[^\n]*\n", payload[:head_size])
    out = [re.sub(rb"^(\S+ \w+://)[^/? ]*", rb"\g<1>" + authority, first)]
    within = False  # a Host header: folded lines of its value go with it
    for line in rest:
        if within and line[:1] in {b" ", b"\t"}:
            continue
        name, colon, value = line.partition(b":")
        within = name.lower() == b"host"
        text = value.strip()
        if within:
            value = value.replace(text, authority, 1) if text else b" " + authority + value.lstrip(b" \t")
        out.append(name + colon + value)
    return b"".join(out) + payload[head_size:]


def digest(payload: bytes) -> str:
    """Return what stands for a request."""
    return hashlib.sha256(payload).hexdigest()


def arrived(target: Target) -> list[list[str]]:
    """Return what stands for the requests of each of a target's connections."""
    return [[each.digest for each in line] for line in target.by_connection()]


def in_order(wanted: Iterable[Sequence[object]], log: Sequence[object]) -> bool:
    """Tell whether each connection's requests are in a log of all, in their order."""
    return all(is_within(each, log) for each in wanted)


def asked(connections: int, each: int, *, step_ns: int = MILLISECOND, **changes: Any) -> list[Message]:
    """Make requests with targets of their own, from connections in turn, a step of time apart."""
    return [
        request(
            number, target=f"/{number % connections}/{number // connections}", sport=40_000 + number % connections,
            first_ns=START_NS + number * step_ns, last_ns=START_NS + number * step_ns, **changes,
        )
        for number in range(connections * each)
    ]  # fmt: skip


def record(path: Path, messages: Iterable[Message]) -> Path:
    """Write a recording anew."""
    path.unlink(missing_ok=True)
    with Writer(str(path)) as writer:
        for each in messages:
            (whole,) = records_of(each, len(each.payload) + 24)
            writer.write(whole)
    return path


def recorded(path: Path | str) -> str:
    """The input table that reads a recording."""
    return f'type = "file"\npath = "{path}"'


def sending(url: str, **keys: Any) -> str:
    """The output table that replays."""
    return "\n".join([f'type = "http"\naddress = "{url}"', *(f"{key} = {json.dumps(keys[key])}" for key in keys)])


@dataclass(frozen=True)
class Replay:
    """A run that has ended."""

    done: "subprocess.CompletedProcess[str]"
    ledger: dict[str, Any]
    outputs: int  # of them, those that replay come first

    def count(self, name: str, output: int = 0) -> int:
        """Return one counter of an output, of all workers."""
        return sum(worker.get(f"output{output}_{name}", 0) for worker in self.ledger["counters"]["workers"])

    def failures(self, output: int = 0) -> dict[str, int]:
        """Why requests were not delivered, without reasons that did not occur."""
        found = {reason: self.count(f"failed_{reason}", output) for reason in REASONS}
        return {reason: count for reason, count in found.items() if count}

    def audit(self) -> "Replay":
        """Hold the books against each other: they close, and every request that failed has one reason."""
        assert self.ledger["closed"], self.done.stderr
        for output in range(self.outputs):
            assert sum(self.failures(output).values()) == self.count("undelivered", output), self.done.stderr
        return self


def begin(directory: Path, source: str, *outputs: str) -> "subprocess.Popen[bytes]":
    """Start a run."""
    config = configuration(directory / "replay.toml", source, *outputs)
    return start(directory, "run", "--config", config, "--ledger", "ledger.json")


def ended(directory: Path, job: "subprocess.Popen[bytes]", outputs: int = 1) -> Replay:
    """Wait for the end of a run, and audit so many outputs of it."""
    done = finished(job)
    assert (directory / "ledger.json").exists(), done.stderr
    return Replay(done, json.loads((directory / "ledger.json").read_text()), outputs).audit()


def replay(directory: Path, source: str, *outputs: str, code: int = 0) -> Replay:
    """Run to the end, and audit; the exit code is as expected."""
    written = sum('type = "http"' in each for each in outputs)
    found = ended(directory, begin(directory, source, *outputs), written)
    assert found.done.returncode == code, found.done.stderr
    assert "Traceback" not in found.done.stderr
    assert bool(errors(found.done)) == (code != 0)
    return found


def captured(entry: dict[str, Any]) -> str:
    """The input table that reads a capture of expected.json."""
    return reading(CAPTURES / entry["file"]) + f"\nports = {entry['ports']}"


def targets(arrivals: Sequence[Arrival]) -> list[str]:
    """Return the targets of what arrived."""
    return [each.target.decode() for each in arrivals]
