"""The sums of a replay as plain values, by endpoint, and how those of several workers are put together.

In: what `emit.summary` has counted.  Out: `Totals`.  Invariant: merging adds, so order and grouping do not matter.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from emit.histogram import Histogram

Statuses = dict[tuple[int, int], int]
"""How many requests had one status originally and another when they were replayed."""


@dataclass
class EndpointTotals:
    """What became of the requests for one endpoint; times are from a request's first byte to the answer's last."""

    name: str
    requests: int = 0
    answered: int = 0
    originals: int = 0  # of the requests, those whose original response was seen
    original_bytes: int = 0
    answered_bytes: int = 0
    failed: dict[str, int] = field(default_factory=dict)  # without an answer, by reason
    statuses: Statuses = field(default_factory=dict)
    more_statuses: int = 0  # compared, but in none of the pairs that there was room for
    original_ns: Histogram = field(default_factory=Histogram)
    answered_ns: Histogram = field(default_factory=Histogram)

    @property
    def failures(self) -> int:
        """How many requests have no answer."""
        return sum(self.failed.values())

    @property
    def same(self) -> int:
        """How many answers had the status of the original response."""
        return sum(count for (original, replayed), count in self.statuses.items() if original == replayed)

    @property
    def changed(self) -> int:
        """How many answers had another status."""
        return sum(self.statuses.values()) - self.same

    def add(self, other: "EndpointTotals") -> None:
        """Add what another worker has counted."""
        for name in ("requests", "answered", "originals", "original_bytes", "answered_bytes", "more_statuses"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.failed = dict(Counter(self.failed) + Counter(other.failed))
        self.statuses = dict(Counter(self.statuses) + Counter(other.statuses))
        self.original_ns.merge(other.original_ns)
        self.answered_ns.merge(other.answered_ns)


@dataclass
class Totals:
    """All endpoints of a replay, and how late requests were."""

    endpoints: dict[str, EndpointTotals] = field(default_factory=dict)
    late_ns: Histogram = field(default_factory=Histogram)
    unknown: int = 0  # answers and failures that came after their requests were forgotten

    def add(self, other: "Totals") -> None:
        """Add what another worker has counted."""
        for name, each in other.endpoints.items():
            self.endpoints.setdefault(name, EndpointTotals(name)).add(each)
        self.late_ns.merge(other.late_ns)
        self.unknown += other.unknown

    def all(self) -> EndpointTotals:
        """Return the sum over all endpoints."""
        total = EndpointTotals("all")
        for each in self.endpoints.values():
            total.add(each)
        return total


def merged(parts: Iterable[Totals]) -> Totals:
    """Return the sum over workers."""
    total = Totals()
    for part in parts:
        total.add(part)
    return total
