"""What a child may have: read from the kernel's own account of it, and tried."""

import json
import subprocess
import sys
import textwrap
from typing import Final

import pytest

MIB: Final = 1 << 20
SHOW: Final = """
    import json, resource
    from capture.limits import allowed, bound, unbound

    def seen():
        with open("/proc/self/oom_score_adj") as score:
            limits = {each: resource.getrlimit(getattr(resource, f"RLIMIT_{each}")) for each in ("DATA", "CORE")}
            return {"score": int(score.read()), "allowed": allowed(), **limits}

    def show():
        print(json.dumps(seen()))
"""


def run(body: str, before: str = "") -> list[dict[str, object]]:
    """Run a program in a process that a shell has given limits, and return what it showed."""
    program = textwrap.dedent(SHOW) + textwrap.dedent(body)
    done = subprocess.run(
        ["bash", "-c", f'{before} exec "$@"', "bash", sys.executable, "-c", program],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_limits_are_soft_and_lifted_again_for_programs():
    """What the operator starts beside a worker has what the operator has given."""
    before, bounded, after = run("show(); bound(600 << 20); show(); unbound(); show()", "ulimit -Sc 0;")
    assert bounded["DATA"] == [600 * MIB, before["DATA"][1]]
    assert bounded["allowed"] == 600 * MIB
    assert after["DATA"] == before["DATA"]
    assert after["CORE"] == bounded["CORE"], "its core would hold the same traffic"


@pytest.mark.parametrize(
    ("before", "asked", "expected"),
    [
        ("ulimit -Sd 200000;", 600 * MIB, 200_000 * 1024),
        ("ulimit -d 200000;", 600 * MIB, 200_000 * 1024),
        ("ulimit -d 200000; ulimit -Sd 150000;", 600 * MIB, 150_000 * 1024),
        ("ulimit -d 200000;", 100 * MIB, 100 * MIB),
        ("ulimit -Sd 200000;", None, 200_000 * 1024),
    ],
)
def test_nobody_may_have_more_than_before(before, asked, expected):
    """An operator's own limit, soft or hard, is there for a reason."""
    shown, after = run(f"bound({asked}); show(); bound({asked}); show()", before)
    assert shown["DATA"][0] == after["DATA"][0] == expected


def test_memory_beyond_the_limit_is_an_error_and_shared_memory_does_not_count():
    """Rings may be larger than all else."""
    run("""
        import mmap
        from capture.memory import make_memory
        bound(100 << 20)
        mmap.mmap(make_memory("ring", 300 << 20), 300 << 20)
        try:
            bytearray(200 << 20)
        except MemoryError:
            show()
    """)[0]  # fmt: skip


@pytest.mark.parametrize("before", ["ulimit -Sc 0;", "ulimit -c 0;", "ulimit -Sc $(ulimit -Hc);"])
def test_no_core_is_left(tmp_path, before):
    """It would hold keys and traffic; 1 is less than any, and is a no for programs that take cores, too."""
    program = "from capture.limits import bound; bound(None); import os; os.abort()"
    command = f'cd {tmp_path}; {before} "$@" || echo $?'
    done = subprocess.run(
        ["bash", "-c", command, "bash", sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "134\n"
    assert "core dumped" not in done.stderr
    assert not list(tmp_path.iterdir())
    [shown] = run("bound(None); show()", before)
    soft, hard = shown["CORE"]
    assert soft == (0 if hard == 0 else 1)


def test_the_kernel_takes_a_child_first():
    """It is started again, and its parent would take all others along."""
    shown = run("show(); bound(None); show(); bound(None); show()", "echo 100 > /proc/self/oom_score_adj;")
    assert [each["score"] for each in shown] == [100, 600, 1000]
