from assemble.settings import Settings
from capture.counters import Counters
from capture.route import Route

class FlowRoute(Route):
    settings: Settings
    page: Counters
    def __init__(self, settings: Settings, lanes: int, counters: Counters | None = None) -> None: ...

def lane_of(hashed: int, lanes: int) -> int: ...
