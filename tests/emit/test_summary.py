"""What is summed up of a replay, against plain dictionaries: in any order, and in bounded memory."""

import multiprocessing
import os
import re
import signal
from collections import Counter
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capture.errors import MirrorError
from emit.histogram import Histogram
from emit.summary import ENDPOINTS, OPEN, OTHER, PAIRS, REASONS, Summary
from emit.totals import EndpointTotals, Totals, merged

Event = tuple[Any, ...]
BEGAN_NS = 1_700_000_000 * 10**9


def apply(summary: Summary, events: list[Event]) -> Summary:
    """Tell a summary of events."""
    for name, *arguments in events:
        getattr(summary, name)(*arguments)
    return summary


def expected(exchanges: list[dict[str, Any]]) -> dict[str, EndpointTotals]:
    """Sum up in the obvious way."""
    found: dict[str, EndpointTotals] = {}
    for each in exchanges:
        totals = found.setdefault(each["name"], EndpointTotals(each["name"]))
        totals.requests += 1
        if each["original"] is not None:
            status, size, ns = each["original"]
            totals.originals += 1
            totals.original_bytes += size
            totals.original_ns.add(ns)
        if isinstance(each["answer"], str):
            totals.failed[each["answer"]] = totals.failed.get(each["answer"], 0) + 1
        elif each["answer"] is not None:
            replayed, size, ns = each["answer"]
            totals.answered += 1
            totals.answered_bytes += size
            totals.answered_ns.add(ns)
            if each["original"] is not None:
                totals.statuses[status, replayed] = totals.statuses.get((status, replayed), 0) + 1
    return found


responses = st.tuples(st.sampled_from([200, 204, 404, 500]), st.integers(0, 10**6), st.integers(0, 10**12))
exchange = st.fixed_dictionaries({
    "name": st.sampled_from(["GET /", "GET /items/*", "POST /items"]),
    "original": st.none() | responses,
    "answer": st.none() | responses | st.sampled_from(["timeout", "connection refused"]),
})  # fmt: skip


@st.composite
def shuffled(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[Event]]:
    """Exchanges, and their events in any order in which they may come: answers after requests."""
    exchanges = draw(st.lists(exchange, max_size=10))
    events: list[tuple[tuple[int, int], Event]] = []
    for number, each in enumerate(exchanges):
        method, target = each["name"].encode().replace(b"*", b"%d" % number).split(b" ")
        at = draw(st.integers(0, 20))
        events.append(((at, 0), ("sent", number, method, target, BEGAN_NS)))
        if each["original"] is not None:
            status, size, ns = each["original"]
            when = draw(st.integers(0, 20)), draw(st.sampled_from([-1, 1]))
            events.append((when, ("original", number, status, BEGAN_NS + ns, size)))
        if isinstance(each["answer"], str):
            events.append(((draw(st.integers(at, 20)), 2), ("failed", number, each["answer"])))
        elif each["answer"] is not None:
            status, size, ns = each["answer"]
            events.append(((draw(st.integers(at, 20)), 2), ("answered", number, status, size, ns)))
    events.sort(key=lambda event: event[0])
    return exchanges, [event for _at, event in events]


@given(shuffled())
def test_the_order_in_which_things_come_to_be_known_does_not_matter(made: tuple[list[dict[str, Any]], list[Event]]):
    """A response may pass before its request is sent, or after the target has answered."""
    exchanges, events = made
    assert apply(Summary.create(), events).totals().endpoints == expected(exchanges)


@given(shuffled(), st.integers(0, 30))
def test_a_successor_goes_on_where_another_stopped(made: tuple[list[dict[str, Any]], list[Event]], cut: int):
    """Also one that takes over from the dead: it has the memory and nothing else."""
    exchanges, events = made
    first = apply(Summary.create(), events[:cut])
    second = apply(Summary(os.dup(first.memory.fd)), events[cut:])
    assert second.totals().endpoints == expected(exchanges)


@given(st.lists(shuffled(), max_size=4), st.randoms())
def test_the_sum_over_workers_does_not_depend_on_their_order(made: list[Any], random: Any):
    """Each has the flows of its own."""
    parts = [apply(Summary.create(), events).totals() for _exchanges, events in made]
    random.shuffle(parts)
    assert merged(parts).endpoints == expected([each for exchanges, _events in made for each in exchanges])


@pytest.mark.parametrize("order", list(permutations(["sent", "original", "answered"])))
def test_an_answer_that_nobody_asked_for_is_counted_apart(order: tuple[str, ...]):
    """It is neither lost nor anybody's."""
    events: dict[str, Event] = {
        "sent": ("sent", 1, b"GET", b"/", 0),
        "original": ("original", 1, 200, 5, 0),
        "answered": ("answered", 1, 500, 1, 5),
    }
    totals = apply(Summary.create(), [events[name] for name in order]).totals()
    early = order.index("answered") < order.index("sent")
    assert totals.unknown == early
    assert totals.endpoints["GET /"].statuses == ({} if early else {(200, 500): 1})


def test_requests_are_forgotten_after_so_many_others_and_not_before():
    """What they are answered then is counted as unknown."""
    summary = Summary.create()
    for number in range(OPEN + 2):
        summary.sent(number, b"GET", b"/", 0)
    for number in range(5):
        summary.original(OPEN + number - 3, 200, 1, 0)
        summary.answered(number, 200, 0, 1)
    totals = summary.totals()
    assert totals.unknown == 2
    assert (totals.all().requests, totals.all().answered, totals.all().originals) == (OPEN + 2, 3, 5)


