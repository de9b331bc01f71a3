"""Log lines under a flood: few, and the rest counted."""

import logging

from emit.sparing import MOST, Sparing


def record(at_s: float, level: int = logging.WARNING, name: str = "emit.receiver") -> logging.LogRecord:
    """Make a record of that time."""
    made = logging.LogRecord(name, level, "", 0, "text", (), None)
    made.created = at_s
    return made


def test_the_first_are_written_and_then_one_a_second():
    """A million bad connections must not fill the disk; a dozen are to be seen one by one."""
    sparing = Sparing()
    passed = [sparing.filter(record(100.0 + number / 1000)) for number in range(10_000)]
    assert all(passed[:MOST])
    assert sum(passed) in range(MOST + 9, MOST + 11)
    assert sparing.left_out == 10_000 - sum(passed)


def test_quiet_times_make_it_generous_again():
    """Who looks at one bad client a minute sees each of them."""
    sparing = Sparing()
    assert all(sparing.filter(record(60.0 * number)) for number in range(1000))
    assert sparing.left_out == 0


def test_a_clock_set_back_does_no_harm():
    """Records have the time of the wall clock."""
    sparing = Sparing()
    assert all(sparing.filter(record(1000.0 - number)) for number in range(MOST))
    assert not sparing.filter(record(0.0))
    assert sparing.filter(record(1.5))


def test_errors_and_news_are_never_left_out():
    """They are not what a client can cause at will."""
    sparing = Sparing()
    for _ in range(2 * MOST):
        sparing.filter(record(1.0))
    assert sparing.filter(record(1.0, logging.ERROR))
    assert sparing.filter(record(1.0, logging.INFO))


def test_how_many_were_left_out_is_said_once(caplog):
    """The count is the log line that stands for them; it is written also while there are too many."""
    sparing = Sparing()
    for _ in range(MOST + 7):
        sparing.filter(record(1.0))
    sparing.tell()
    sparing.tell()
    assert [entry.getMessage() for entry in caplog.records] == ["7 more warnings are left out"]
    assert all(sparing.filter(entry) for entry in caplog.records)
