"""The token bucket, with a clock that the test moves; tokens are seen through a sieve, as outputs see them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capture.ring import Consumer
from emit.bucket import Bucket
from emit.sieve import Sieve
from emit.verdicts import Verdicts
from tests.emit.builders import request, ring_of


def allowed(bucket: Bucket, asked: int) -> int:
    """Return how many of so many requests get a token now."""
    consumer = Consumer(ring_of([request(number) for number in range(asked)]))
    return Sieve(consumer, None, Verdicts.create(), None, bucket).count_messages(0, consumer.head)[0]


@given(st.lists(st.tuples(st.floats(0, 2.5), st.integers(0, 20)), max_size=30))
def test_traffic_with_no_second_over_the_limit_loses_nothing(steps: list[tuple[float, int]]):
    """It comes in bursts: a page and all that is on it."""
    bucket, now_s, seen = Bucket(20, False), 100.0, [(0.0, 0)]
    for wait_s, asked in steps:
        now_s += wait_s
        bucket.tick(now_s)
        fits = min(asked, 20 - sum(count for at_s, count in seen if at_s > now_s - 1))
        assert allowed(bucket, fits) == fits
        seen.append((now_s, fits))


def test_what_waits_comes_evenly():
    """A tenth of a second's worth at once is the most."""
    assert (Bucket(100, True).most, Bucket(3, True).most, Bucket(100, False).most) == (10, 1, 100)


@given(rate=st.floats(0.05, 500), steps=st.lists(st.tuples(st.floats(0, 3), st.integers(0, 40)), max_size=30))
def test_no_stretch_of_time_has_more_than_rate_and_bucket(rate: float, steps: list[tuple[float, int]]):
    """The promise of the limit, for any stretch of any traffic."""
    bucket, now_s, taken = Bucket(rate, False), 100.0, []
    for wait_s, asked in steps:
        now_s += wait_s
        bucket.tick(now_s)
        taken.append((now_s, allowed(bucket, asked)))
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            stretch_s = taken[last][0] - taken[first][0]
            assert sum(count for _, count in taken[first : last + 1]) <= bucket.most + stretch_s * rate + 1e-6


def test_a_clock_that_does_not_move_gives_nothing():
    """Outputs call more often than clocks tick."""
    bucket = Bucket(10, False)
    bucket.tick(3.0)
    assert allowed(bucket, 50) == 10
    for _ in range(100):
        bucket.tick(3.0)
        bucket.tick(2.0)
    assert allowed(bucket, 50) == 0
    assert bucket.next_s() == pytest.approx(3.1)
    bucket.tick(bucket.next_s())
    assert allowed(bucket, 50) == 1
