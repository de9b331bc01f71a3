"""A long live run at a steady rate: memory, descriptors and rings must stay as they are.

In: how long.  Out: rows; one sample of every process each few seconds is kept with the result.
"""

import threading
import time
from pathlib import Path
from typing import Any, Final

from scripts.benchmark.live import mirrored, serving
from scripts.benchmark.processes import read_status, with_descendants
from scripts.benchmark.results import Row

PART: Final = "soak"
CONNECTIONS: Final = 64
DELAY_MS: Final = 30  # about 2,000 requests per second
SETTLING: Final = 0.1  # of the time: what grows until then is start-up
SAMPLES: Final = 200


class Sampler(threading.Thread):
    """Looks at a run and its children until told to stop."""

    def __init__(self, pid: int, every_s: float) -> None:
        super().__init__()
        self.pid = pid
        self.every_s = every_s
        self.ended = threading.Event()
        self.samples: list[dict[str, Any]] = []

    def run(self) -> None:
        """Sample again and again."""
        begin = time.monotonic()
        while not self.ended.wait(self.every_s):
            kib, fds = {}, {}
            for pid in with_descendants([self.pid]):
                fields = read_status(pid)
                name = f"{fields.get('Name', 'gone')} {pid}"
                kib[name] = int(fields.get("RssAnon", "0 kB").split()[0])
                fds[name] = len(list(Path(f"/proc/{pid}/fd").glob("*")))
            self.samples.append({"at_s": time.monotonic() - begin, "kib": kib, "fds": fds})


def measure(seconds: int, raw: dict[str, Any]) -> list[Row]:
    """Return all rows."""
    with serving() as service, mirrored("lo", f"[{service.port}]") as seen:
        sampler = Sampler(seen.pid, max(1.0, seconds / SAMPLES))
        sampler.start()
        load = service.load(seconds, CONNECTIONS, DELAY_MS)
        sampler.ended.set()
        sampler.join()
    samples = sampler.samples
    settled = samples[max(1, round(len(samples) * SETTLING)) :]
    raw["soak"] = {"seconds": seconds, "samples": samples, "rings": seen.rings}
    highest = max((ring["high_water"] / ring["capacity"] for ring in seen.rings.values()), default=0.0)
    return [
        Row(PART, "rate", load.rate, "requests/s", note=f"for {seconds} s"),
        Row(
            PART, "served but not seen", 2 * load.served - seen.messages, "messages", 0, note=f"{seen.messages:,} seen"
        ),
        Row(PART, "dropped", seen.dropped, "frames", 0),
        Row(PART, "private memory, growth", _growth(settled, "kib") / 1024, "MiB, all together", 4),
        Row(PART, "descriptors, growth", _growth(settled, "fds"), "of all processes", 0),
        Row(PART, "fullest ring, at its highest", highest * 100, "% of its size"),
    ]


def _growth(samples: list[dict[str, Any]], what: str) -> float:
    """Return how much more there is in the last quarter than in the first, by their medians."""
    sums = [sum(sample[what].values()) for sample in samples]
    quarter = max(1, len(sums) // 4)
    first, last = sorted(sums[:quarter]), sorted(sums[-quarter:])
    return max(0, last[len(last) // 2] - first[len(first) // 2])