def test_a_request_that_is_sent_again_is_another():
    """A replay may begin anew with the same recording."""
    summary = Summary.create()
    for turn in range(3):
        events: list[Event] = [("sent", 7, b"GET", b"/", 0), ("original", 7, 200, 1, 0), ("answered", 7, 500, 0, 1)]
        apply(summary, events if turn != 1 else [events[1], events[0], events[2]])
    total = summary.totals().all()
    assert (total.requests, total.originals, total.answered, total.statuses) == (3, 3, 3, {(200, 500): 3})


def test_interim_responses_are_no_answer_to_a_request():
    """The final one follows under the same id; 101 is final."""
    summary = Summary.create()
    apply(summary, [("sent", 1, b"GET", b"/", 0), ("original", 1, 103, 1, 0), ("answered", 1, 200, 0, 1)])
    apply(summary, [("original", 1, 200, 1, 0), ("sent", 2, b"GET", b"/", 0), ("original", 2, 101, 1, 0)])
    apply(summary, [("answered", 2, 200, 0, 1)])
    assert summary.totals().all().statuses == {(200, 200): 1, (101, 200): 1}


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/", "/"), ("/a/b", "/a/b"), ("/a?x=1", "/a"), ("/items/17", "/items/*"), ("/items/17/", "/items/*/"),
        ("/17/18", "/*/*"), ("/v1/items", "/v1/items"), ("/images/0.png", "/images/*.png"), ("/1.2.3", "/1.2.3"),
        ("/x/6f1c8a52-0b7e-4d2a-9c3f-5e8d7b6a4c21/y", "/x/*/y"),
        ("/x/6f1c8a520b7e4d2a/y", "/x/*/y"), ("/x/deadbeef", "/x/deadbeef"),
        ("/x/ABCDEF0123456789abcdef.json", "/x/*.json"),
        ("/x/6f1c8a52-0b7e-4d2a-9c3f-5e8d7b6a4cxx", "/x/6f1c8a52-0b7e-4d2a-9c3f-5e8d7b6a4cxx"),
        ("http://shop:80/a/1?q", "/a/*"), ("http://shop", "/"), ("http://shop?q", "/"), ("*", "*"),
        ("shop:443", "shop:443"), ("", "/"), ("?", "/"), ("//", "//"), ("/9.", "/9."), ("/.9", "/.9"),
        ("/\xe9", "/\xe9"),
    ],
)  # fmt: skip
def test_an_endpoint_is_a_method_and_a_path_without_what_names_one_thing(target: str, path: str):
    """A thousand products are one row."""
    summary = Summary.create()
    summary.sent(1, b"GET", target.encode("latin-1"), 0)
    assert list(summary.totals().endpoints) == [f"GET {path}"]


@given(st.binary(max_size=600), st.binary(max_size=60))
def test_no_target_is_too_odd(target: bytes, method: bytes):
    """They come from the network; names are bounded, and numbers are not told apart."""
    summary = Summary.create()
    summary.sent(1, method, target, 0)
    summary.sent(2, method, re.sub(rb"(?<=/)[0-9]+(?=/)", b"7", target), 0)
    (name,) = summary.totals().endpoints
    assert len(name) <= 214


def test_what_there_is_no_room_for_is_counted_together():
    """Endpoints, pairs of statuses, reasons: a hostile client must not blow the sums up."""
    summary = Summary.create()
    for number in range(ENDPOINTS + 9):
        summary.sent(number, b"GET", b"/%sx" % str(number).encode(), 0)
    assert summary.totals().endpoints[OTHER].requests == 10
    assert len(summary.totals().endpoints) == ENDPOINTS
    for number in range(PAIRS + 3):
        apply(summary, [("sent", 10**6 + number, b"GET", b"/0x", 0), ("original", 10**6 + number, 200, 1, 0)])
        summary.answered(10**6 + number, 300 + number, 0, 1)
    total = summary.totals().endpoints["GET /0x"]
    assert (len(total.statuses), total.more_statuses, total.answered) == (PAIRS, 3, PAIRS + 3)
    for number in range(REASONS + 4):
        apply(
            summary, [("sent", 10**7 + number, b"GET", b"/1x", 0), ("failed", 10**7 + number, f"reason {number}" * 9)]
        )
    failed = summary.totals().endpoints["GET /1x"].failed
    assert (len(failed), failed[OTHER], sum(failed.values())) == (REASONS, 5, REASONS + 4)


def _count_and_die(summary: Summary) -> None:
    for number in range(1000):
        apply(summary, [("sent", number, b"GET", b"/", 0), ("late", 10**6), ("answered", number, 200, 10, 10**6)])
    os.kill(os.getpid(), signal.SIGKILL)


def test_what_a_killed_process_has_counted_is_there():
    """Whoever made the memory reads it; nothing had to be sent."""
    summary = Summary.create()
    child = multiprocessing.get_context("spawn").Process(target=_count_and_die, args=(summary,))
    child.start()
    try:
        child.join(30)
        assert child.exitcode == -9
    finally:
        child.kill()
        child.join()
        child.close()
    totals = summary.totals()
    assert totals.all().answered == 1000
    late = Histogram()
    late.add(10**6, 1000)
    assert totals.late_ns == late


def test_another_memory_is_refused():
    """A descriptor of something else must not be counted into."""
    with pytest.raises(MirrorError, match="does not hold a summary"):
        Summary(os.memfd_create("other"))


def test_the_total_is_that_of_all_endpoints():
    """The row above all others."""
    parts = [EndpointTotals("GET /a", 2, 1, failed={"timeout": 1}), EndpointTotals("GET /b", 3, 3)]
    total = Totals({each.name: each for each in parts}).all()
    assert (total.requests, total.answered, total.failures) == (5, 4, 1)
    assert Counter(total.failed) == {"timeout": 1}
