"""Runs commands and says what they used: wall time, CPU time of each process, memory.

In: a command.  Out: a `Run`.  Invariant: a command that fails ends the benchmark, with what it said.
"""

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

PIPELINE: Final = str(Path(sys.executable).with_name("pipeline"))
HOOK: Final = Path(__file__).with_name("hook")
TICK_S: Final = 0.05
END_S: Final = 30


@dataclass
class Run:
    """What one run used; memory only where it was watched."""

    wall_s: float = 0.0
    cpu_s: dict[str, float] = field(default_factory=dict)  # by process name
    peak_kib: dict[str, int] = field(default_factory=dict)  # private memory, by process name
    peak_sum_kib: int = 0  # of all at the same moment
    rings_kib: int = 0

    @property
    def total_cpu_s(self) -> float:
        """Return the CPU time of all processes."""
        return sum(self.cpu_s.values())

    def cpu_of(self, stage: str) -> float:
        """Return the CPU time of a stage: of all processes whose name begins so."""
        return sum(cpu_s for name, cpu_s in self.cpu_s.items() if name.startswith(stage))


class MemoryWatch(threading.Thread):
    """Samples the memory of processes and all their descendants until told to stop.

    RssAnon is what a process has for itself.  The rings are RssShmem, seen once by each process that maps them.
    """

    def __init__(self, pids: Sequence[int], run: Run) -> None:
        super().__init__(daemon=True)
        self.pids, self.result = pids, run
        self.ended = threading.Event()

    def run(self) -> None:
        """Sample until told that the processes have ended."""
        while not self.ended.wait(TICK_S):
            self.sample()

    def sample(self) -> None:
        """Look at all of them once."""
        anonymous: dict[str, int] = defaultdict(int)
        for pid in with_descendants(self.pids):
            fields = read_status(pid)
            name = fields.get("Name", "")
            anonymous[name] += _kib(fields, "RssAnon")
            self.result.rings_kib = max(self.result.rings_kib, _kib(fields, "RssShmem"))
        for name, kib in anonymous.items():
            self.result.peak_kib[name] = max(self.result.peak_kib.get(name, 0), kib)
        self.result.peak_sum_kib = max(self.result.peak_sum_kib, sum(anonymous.values()))


def read_status(pid: int) -> dict[str, str]:
    """Return /proc/PID/status by name; nothing if the process is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return {}
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _kib(fields: dict[str, str], name: str) -> int:
    return int(fields.get(name, "0 kB").split()[0])


def descendants(pid: int) -> list[int]:
    """Return the numbers of all processes below one."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(x) for x in task.read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue
        for child in children:
            found += [child, *descendants(child)]
    return found


def with_descendants(pids: Sequence[int]) -> set[int]:
    """Return the numbers of processes and of all below them."""
    return {each for pid in pids for each in (pid, *descendants(pid))}


def cpu_now_s(pids: Sequence[int]) -> float:
    """Return the CPU time so far of processes that live, with all below them (/proc/PID/schedstat, nanoseconds)."""
    total = 0
    for pid in with_descendants(pids):
        total += sum(int(x.read_text().split()[0]) for x in Path(f"/proc/{pid}/task").glob("*/schedstat"))
    return total / 1e9


@contextmanager
def accounted(run: Run) -> Iterator[dict[str, str]]:
    """Give an environment for Python programs; their CPU time is in the run behind the block."""
    with tempfile.TemporaryDirectory() as folder:
        yield {**os.environ, "PYTHONPATH": f"{HOOK}:{Path.cwd()}", "RINGTAP_BENCH_CPU": folder}
        for file in Path(folder).iterdir():
            name, cpu_ns = file.read_text().split("\n")[:2]
            run.cpu_s[name] = run.cpu_s.get(name, 0.0) + int(cpu_ns) / 1e9


def run(command: Sequence[str], watch: bool = False, beside: Sequence[int] = (), **options: Any) -> Run:
    """Run a command to its end; `beside` are processes that are watched with it."""
    result = Run()
    with tempfile.TemporaryFile("w+") as errors, accounted(result) as environment:
        begin = time.perf_counter()
        options = {"stdout": subprocess.DEVNULL, "env": environment, **options}
        process = subprocess.Popen(command, stderr=errors, **options)
        watcher = MemoryWatch([process.pid, *beside], result)
        if watch:
            watcher.start()
        process.wait()
        result.wall_s = time.perf_counter() - begin
        if watch:
            watcher.ended.set()
            watcher.join()
        if process.returncode != 0:
            raise SystemExit(f"bench: {' '.join(command)} ended with {process.returncode}:\n{_text(errors)}")
    return result


def _text(file: IO[str]) -> str:
    file.seek(0)
    return file.read()


def wait_for(what: str, condition: Any, deadline_s: float = 20.0) -> None:
    """Look until a condition holds, or fail by name."""
    end = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"bench: {what} took longer than {deadline_s:.0f} s")
        threading.Event().wait(0.02)


@contextmanager
def background(command: Sequence[str], log: Path, says: str, **options: Any) -> Iterator[tuple[int, str]]:
    """Run a program for the length of a block; give its number and the word behind `says` in its log."""
    with log.open("w") as stream:
        process = subprocess.Popen(command, stderr=stream, **options)
    try:
        wait_for(command[-1], lambda: says in log.read_text() or process.poll() is not None)
        if says not in log.read_text():
            raise SystemExit(f"bench: {' '.join(command)} ended:\n{log.read_text()}")
        yield process.pid, log.read_text().split(says)[1].split()[0]
    finally:
        process.terminate()
        process.wait(END_S)
