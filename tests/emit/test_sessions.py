"""Telling repetitions from news, against a plain set."""

from hypothesis import given
from hypothesis import strategies as st

from emit.sessions import WINDOW, Sessions

numbers = st.lists(st.integers(0, 30), max_size=60)


@given(numbers)
def test_each_number_is_new_once(sequences: list[int]):
    """Taken twice, a message would be there twice; not at all, it would be lost.

    The first heard of need not be the first sent: a connection that was cut may be delivered after the next one.
    """
    sessions, seen = Sessions(4), set()
    for sequence in sequences:
        assert sessions.take(b"s", sequence) is (sequence not in seen)
        seen.add(sequence)
        assert sessions.gaps == max(seen) - min(seen) + 1 - len(seen)


@given(numbers, numbers)
def test_what_is_forgotten_is_new_again(taken: list[int], forgotten: list[int]):
    """Parts held for a connection that ended have to be accepted again."""
    sessions = Sessions(4)
    for sequence in [0, *taken]:
        sessions.take(b"s", sequence)
    for sequence in forgotten:
        sessions.forget(b"s", sequence)
    lost = set(forgotten) & {0, *taken}
    for sequence in sorted({0, *taken}):
        assert sessions.take(b"s", sequence) is (sequence in lost)


def test_gaps_are_counted():
    """Our senders skip no number: whatever is missing was lost on the way; what comes late after all is not."""
    sessions = Sessions(4)
    for sequence in (5, 6, 9, 7, 12):
        sessions.take(b"s", sequence)
    assert sessions.gaps == 3, "8, 10 and 11"


def test_sessions_do_not_mix_and_the_oldest_is_forgotten():
    """Memory is bounded by the number of senders."""
    sessions = Sessions(2)
    assert sessions.take(b"a", 1)
    assert sessions.take(b"b", 1)
    assert not sessions.take(b"a", 1)
    assert sessions.take(b"c", 1)
    assert sessions.take(b"b", 1), "b was heard of last of all, and is forgotten"


def test_an_enormous_gap_costs_bounded_memory():
    """A sequence number comes from the network."""
    sessions = Sessions(2)
    sessions.take(b"s", 0)
    sessions.take(b"s", 2**39)
    assert sessions.tracks[b"s"].holes.bit_length() <= WINDOW + 1
    assert sessions.take(b"s", 2**39 - 1)
    assert not sessions.take(b"s", 2**39 - 1)
    assert not sessions.take(b"s", 2**39)


@given(st.lists(st.one_of(st.integers(0, 30), st.integers(0, 3 * WINDOW), st.integers(2**39, 2**39 + 20)), max_size=40))
def test_nothing_that_never_came_is_taken_for_a_repetition(sequences: list[int]):
    """However the numbers leap: in doubt a chunk is new, as its sender forgets it when it is acknowledged."""
    sessions, seen = Sessions(1), set()
    for sequence in sequences:
        new = sessions.take(b"s", sequence)
        assert new or sequence in seen
        assert not new or sequence not in seen or max(seen) - sequence > WINDOW
        seen.add(sequence)


@given(st.integers(0, 2 * WINDOW), st.integers(0, 2 * WINDOW))
def test_what_is_forgotten_is_new_again_however_old(last: int, forgotten: int):
    """A chunk that waits for the rest of its message may be thousands of chunks old."""
    sessions = Sessions(1)
    for sequence in range(last + 1):
        sessions.take(b"s", sequence)
    sessions.forget(b"s", min(forgotten, last))
    assert sessions.take(b"s", min(forgotten, last))
