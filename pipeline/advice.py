"""What to say when something is dropped: how much, where, and what helps against its cause.

In: the counters and rings of a run at two moments.  Out: lines, each cause at most once in a while.  No clock in here.
"""

from collections.abc import Iterator
from typing import Final

from capture.ring import RingStats
from pipeline.ledger import Counts, Tally

AGAIN_S: Final = 10.0  # a cause that goes on is said again after this long
BUSY: Final = 0.8  # of a core: a process that uses more is what the others wait for


class Advisor:
    """Remembers what was said when, and how much there was then."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[float, int]] = {}  # by cause
        self._cpu: tuple[float, dict[str, int]] = (0.0, {})
        self._stalls = 0

    def look(self, tally: Tally, rings: dict[str, RingStats], now_s: float) -> Iterator[str]:
        """Yield a line for everything that has grown; called about once a second."""
        capture = tally.capture or {}
        busy = self._busiest(tally, now_s)
        stalls = sum(stats.stalls for name, stats in rings.items() if name.startswith("message"))
        causes = (
            ("frames_dropped_kernel", "frames were dropped by the kernel", _kernel(busy)),
            ("frames_dropped_interface", "frames were dropped by the interface", _INTERFACE),
            ("frames_dropped_ring", "frames were dropped at the frame ring", _ring(stalls > self._stalls)),
        )
        self._stalls = stalls
        for name, what, help_ in causes:
            yield from self._say(name, capture.get(name, 0), what, help_, now_s)
        for at, label in enumerate(tally.outputs):
            count = sum(counts.get(f"output{at}_dropped", 0) for counts in (*tally.workers, *tally.answers))
            what = f"messages were dropped at output {at}: {label}"
            yield from self._say(f"{at} {label}", count, what, _OUTPUT, now_s)
        dropped = tally.worker("answers_dropped")
        yield from self._say("answers", dropped, "answers were dropped on their way to other outputs", _ANSWERS, now_s)

    def _say(self, cause: str, count: int, what: str, help_: str, now_s: float) -> Iterator[str]:
        said_s, before = self._last.get(cause, (-AGAIN_S, 0))
        if count > before and now_s - said_s >= AGAIN_S:
            self._last[cause] = (now_s, count)
            yield f"{count - before:,} {what}: {help_}"
        elif count < before:  # other workers have begun to count
            self._last[cause] = (said_s, count)

    def _busiest(self, tally: Tally, now_s: float) -> float:
        """Return the share of a core that the busiest capture process used since the last time."""
        captures: dict[str, Counts] = {name: page for name, page in tally.parts.items() if name.startswith("capture")}
        used = {name: page.get("cpu_ms", 0) for name, page in (captures or {"capture": tally.capture or {}}).items()}
        then_s, before = self._cpu
        if now_s - then_s < 1.0 and before:
            return 0.0
        self._cpu = (now_s, used)
        return max((cpu_ms - before.get(name, 0)) / 1000 / max(now_s - then_s, 1e-3) for name, cpu_ms in used.items())


_INTERFACE: Final = "its own buffer is too small or its driver too slow; `pipeline doctor` shows how to enlarge it"
_OUTPUT: Final = "it cannot keep up; a faster receiver, a larger workers.count or input.sample, or a filter helps"

_ANSWERS: Final = "these cannot keep up; faster receivers, a larger workers.count or ring.messages, or filters help"


def _kernel(busy: float) -> str:
    if busy > BUSY:
        return "the capture process has no time left; more input.lanes, a narrower filter or input.sample helps"
    return "they came in bursts; a larger input.buffer helps, or cores that are less busy"


def _ring(behind: bool) -> str:
    if behind:
        return 'the assembler waits for an output; policy = "drop", a faster output or a larger workers.count helps'
    return "the assembler cannot keep up; more input.lanes, input.sample or a larger ring.frames helps"
