"""Moments: times, and times after the first message."""

from emit.selection import EVERYTHING, Moment


def test_a_moment_may_be_counted_from_the_first_message():
    assert Moment(5).after(100) == 5
    assert Moment(5, relative=True).after(100) == 105


def test_everything_is_read_once_unless_somebody_says_otherwise():
    assert (EVERYTHING.loop, EVERYTHING.start, EVERYTHING.end, EVERYTHING.format) == (1, None, None, "auto")
