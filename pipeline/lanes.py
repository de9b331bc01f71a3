"""How many lanes a run over capture files has.

In: a checked `Config`.  Out: a number from 1 on.
"""

import os
from typing import Final

from pipeline.config import MOST_LANES, Config, PcapInput

READERS: Final = 1  # processes that all lanes share: the one that reads the files
ASSEMBLERS: Final = 1  # of each lane


def lanes(config: Config, cores: int | None = None) -> int:
    """Return the number of lanes; "auto" gives each of a run's processes one of the cores that this one may use."""
    if not isinstance(config.input, PcapInput):
        return 1
    if config.input.lanes != "auto":
        return config.input.lanes
    if cores is None:
        cores = len(os.sched_getaffinity(0))
    return min(max((cores - READERS) // (ASSEMBLERS + config.workers.count), 1), MOST_LANES)
