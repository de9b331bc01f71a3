"""Times moved: gaps that are too long, rounds, moments."""

from hypothesis import given
from hypothesis import strategies as st

from assemble.message import read_message
from emit.building import entry_of, record_of
from emit.selection import Moment
from emit.source import Entry
from emit.timeline import LONE_NS, Gaps, Rounds
from tests.emit.builders import request, response


def entry(number: int, first_ns: int, last_ns: int | None = None) -> Entry:
    """Make an entry of a message with these times."""
    made = request(number, first_ns=first_ns, last_ns=first_ns if last_ns is None else last_ns)
    return entry_of(record_of(made))


@given(times=st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 300)), max_size=30), longest=st.integers(1, 60))
def test_no_gap_is_longer_and_nothing_else_changes(times: list[tuple[int, int]], longest: int):
    """The slow way: every nanosecond that lies too far behind the latest message is taken out."""
    ordered = sorted(((first, first + size) for first, size in times), key=lambda each: each[1])
    gaps = Gaps(longest)
    moved = [gaps.moved(entry(at, *each)) for at, each in enumerate(ordered)]
    seen: list[tuple[int, int]] = []
    for now, (first, last) in zip(moved, ordered, strict=True):
        seen.append((first, last))
        kept = {ns for ns in range(1400) if alive(ns, seen, longest)}
        origin = seen[0][0]
        assert now.last_ns - moved[0].first_ns == span(kept, origin, last)
        assert now.first_ns <= now.last_ns
        assert (now.first_ns, now.last_ns) == (read_message(now.record).first_ns, read_message(now.record).last_ns)


def alive(ns: int, seen: list[tuple[int, int]], longest: int) -> bool:
    """Whether a moment stays: not more than `longest` after the latest message, before the next came."""
    latest = None
    for first, last in seen:
        if latest is not None and latest + longest <= ns < first:
            return False
        latest = last if latest is None else max(latest, last)
    return True


def span(kept: set[int], begin: int, end: int) -> int:
    """Return how much of the time between two moments is left, negative backwards."""
    size = sum(ns in kept for ns in range(min(begin, end), max(begin, end)))
    return size if end >= begin else -size


def test_without_a_limit_nothing_moves():
    """Not even a copy is made."""
    one = entry(1, 10)
    assert Gaps(None).moved(one) is one


def test_time_goes_on_and_ids_differ_from_round_to_round():
    """A request and its response still share theirs."""
    rounds = Rounds()
    pair = [record_of(request(7, first_ns=100, last_ns=110)), record_of(response(7, first_ns=120, last_ns=150))]
    seen = []
    for _number in range(3):
        seen.append([read_message(rounds.placed(entry_of(each)).record) for each in pair])
        assert rounds.next()
    assert [[each.first_ns for each in both] for both in seen] == [[100, 120], [200, 220], [300, 320]]
    assert all(asked.id == answered.id for asked, answered in seen)
    assert len({asked.id for asked, _answered in seen}) == 3
    assert seen[0][0] == read_message(pair[0])
    assert [asked.replace(id=7, first_ns=100, last_ns=110) for asked, _ in seen] == [read_message(pair[0])] * 3


def test_rounds_of_one_message_are_a_second_apart():
    """It has no distance of its own."""
    rounds = Rounds()
    rounds.placed(entry(1, 5))
    assert rounds.next()
    assert rounds.placed(entry(1, 5)).first_ns == 5 + LONE_NS


def test_rounds_end_where_there_is_nothing_or_no_time_left():
    """Else the one would turn for ever, and the other overflow."""
    assert not Rounds().next()
    rounds = Rounds()
    rounds.placed(entry(1, 0, 2**61))
    assert [rounds.next() for _round in range(3)] == [True, True, False]


def test_a_moment_is_a_time_or_counts_from_the_first_message():
    """As people name it."""
    assert (Moment(5).after(100), Moment(5, True).after(100)) == (5, 105)
