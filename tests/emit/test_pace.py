"""The schedule of a replay: one for all workers, at any speed, rate and ramp."""

import os
from multiprocessing import get_context
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capture.errors import MirrorError
from emit.pace import Pace

NS = 1_000_000_000
CAPTURED = 1_700_000_000 * NS


@given(st.floats(0.1, 1000), st.lists(st.integers(0, 3600 * NS), min_size=1, max_size=20))
def test_a_speed_keeps_the_captured_distances(speed: float, offsets: list[int]):
    pace = Pace.create(speed=speed)
    first = pace.due_ns(CAPTURED, 5 * NS)
    assert first == 5 * NS, "the first is due at once"
    for offset in offsets:  # in any order, whatever the clock says meanwhile
        assert pace.due_ns(CAPTURED + offset, 77 * NS) - first == pytest.approx(offset / speed, abs=1000, rel=1e-9)


def test_what_was_captured_before_the_first_is_overdue():
    pace = Pace.create(speed=2)
    assert pace.due_ns(CAPTURED, 5 * NS) - pace.due_ns(CAPTURED - NS, 6 * NS) == NS // 2


def test_a_rate_does_not_look_at_captured_times():
    pace = Pace.create(rate=4)
    assert [pace.due_ns(CAPTURED - each, 5 * NS) for each in range(5)] == [5 * NS + each * NS // 4 for each in range(5)]


@pytest.mark.parametrize("how", ["speed", "rate"])
def test_a_ramp_rises_from_nothing_to_the_whole(how: str):
    """Over the ramp half as much is done as at the whole speed or rate, a quarter of that in its first half."""
    pace = Pace.create(**{how: 100.0}, ramp_s=10.0)
    done = 0 if how == "rate" else CAPTURED
    times = []
    for _each in range(2000):
        times.append((pace.due_ns(done, NS) - NS) / NS)
        done += NS  # at speed 100: a hundredth of a second
    assert times == sorted(times)
    assert sum(at < 5 for at in times) == pytest.approx(125, abs=1)
    assert sum(at < 10 for at in times) == pytest.approx(500, abs=1)
    assert times[1500] - times[1400] == pytest.approx(1.0)


def test_without_speed_and_rate_everything_is_due():
    pace = Pace.create()
    assert not pace.timed
    assert [pace.due_ns(CAPTURED + each * NS, each) for each in (5, 3, 9)] == [5, 3, 9]


def _ask(pace: Pace, answers: Any) -> None:
    answers.put([pace.due_ns(CAPTURED + NS, 1000 * NS) for _each in range(3)])


@pytest.mark.parametrize(("how", "expected"), [({"speed": 1.0}, [6, 6, 6]), ({"rate": 1.0}, [6, 7, 8])])
def test_a_worker_joins_the_schedule_that_another_began(how: dict[str, float], expected: list[int]):
    context = get_context("spawn")
    pace, answers = Pace.create(**how), context.SimpleQueue()
    assert pace.due_ns(CAPTURED, 5 * NS) == 5 * NS
    child = context.Process(target=_ask, args=(pace, answers))
    child.start()
    try:
        assert answers.get() == [each * NS for each in expected]
    finally:
        child.join()
        child.close()


def test_what_is_no_schedule_is_refused():
    with open("/dev/null") as file, pytest.raises(MirrorError):
        Pace(os.dup(file.fileno()), 1, 0, 0)
