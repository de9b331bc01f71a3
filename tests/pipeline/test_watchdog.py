"""Whoever shows no sign of life hangs; who was stopped together with the supervisor does not."""

from pipeline.watchdog import Pulse


def test_silence_adds_up_and_a_sign_of_life_ends_it():
    """The limit is on time without one, not on time between looks."""
    pulse = Pulse(5, 100.0)
    assert [pulse.look(5, 100.0 + at) for at in (0.25, 0.5, 1.0)] == [0.25, 0.5, 1.0]
    assert not pulse.works
    assert pulse.look(6, 101.5) == 0.0
    assert pulse.works


def test_time_in_which_nobody_looked_is_held_against_nobody():
    """A machine that slept for an hour wakes up with all of its processes alive."""
    pulse = Pulse(5, 100.0)
    assert pulse.look(5, 3700.0) == 1.0
