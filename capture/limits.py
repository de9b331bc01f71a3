"""How much of the machine a child may take, and whom the kernel ends first where there is too little for all.

In: the most bytes of memory of its own.  Out: a process with soft limits (setrlimit(2)), which goes before its parent
does (proc_pid_oom_score_adj(5)).  Invariant: it may not have more than it was started with.
"""

import contextlib
import resource
from pathlib import Path
from typing import Final

UNLIMITED: Final = resource.RLIM_INFINITY
CORE_BYTES: Final = 1
"""A core would hold traffic in clear.  This is too little for any, and unlike 0 the kernel also takes it for a no where
cores are piped into a program (core(5), fs/coredump.c)."""
EXPENDABLE: Final = 500
"""Points of a thousand: as if it had so much more of the memory.  It is started again; who starts it is not."""
SCORE: Final = Path("/proc/self/oom_score_adj")

_data_before: Final = resource.getrlimit(resource.RLIMIT_DATA)


def bound(data_bytes: int | None) -> None:
    """Limit this process; before it becomes another user, to whom its files in /proc do not belong."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (_least(CORE_BYTES, hard), hard))
    if data_bytes is not None:
        soft, hard = _data_before
        resource.setrlimit(resource.RLIMIT_DATA, (_least(data_bytes, soft, hard), hard))
    with contextlib.suppress(OSError, ValueError):  # no /proc: the largest goes first
        SCORE.write_text(str(min(int(SCORE.read_text()) + EXPENDABLE, 1000)))


def unbound() -> None:
    """Let a program that is none of ours have the memory that this process was started with; for its own process."""
    resource.setrlimit(resource.RLIMIT_DATA, _data_before)


def allowed() -> int | None:
    """Return how many bytes of memory of its own this process may have; None: no limit."""
    soft, _ = resource.getrlimit(resource.RLIMIT_DATA)
    return None if soft == UNLIMITED else soft


def _least(*limits: int) -> int:
    return min((each for each in limits if each != UNLIMITED), default=UNLIMITED)
