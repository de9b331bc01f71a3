"""When a child that has died is started again: at once, then later and later, and not for ever."""

import signal

import pytest

from capture.child import BUG_EXIT_CODE, EventQueue
from capture.counters import Counters
from capture.ring import Consumer, Producer, Ring
from pipeline.restarts import MOST_DEATHS, Deaths, of_itself, reached
from pipeline.wiring import Stage


def test_a_child_that_gets_on_is_started_again_at_once_every_time():
    """A thousand kills from outside are no reason to give up."""
    deaths = Deaths()
    waits = [deaths.note(reached=at, lived_s=0.1) for at in range(1000)]
    assert set(waits) == {0.05}
    assert deaths.total == 1000


def test_a_child_that_gets_nowhere_waits_longer_each_time_and_is_given_up():
    """Or it would burn a core for ever, and the run would never end."""
    deaths = Deaths()
    waits = [deaths.note(7, 0.1) for _ in range(MOST_DEATHS)]
    assert waits == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, None]


def test_a_long_life_is_a_new_beginning():
    """An idle process has nothing to get on with."""
    deaths = Deaths()
    for _ in range(3 * MOST_DEATHS):
        assert deaths.note(7, 11.0) == 0.05


@pytest.mark.parametrize(
    ("code", "own"),
    [(BUG_EXIT_CODE, True), (3, True), (-signal.SIGSEGV, True), (-signal.SIGABRT, True), (-signal.SIGKILL, False)],
)
def test_who_is_killed_from_outside_did_not_die_of_itself(code, own):
    """What it was working on is not to blame."""
    assert of_itself(code) is own


def test_progress_is_what_passes_through_the_rings():
    """Whatever a stage reads or writes."""
    rings = [Ring.create(4096) for _ in range(2)]
    stage = Stage("x", print, None, EventQueue(), Counters(("a",)), writes=(rings[0],), reads=(rings[1],))
    before = reached(stage)
    Producer(rings[0]).put(2, b"written")
    Producer(rings[1]).put(2, b"not released yet")
    written = reached(stage)
    Consumer(rings[1]).release(Consumer(rings[1]).head)
    assert before < written < reached(stage)
