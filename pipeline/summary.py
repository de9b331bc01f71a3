"""What a replay did, for people and programs: a table by endpoint, changes of status, times of both sides.

In: `Totals` by output.  Out: text, and maps for JSON.  No process, no file, no clock.  A comparison of headers and
bodies would have its own part here, behind the changes of status; emit/summary.pyx says where it would begin.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from emit.histogram import Histogram
from emit.totals import EndpointTotals, Totals
from pipeline.values import write_size

MOST_SHOWN: Final = 20  # rows of each kind; the JSON form has all
WIDE: Final = 110  # columns from which on there is room for every figure
PLAIN_COLUMNS: Final = 120
LEAST_NAME: Final = 14
PERCENTS: Final = (50, 90, 99)
SIDES: Final = ("original", "replayed")
TIME: Final = 7  # columns of a time, with the gap before it


@dataclass(frozen=True)
class Column:
    """A column of figures, each of which is text."""

    heading: str
    width: int  # with the gap before it


def plain(replays: Mapping[str, Totals]) -> str:
    """Return all replays as aligned text without a final line end."""
    return "\n".join(line for name, totals in replays.items() for line in lines(name, totals, PLAIN_COLUMNS))


def coloured(replays: Mapping[str, Totals], columns: int) -> str:
    """Return the same with terminal colours, at most `columns` wide."""
    bold, plain_again = "\x1b[1m", "\x1b[0m"
    shown: list[str] = []
    for name, totals in replays.items():
        first, *rest = lines(name, totals, columns)
        shown += [f"{bold}{first}{plain_again}", *rest]
    return "\n".join(shown)


def lines(name: str, totals: Totals, columns: int) -> Iterator[str]:
    """Yield one replay, line by line."""
    total = totals.all()
    yield f"replay by {name}"
    yield from _table(totals, total, columns)
    yield from _changes(totals, columns)
    yield from _remarks(totals, total)


def _table(totals: Totals, total: EndpointTotals, columns: int) -> Iterator[str]:
    wide = columns >= WIDE
    figures = _columns(wide)
    busiest = sorted(totals.endpoints.values(), key=lambda each: (-each.requests, each.name))
    listed = [*([total] if len(busiest) > 1 else []), *busiest[:MOST_SHOWN]]
    room = max(columns - sum(each.width for each in figures), LEAST_NAME)
    width = min(max([len("endpoint"), *(len(_shown(each.name)) for each in listed)]), room)
    side = sum(each.width for each in figures[-len(_percents(wide)) :])
    yield " " * (width + sum(each.width for each in figures) - 2 * side) + "".join(f"{each:>{side}}" for each in SIDES)
    yield _row("endpoint", [each.heading for each in figures], figures, width)
    for each in listed:
        yield _row(_cut(_shown(each.name), width), _figures(each, wide), figures, width)
    if len(busiest) > MOST_SHOWN:
        rest = busiest[MOST_SHOWN:]
        yield f"and {len(rest):,} more endpoints with {sum(each.requests for each in rest):,} requests"


def _columns(wide: bool) -> list[Column]:
    times = [f"p{percent}" for percent in _percents(wide)]
    counts = {"requests": 10, "answered": 10, "failed": 8, **({"same": 10} if wide else {}), "changed": 8}
    sides = [Column(each, TIME + (at == 0)) for _side in SIDES for at, each in enumerate(times)]
    return [*(Column(each, width) for each, width in counts.items()), *sides]


def _percents(wide: bool) -> tuple[int, ...]:
    return PERCENTS if wide else PERCENTS[::2]


def _figures(each: EndpointTotals, wide: bool) -> list[str]:
    counts = [each.requests, each.answered, each.failures, *([each.same] if wide else []), each.changed]
    sides = (each.original_ns, each.answered_ns)
    times = [side.percentile(percent) for side in sides for percent in _percents(wide)]
    return [*(f"{count:,}" for count in counts), *(write_time(ns) for ns in times)]


def _row(name: str, cells: list[str], figures: list[Column], width: int) -> str:
    return f"{name:<{width}}" + "".join(f"{cell:>{each.width}}" for cell, each in zip(cells, figures, strict=True))


def _changes(totals: Totals, columns: int) -> Iterator[str]:
    """Yield what status became which, at which endpoint, most frequent first."""
    found = [
        (count, original, replayed, each.name)
        for each in totals.endpoints.values()
        for (original, replayed), count in each.statuses.items()
        if original != replayed
    ]
    found.sort(key=lambda change: (-change[0], *change[1:]))
    if found:
        yield "changes of status"
    for count, original, replayed, name in found[:MOST_SHOWN]:
        yield _cut(f"{count:>12,}  {original} -> {replayed}  {_shown(name)}", columns)
    if len(found) > MOST_SHOWN:
        yield f"{sum(change[0] for change in found[MOST_SHOWN:]):>12,}  in {len(found) - MOST_SHOWN:,} other ways"


def _remarks(totals: Totals, total: EndpointTotals) -> Iterator[str]:
    """Yield what the table has no room for; nothing about what did not happen."""
    if total.answered:
        yield f"answers: {write_size(total.answered_bytes)}; original responses: {write_size(total.original_bytes)}"
    if total.failed:
        reasons = sorted(total.failed.items(), key=lambda reason: (-reason[1], reason[0]))
        yield f"no answer: {', '.join(f'{count:,} {_shown(reason)}' for reason, count in reasons)}"
    if unanswered := total.requests - total.answered - total.failures:
        yield f"requests of which nothing more is known: {unanswered:,}"
    if without := total.requests - total.originals:
        yield f"requests without an original response: {without:,}"
    if totals.unknown:
        yield f"answers that came after their requests were forgotten: {totals.unknown:,}"
    if totals.late_ns.count:
        said = (f"p{percent} {write_time(totals.late_ns.percentile(percent))}" for percent in PERCENTS)
        yield f"sent later than wanted: {', '.join(said)}, at most {write_time(totals.late_ns.percentile(100))}"


def write_time(ns: int | None) -> str:
    """Write a time with three digits and its unit; a dash for none."""
    if ns is None:
        return "-"
    for unit, size in (("us", 1000), ("ms", 1_000_000), ("s", 1_000_000_000)):
        digits = f"{ns / size:.3g}"
        if float(digits) < 1000 or unit == "s":
            return f"{float(digits):g}{unit}"
    raise AssertionError


def as_json(replays: Mapping[str, Totals]) -> list[dict[str, Any]]:
    """Return all replays as plain maps and lists; times in nanoseconds."""
    return [
        {
            "output": name,
            "all": _endpoint(totals.all()),
            "endpoints": [_endpoint(each) for each in totals.endpoints.values()],
            "late_ns": _percentiles(totals.late_ns),
            "unknown": totals.unknown,
        }
        for name, totals in replays.items()
    ]


def _endpoint(each: EndpointTotals) -> dict[str, Any]:
    statuses = sorted(each.statuses.items(), key=lambda pair: (-pair[1], pair[0]))
    return {
        "endpoint": each.name,
        "requests": each.requests,
        "answered": each.answered,
        "failed": each.failed,
        "originals": each.originals,
        "statuses": [{"original": a, "replayed": b, "count": count} for (a, b), count in statuses],
        "more_statuses": each.more_statuses,
        "original_bytes": each.original_bytes,
        "replayed_bytes": each.answered_bytes,
        "original_ns": _percentiles(each.original_ns),
        "replayed_ns": _percentiles(each.answered_ns),
    }


def _percentiles(times: Histogram) -> dict[str, int | None]:
    return {f"p{percent}": times.percentile(percent) for percent in (*PERCENTS, 99.9, 100)}


def _shown(text: str) -> str:
    """Make text from the traffic fit for a terminal."""
    return "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in text)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
