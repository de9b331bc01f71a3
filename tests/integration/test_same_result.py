"""One traffic, one result: from files, over TCP, from the library; with any number of lanes and
workers, any ring, any batch.

Real captures are run together, as many as share no connection, merged by time: each group is one run.
"""

import base64
import json
from collections.abc import Iterable
from pathlib import Path

import pytest

import assemble
from tests.integration.jobs import configuration, messages, pipeline, reading, wait_until, writing
from tests.integration.test_mirror import Receiver

CAPTURES = Path(__file__).parents[3] / "shared" / "captures"
pytestmark = pytest.mark.skipif(not CAPTURES.is_dir(), reason="the shared captures are not on this machine")

VARIANTS = {
    "as-it-comes": (),
    "two-workers-small-rings": (
        "workers.count=2", "ring.frames='1MiB'", "ring.batch_bytes='4KiB'", "ring.messages='64KiB'",
        "ring.batch_frames=1",
    ),
    "four-workers-odd-batches": ("workers.count=4", "ring.batch_frames=7", "ring.batch_bytes='16KiB'"),
    "two-lanes-two-workers": ("input.lanes=2", "workers.count=2"),
    "three-lanes-odd-batches": ("input.lanes=3", "ring.batch_frames=7", "ring.batch_bytes='16KiB'"),
    "five-lanes": ("input.lanes=5",),
}  # fmt: skip


def library(paths: Iterable[Path], ports: Iterable[int]) -> list[assemble.Message]:
    """Give the library's messages of captures merged by time."""
    return list(assemble.messages([str(path) for path in paths], ports=ports))


def connections(path: Path) -> set[frozenset[tuple[str, int]]]:
    """Return the connections that have messages in a capture."""
    return {frozenset({(str(m.src), m.sport), (str(m.dst), m.dport)}) for m in library([path], ())}


@pytest.fixture(scope="module")
def groups() -> list[tuple[list[Path], list[int]]]:
    """Captures that can be read together, and the ports of their servers."""
    expected = json.loads((CAPTURES / "expected.json").read_text())
    found: list[tuple[list[Path], set[int], set[frozenset[tuple[str, int]]]]] = []
    for entry in expected:
        path = CAPTURES / entry["file"]
        here = connections(path)
        for files, ports, taken in found:
            if not here & taken:
                files.append(path)
                ports |= set(entry["ports"])
                taken |= here
                break
        else:
            found.append(([path], set(entry["ports"]), here))
    assert sum(len(files) for files, _, _ in found) == len(expected)
    return [(files, sorted(ports)) for files, ports, _ in found]


def as_line(m: assemble.Message, seconds: bool = True) -> str:
    """Give a message as its JSON line says it; over TCP the duration is cut to microseconds (WIRE.md)."""
    duration_ns = m.last_ns - m.first_ns if seconds else (m.last_ns - m.first_ns) // 1000 * 1000
    line = {"id": m.id_hex, "kind": m.kind, "ts": f"{m.first_ns // 10**9}.{m.first_ns % 10**9:09d}",
            "duration": f"{duration_ns // 10**9}.{duration_ns % 10**9:09d}", "src": str(m.src), "sport": m.sport,
            "dst": str(m.dst), "dport": m.dport}  # fmt: skip
    line |= {"method": m.method, "target": m.target} if m.kind == "request" else {"status": m.status}
    line |= {"complete": m.complete, "missing": m.missing, "payload": base64.b64encode(m.payload).decode()}
    return json.dumps(line)


def lines_of(path: Path) -> list[str]:
    """Return the lines of a result in an order of their own, numbers with all their digits."""
    text = path.read_text().splitlines()
    keep = {"ts": str, "duration": str}
    loaded = [json.loads(line, parse_float=str) for line in text]
    return sorted(json.dumps({k: keep.get(k, lambda v: v)(v) for k, v in line.items()}) for line in loaded)


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_a_run_into_a_file_gives_the_messages_of_the_library(tmp_path, groups, changes):
    """The processes are a shell around the library: what it shows in a notebook is what is mirrored."""
    for number, (files, ports) in enumerate(groups):
        done = run(tmp_path, number, files, ports, writing(f"{number}.jsonl"), changes)
        assert done.returncode == 0, done.stderr
        assert lines_of(tmp_path / f"{number}.jsonl") == sorted(map(as_line, library(files, ports)))


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_a_run_over_tcp_gives_the_messages_of_the_library(tmp_path, groups, compression):
    """What arrives on the other machine is what was on the wire, byte for byte."""
    far_directory = tmp_path / "far"
    far_directory.mkdir()
    far = Receiver(far_directory)
    expected: list[str] = []
    for number, (files, ports) in enumerate(groups):
        output = f'type = "tcp"\naddress = "{far.address}"\ncompression = "{compression}"'
        done = run(tmp_path, number, files, ports, output, ("workers.count=2",))
        assert done.returncode == 0, done.stderr
        expected += [as_line(m, seconds=False) for m in library(files, ports)]
    wait_until(lambda: len(messages(far.path)) == len(expected), "everything arrives")
    assert far.stop() == 0, far.said
    assert lines_of(far.path) == sorted(expected)


def run(directory: Path, number: int, files: list[Path], ports: list[int], output: str, changes: tuple[str, ...]):
    """Run one group and return how it ended."""
    source = reading("x").replace('path = "x"', f"path = {[str(path) for path in files]}")
    path = configuration(directory / f"{number}.toml", f"{source}\nports = {ports}", output)
    return pipeline(directory, "run", "--config", path, *(x for each in changes for x in ("--set", each)))
