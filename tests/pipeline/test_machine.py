"""Facts about a machine: read from made-up trees, and from this one."""

import os
from pathlib import Path

import pytest

from pipeline.machine import machine


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A machine with memory and a clock."""
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 100 kB\nMemAvailable:      50 kB\n")
    clock = tmp_path / "sys/devices/system/clocksource/clocksource0"
    clock.mkdir(parents=True)
    (clock / "current_clocksource").write_text("tsc\n")
    return tmp_path


def limited(tree: Path, path: str, text: str) -> int | None:
    """What is made of one control group's limit."""
    (tree / path).parent.mkdir(parents=True, exist_ok=True)
    (tree / path).write_text(text)
    return machine(tree).limit


def test_memory_and_clock_are_found(tree):
    """In bytes, whatever the kernel writes."""
    found = machine(tree)
    assert (found.available, found.limit, found.clock) == (50 * 1024, None, "tsc")
    assert found.cores == len(os.sched_getaffinity(0))
    assert found.root == (os.geteuid() == 0)
    assert Path(found.interpreter).is_file()
    assert not Path(found.interpreter).is_symlink(), "setcap(8) follows no links"


@pytest.mark.parametrize(
    ("path", "text", "limit"),
    [
        ("sys/fs/cgroup/memory.max", "1048576\n", 2**20),
        ("sys/fs/cgroup/memory.max", "max\n", None),
        ("sys/fs/cgroup/memory/memory.limit_in_bytes", "2097152\n", 2**21),
        ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n", None),
    ],
)
def test_a_container_has_less_memory_than_its_machine(tree, path, text, limit):
    """Rings beyond it get the run killed, days later."""
    assert limited(tree, path, text) == limit


def test_nothing_to_read_is_no_error(tmp_path):
    """Containers hide much."""
    found = machine(tmp_path)
    assert (found.available, found.limit, found.clock) == (None, None, None)
