"""Facts about a machine: read from made-up trees, and from this one."""

import os
import re
import resource
import socket
from pathlib import Path

import pytest

from capture.privileges import Capability
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


@pytest.mark.parametrize(
    ("line", "top", "names"),
    [
        ("0::/a/b", "sys/fs/cgroup", ("memory.max", "memory.current", "inactive_file")),
        (
            "4:memory:/a/b", "sys/fs/cgroup/memory",
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("group", ["a", "a/b"])
def test_the_groups_between_this_process_and_the_top_count(tree, line, top, names, group):
    """MemoryMax= of a service is set on its own group, or on a slice above; page cache is given back."""
    limit, usage, spare = names
    (tree / "proc/self").mkdir()
    (tree / "proc/self/cgroup").write_text(f"3:cpuset:/elsewhere\n{line}\n")
    (tree / top / "a/b").mkdir(parents=True)
    for name, text in {limit: "4096", usage: "3000", "memory.stat": f"anon 1\n{spare} 1000"}.items():
        (tree / top / group / name).write_text(text + "\n")
    assert machine(tree).limit == 4096 - (3000 - 1000)


def test_a_right_that_the_kernel_refuses_is_no_right(monkeypatch):
    """In a user namespace, or under seccomp, root holds CAP_NET_RAW and still gets no packet socket."""

    class Refusing(socket.socket):
        """A socket as such a container gets it."""

        def __init__(self, family: int = -1, *more: int, **options: object) -> None:
            if family == socket.AF_PACKET:
                raise PermissionError(1, "Operation not permitted")
            super().__init__(family, *more, **options)

    monkeypatch.setattr(socket, "socket", Refusing)
    for name in ("permitted", "effective"):
        monkeypatch.setattr(f"pipeline.machine.{name}", lambda: frozenset({Capability.NET_RAW}))
    found = machine()
    assert (found.may_capture, found.held, found.fanout) == (False, True, None)


def test_governors_and_limits_are_found(tree):
    """Each once, however many cores there are."""
    for core in ("cpu0", "cpu1"):
        (tree / f"sys/devices/system/cpu/{core}/cpufreq").mkdir(parents=True)
        (tree / f"sys/devices/system/cpu/{core}/cpufreq/scaling_governor").write_text("powersave\n")
    found = machine(tree)
    assert found.governors == ("powersave",)
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert found.open_files == (None if soft == resource.RLIM_INFINITY else soft)


def test_libpcap_says_its_version():
    """The first question in a bug report."""
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", machine().libpcap or "")
