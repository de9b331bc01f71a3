from typing import Any

from typing_extensions import Buffer

from assemble.settings import Settings
from capture.counters import Counters

class Decoder:
    page: Counters
    def __init__(self, settings: Settings, counters: Counters | None = None) -> None: ...
    def read(self, frame: Buffer, link: int = 1, ts_ns: int = 0) -> dict[str, Any]: ...

def decode(frame: Buffer, link: int = 1, **settings: Any) -> dict[str, Any]: ...
