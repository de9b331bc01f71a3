from capture.ring import Consumer
from emit.bucket import Bucket
from emit.match import Matcher
from emit.sampler import Sampler
from emit.verdicts import Verdicts

class Sieve:
    consumer: Consumer | None
    remembers: bool
    def __init__(
        self,
        consumer: Consumer | None,
        matcher: Matcher | None,
        verdicts: Verdicts,
        sampler: Sampler | None = None,
        bucket: Bucket | None = None,
    ) -> None: ...
    def count_messages(self, start: int, end: int) -> tuple[int, int]: ...
    def skip_messages(self, cursor: int, until: int, head: int) -> tuple[int, int]: ...
    def pace(self, cursor: int, head: int) -> int: ...
    def take_outcomes(self) -> tuple[int, int, int]: ...
