"""How many lanes a run over frames has, and which cores their processes keep to.

In: a checked `Config`.  Out: a number from 1 on; cores.
"""

import os
from typing import Final

from pipeline.config import Config
from pipeline.inputs import FileInput, LiveInput, TcpInput
from pipeline.keys import MOST_LANES

READERS: Final = 1  # processes that all lanes share: the one that reads the files
ASSEMBLERS: Final = 1  # of each lane
CAPTURES: Final = 1  # of each lane, where the kernel splits the flows


def lanes(config: Config, cores: int | None = None) -> int:
    """Return the number of lanes; "auto" gives each of a run's processes one of the cores that this one may use."""
    if isinstance(config.input, TcpInput | FileInput):
        return 1
    if config.input.lanes != "auto":
        return config.input.lanes
    if cores is None:
        cores = len(os.sched_getaffinity(0))
    shared, own = (0, CAPTURES) if by_kernel(config) else (READERS, 0)
    return min(max((cores - shared) // (own + ASSEMBLERS + config.workers.count), 1), MOST_LANES)


def by_kernel(config: Config) -> bool:
    """Return whether the kernel splits the flows: its hash is the same for both directions, but not inside a tunnel."""
    return isinstance(config.input, LiveInput) and not config.input.decapsulate


def cores_of(lane: int, count: int) -> tuple[int, ...]:
    """Return the cores that a lane's processes share out among them: a part of those that this process may use."""
    usable = sorted(os.sched_getaffinity(0))
    if count >= len(usable):
        return (usable[lane % len(usable)],)
    return tuple(usable[lane * len(usable) // count : (lane + 1) * len(usable) // count])
