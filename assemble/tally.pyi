from enum import IntEnum
from typing import Final

class Tally(IntEnum):
    frames_decoded = 0
    TALLIES = ...

ASSEMBLE_COUNTERS: Final[tuple[str, ...]]
