"""Whole runs for tests: captures made of exchanges, the command as users start it, what it left behind."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.packets import ACK, FIN, PSH, SYN, Tcp, frame

COMMAND = Path(sys.executable).parent / "pipeline"
LIMIT_S = 30.0
START_NS = 1_700_000_000_000_000_000


def exchange(number: int, port: int = 80, size: int = 0) -> list[tuple[int, bytes]]:
    """Make the frames of one connection: handshake, a request, its response of at least that size, the end of both."""
    up = Tcp(src=f"192.0.2.{number % 250 + 1}", sport=1024 + number % 60000, dst="198.51.100.1", dport=port)
    request = f"GET /item/{number} HTTP/1.1\r\nHost: shop\r\n\r\n".encode()
    body = f"item {number}".encode().ljust(size)
    response = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    q, r = 1001 + len(request), 5001 + len(response)
    segments = [
        change(up, seq=1000, flags=SYN),
        up.back(seq=5000, ack=1001, flags=SYN | ACK),
        change(up, seq=1001, ack=5001, flags=ACK | PSH, data=request),
        up.back(seq=5001, ack=q, flags=ACK | PSH, data=response),
        change(up, seq=q, ack=r, flags=ACK | FIN),
        up.back(seq=r, ack=q + 1, flags=ACK | FIN),
    ]
    start_ns = START_NS + number * 1_000_000
    return [(start_ns + at * 1000, frame(segment)) for at, segment in enumerate(segments)]


def change(segment: Tcp, **changes: object) -> Tcp:
    """Make a segment in the same direction, with these changes."""
    return segment.back().back(**changes)


def exchanges(count: int, port: int = 80, size: int = 0) -> list[tuple[int, bytes]]:
    """Make the frames of so many connections, one after the other."""
    return [each for number in range(count) for each in exchange(number, port, size)]


def configuration(path: Path, source: str, *outputs: str) -> Path:
    """Write a configuration; every string is the inside of its table."""
    tables = [f"[input]\n{source}\n", *(f"[[output]]\n{each}\n" for each in outputs)]
    path.write_text("\n".join(tables))
    return path


def reading(path: Path | str) -> str:
    """The input table that reads a capture."""
    return f'type = "pcap"\npath = "{path}"'


def writing(path: Path | str) -> str:
    """The output table that writes JSON Lines."""
    return f'type = "file"\npath = "{path}"'


def start(directory: Path, *arguments: str | Path, stdin: int = subprocess.DEVNULL) -> "subprocess.Popen[bytes]":
    """Start the command in an empty directory of its own, as the leader of a new group."""
    environment = os.environ | {"TMPDIR": str(directory), "NO_COLOR": "1"}
    return subprocess.Popen(
        [COMMAND, *map(str, arguments)], cwd=directory, env=environment, stdin=stdin,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip


def finished(job: "subprocess.Popen[bytes]", within_s: float = LIMIT_S) -> subprocess.CompletedProcess[str]:
    """Wait for the end and return exit code and output; a job that does not end is killed: a failure."""
    try:
        out, err = job.communicate(timeout=within_s)
    except subprocess.TimeoutExpired:
        os.killpg(job.pid, signal.SIGKILL)
        job.communicate()
        raise
    return subprocess.CompletedProcess(job.args, job.returncode, out.decode(), err.decode())


def pipeline(directory: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return finished(start(directory, *arguments))


def errors(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Return what was said as errors."""
    return [
        line.removeprefix("pipeline: error: ")
        for line in done.stderr.splitlines()
        if line.startswith("pipeline: error")
    ]


def messages(path: Path) -> list[dict[str, object]]:
    """Read JSON Lines; the last line may still be on its way."""
    if not path.exists():
        return []
    text = path.read_text()
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def wait_until(condition: object, what: str) -> None:
    """Wait until a condition holds, or fail after the limit."""
    assert callable(condition)
    deadline_s = time.monotonic() + LIMIT_S
    nothing = select.poll()
    while not condition():
        assert time.monotonic() < deadline_s, f"{what}: not within {LIMIT_S} s"
        nothing.poll(10)


def processes_under(pid: int) -> list[int]:
    """Return the numbers of all processes started by this one, also by way of others."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found = [pid]
    for each in found:
        found += [child for child, parent in parents.items() if parent == each]
    return found[1:]


@contextmanager
def watching(pids: Sequence[int]) -> Iterator[list[int]]:
    """Hold on to processes by descriptor; yields a list that `all_gone` takes."""
    held = [os.pidfd_open(pid) for pid in pids]
    try:
        yield held
    finally:
        for fd in held:
            os.close(fd)


def all_gone(held: Sequence[int], within_s: float = 10.0) -> bool:
    """Wait for the end of every watched process."""
    deadline_s = time.monotonic() + within_s
    return all(select.select([fd], [], [], max(0.0, deadline_s - time.monotonic()))[0] for fd in held)
