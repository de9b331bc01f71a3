"""The histogram against sorted lists."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emit.histogram import Histogram

HOUR_NS = 3600 * 10**9
times = st.one_of(st.integers(1000, HOUR_NS), st.integers(3, 41).flatmap(lambda n: st.integers(2**n - 2, 2**n + 2)))
PERCENTS = (0, 1, 50, 90, 99, 99.9, 100)


def histogram_of(each: list[int]) -> Histogram:
    """Count times."""
    made = Histogram()
    for ns in each:
        made.add(ns)
    return made


@given(st.lists(times, min_size=1, max_size=60), st.one_of(st.sampled_from(PERCENTS), st.floats(0, 100)))
def test_a_percentile_is_that_of_the_sorted_list_to_a_hundredth(each: list[int], percent: float):
    """By the nearest rank: one of the times themselves, so a small sample is not made up."""
    rank = max(math.ceil(len(each) * percent / 100), 1)
    true = sorted(each)[rank - 1]
    found = histogram_of(each).percentile(percent)
    assert found is not None
    assert abs(found - true) <= max(0.01 * true, 0 if true >= 1000 else 1000)


@given(st.lists(st.lists(times, max_size=20), max_size=4), st.randoms())
def test_merging_is_counting_together(groups: list[list[int]], random: object):
    """Workers count for themselves, and end in any order."""
    together = histogram_of([ns for group in groups for ns in group])
    parts = [histogram_of(group) for group in groups]
    random.shuffle(parts)  # type: ignore[attr-defined]
    merged = Histogram()
    for part in parts:
        merged.merge(part)
    assert merged == together
    assert merged.count == sum(map(len, groups))


@pytest.mark.parametrize(("ns", "shown"), [(-5, 0), (0, 0), (511, 0), (-(2**63), 0), (2**63 - 1, 2**42 - 2**34)])
def test_what_is_out_of_range_is_counted_at_the_end(ns: int, shown: int):
    """A clock that was set back must not cost the run."""
    made = histogram_of([ns])
    assert made.count == 1
    assert made.percentile(50) == shown


def test_buckets_do_not_overlap_and_leave_no_gap():
    """The middle of each bucket is in it."""
    made = Histogram()
    for octave in range(9, 42):
        for step in range(64):
            made.add((64 + step) << octave >> 6)
    assert set(made.counts().values()) == {1}
    assert len(made.counts()) == 33 * 64
    again = histogram_of(list(made.counts()))
    assert again.counts() == made.counts()


def test_without_a_time_there_is_no_percentile():
    """Zero would be a very good one."""
    assert Histogram().percentile(50) is None
    assert Histogram() != 0
    assert repr(histogram_of([1_000_000])).startswith("Histogram({")
