"""What a replay did, as people and programs read it."""

import json
import re

import pytest

from emit.totals import EndpointTotals, Totals
from pipeline import summary
from pipeline.summary import as_json, coloured, lines, plain, write_time


def endpoint(name: str, requests: int, statuses: dict[tuple[int, int], int], **changes: object) -> EndpointTotals:
    """Make the sums of an endpoint, of which every request has both answers."""
    made = EndpointTotals(name, requests, sum(statuses.values()), requests, 1000 * requests, 900 * requests)
    made.statuses = statuses
    for at in range(requests):
        made.original_ns.add(1_000_000 + 10_000 * at)
        made.answered_ns.add(2_000_000 + 20_000 * at)
    for key, value in changes.items():
        setattr(made, key, value)
    return made


def totals(*each: EndpointTotals, **changes: object) -> Totals:
    """Put endpoints together."""
    made = Totals({one.name: one for one in each})
    for key, value in changes.items():
        setattr(made, key, value)
    return made


SHOP = totals(
    endpoint("GET /items/*", 100, {(200, 200): 88, (200, 500): 12}),
    endpoint("POST /orders", 1200, {(201, 201): 1197, (201, 409): 1}, failed={"timeout": 2}),
)


def test_every_figure_stands_in_its_column():
    """The busiest endpoint first, under the sum of all; then what changed, most frequent first; then why not."""
    shown = plain({"output 0: http 127.0.0.1:80": SHOP}).splitlines()
    assert shown[0] == "replay by output 0: http 127.0.0.1:80"
    assert shown[1].split() == ["original", "replayed"]
    assert [line.split() for line in shown[2:6]] == [
        ["endpoint", "requests", "answered", "failed", "same", "changed", *["p50", "p90", "p99"] * 2],
        ["all", "1,300", "1,298", "2", "1,285", "13", "6.52ms", "11.7ms", "12.9ms", "13ms", "23.5ms", "25.8ms"],
        [
            "POST",
            "/orders",
            "1,200",
            "1,198",
            "2",
            "1,197",
            "1",
            "6.98ms",
            "11.7ms",
            "12.9ms",
            "14ms",
            "23.5ms",
            "25.8ms",
        ],
        ["GET", "/items/*", "100", "100", "0", "88", "12", "1.48ms", "1.89ms", "1.97ms", "2.97ms", "3.78ms", "3.95ms"],
    ]
    assert len({len(line) for line in shown[1:6]}) == 1
    assert [re.split(r"\s{2,}", line.strip()) for line in shown[6:]] == [
        ["changes of status"], ["12", "200 -> 500", "GET /items/*"], ["1", "201 -> 409", "POST /orders"],
        ["answers: 1.116MiB; original responses: 1.24MiB"], ["no answer: 2 timeout"],
    ]  # fmt: skip


@pytest.mark.parametrize("columns", [40, 80, 100, 109, 110, 120, 200])
def test_it_fits_into_the_terminal(columns: int):
    """A row that wraps cannot be read; a name is cut before a figure is left out."""
    long = endpoint("GET /" + "x" * 200, 5, {(200, 500): 5})
    shown = list(lines("output 0", totals(long, *SHOP.endpoints.values()), columns))
    table = shown[1:6]
    assert len({len(line) for line in table}) == 1
    assert len(table[0]) <= max(columns, 80)
    assert ("p90" in table[1]) == (columns >= 110)


def test_the_text_of_a_terminal_is_the_same():
    """But for the weight of its heading."""
    bare = re.sub("\x1b\\[[0-9]+m", "", coloured({"a": SHOP, "b": SHOP}, 120))
    assert bare == plain({"a": SHOP, "b": SHOP})
    assert coloured({"a": SHOP}, 80) != bare


def test_long_lists_are_cut_and_say_so():
    """A thousand endpoints are for programs."""
    many = totals(*(endpoint(f"GET /{at}x", 1, {(200, 500 + at): 1}) for at in range(50)))
    shown = plain({"o": many}).splitlines()
    assert "and 30 more endpoints with 30 requests" in shown
    assert "          30  in 30 other ways" in shown
    assert len(shown) < 50
    assert len(as_json({"o": many})[0]["endpoints"]) == 50


def test_what_is_not_known_is_said():
    """Requests without an outcome, without an original, answers that came too late, and lateness."""
    some = totals(EndpointTotals("GET /", 10, 4, 7), unknown=3)
    for ns in (1_000_000, 5_000_000):
        some.late_ns.add(ns)
    said = plain({"o": some})
    assert "requests of which nothing more is known: 6" in said
    assert "requests without an original response: 3" in said
    assert "answers that came after their requests were forgotten: 3" in said
    assert re.search(r"sent later than wanted: p50 1ms, .*at most 5.0\d*ms|at most 5ms", said)
    assert plain({"o": totals()}).splitlines()[0] == "replay by o"


def test_names_from_the_traffic_cannot_command_the_terminal():
    """Not in the table, and not among the changes."""
    odd = totals(endpoint("GET /\x1b[2J\x9b", 2, {(200, 500): 2}, failed={"\x07": 1}))
    assert all(each.isprintable() or each == "\n" for each in plain({"o": odd}))


def test_programs_get_every_figure():
    """As numbers, times in nanoseconds, and what there is none of as null."""
    (found,) = json.loads(json.dumps(as_json({"output 0": SHOP})))
    assert (found["output"], found["unknown"], found["late_ns"]["p50"]) == ("output 0", 0, None)
    assert found["all"]["requests"] == 1300
    items = found["endpoints"][0]
    assert items["statuses"] == [
        {"original": 200, "replayed": 200, "count": 88}, {"original": 200, "replayed": 500, "count": 12},
    ]  # fmt: skip
    assert items["original_ns"]["p50"] == pytest.approx(1_490_000, rel=0.01)
    assert items["replayed_ns"]["p100"] == pytest.approx(3_980_000, rel=0.01)
    assert found["endpoints"][1]["failed"] == {"timeout": 2}


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (None, "-"), (0, "0us"), (500, "0.5us"), (1500, "1.5us"), (999_400, "999us"), (999_600, "1ms"),
        (12_345_678, "12.3ms"), (999_999_999, "1s"), (61_000_000_000, "61s"), (3_600_000_000_000, "3600s"),
    ],
)  # fmt: skip
def test_times_have_three_digits_and_a_unit(ns: int | None, text: str):
    """More would be noise."""
    assert write_time(ns) == text


def test_most_rows_are_a_screenful():
    """With the ledger above."""
    assert summary.MOST_SHOWN <= 24
