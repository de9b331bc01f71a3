"""Runs for tests of what a machine lacks: the command behind what a shell takes away first."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.integration import jobs
from tests.integration.jobs import wait_until

CLOSES: Final = "the ledger closes; nothing was lost"
GROUPS: Final = Path("/sys/fs/cgroup")
LIMITS: Final = {"pids": "pids.max", "memory": "memory.limit_in_bytes"}
"""Of control groups of version 1; those of version 2 have a file CONTROLLER.max."""
RUN: Final = (sys.executable, "-m", "pipeline", "run", "-c", "m.toml")


def possible(command: str) -> bool:
    """Whether this machine lets us do that."""
    return subprocess.run(["bash", "-c", command], capture_output=True, check=False).returncode == 0


def start(place: Path, before: str, *command: str, stdin: int = subprocess.DEVNULL) -> "subprocess.Popen[bytes]":
    """Start a command behind what a shell does first, in a session of its own."""
    environment = os.environ | {"TMPDIR": str(place / "tmp"), "NO_COLOR": "1", "XDG_STATE_HOME": str(place)}
    return subprocess.Popen(
        ["bash", "-c", before, "bash", *command], cwd=place, env=environment, stdin=stdin,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip


def ended(place: Path, before: str, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, which has to come, without a trace of us."""
    job = start(place, before, *(command or RUN))
    done = jobs.finished(job)
    assert "Traceback" not in done.stderr
    wait_until(lambda: not of_session(job.pid), "the end of what was started")
    assert not list((place / "tmp").iterdir())
    return done


def of_session(leader: int) -> list[int]:
    """Return the living processes of a session."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == leader and fields[0] != "Z":
                found.append(int(entry.name))
    return found


@contextlib.contextmanager
def skipping(what: str) -> Iterator[None]:
    """Skip a test where the kernel refuses what it needs."""
    try:
        yield
    except OSError as error:
        pytest.skip(f"{what}: {error.strerror}")


@contextlib.contextmanager
def control_group(controller: str, most: int) -> Iterator[str]:
    """Make a control group with one limit; yields what a shell does to enter it.  Skips where that cannot be."""
    first = (GROUPS / controller).is_dir()
    own = (GROUPS / controller if first else GROUPS) / f"ringtap-test-{os.getpid()}"
    with skipping("control groups cannot be made here"):
        own.mkdir()
    try:
        with skipping(f"control groups have no limit of {controller} here"):
            (own / (LIMITS[controller] if first else f"{controller}.max")).write_text(str(most))
        yield f"echo $$ > {own}/cgroup.procs; "
    finally:
        wait_until(lambda: not (own / "cgroup.procs").read_text(), "an empty group")
        own.rmdir()
