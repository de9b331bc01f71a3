"""When a target that is not there is tried again, and when nothing waits for it any more."""

from hypothesis import given
from hypothesis import strategies as st

from emit.breaker import MOST_NS, Breaker

NS = 1_000_000_000


def test_a_target_is_taken_to_be_there():
    breaker = Breaker(15 * NS)
    assert breaker.may_try(0, trying=99)
    assert (breaker.down, breaker.broken) == (False, False)


@given(st.integers(0, 60 * NS), st.integers(1, 200))
def test_attempts_back_off_and_never_end(retry_ns: int, attempts: int):
    breaker, now = Breaker(retry_ns), 0
    for _each in range(attempts):
        breaker.failed(now)
        assert breaker.down
        assert not breaker.may_try(now, trying=0), "not at once again"
        assert breaker.broken == (now >= retry_ns)
        assert 0 < breaker.next_ns - now <= MOST_NS
        now = breaker.next_ns
        assert breaker.may_try(now, trying=0)
        assert not breaker.may_try(now, trying=1), "one at a time"


def test_one_connection_makes_good_for_all_failures():
    breaker = Breaker(NS)
    for second in range(9):
        breaker.failed(second * NS)
    assert breaker.broken
    breaker.reached()
    assert (breaker.down, breaker.broken, breaker.may_try(9 * NS, trying=5)) == (False, False, True)
    breaker.failed(10 * NS)
    assert breaker.next_ns - 10 * NS <= 100_000_000, "waits are short again"
    assert not breaker.broken
