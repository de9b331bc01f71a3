"""The ledger as people see it: on a terminal, in a log, in a pipe."""

from pipeline import ledger, report
from pipeline.ledger import Equation, Ledger, Tally

GOOD = Ledger(
    (Equation("frames captured", 1234567, {"decoded": 1234500, "refused: not ip": 67, "none": 0}),),
    {},
    Tally(),
)
BAD = Ledger(
    (Equation("frames captured", 10, {"decoded": 7}), Equation("messages", 1, {"complete": 2})),
    {"gaps": 3},
    Tally(),
)


def test_places_stand_aligned_under_their_total():
    """Columns of digits can be added up by eye."""
    lines = report.plain(GOOD).splitlines()
    assert lines[:3] == [
        "frames captured         1,234,567  closes",
        "    decoded             1,234,500",
        "    refused: not ip            67",
    ]
    assert lines[3:] == ["the ledger closes; nothing was lost"]


def test_what_does_not_close_says_by_how_much():
    """Too many is as wrong as too few."""
    lines = [" ".join(line.split()) for line in report.plain(BAD).splitlines()]
    assert lines[:3] == ["frames captured 10 DOES NOT CLOSE", "decoded 7", "in flight 3 in no counted place"]
    assert lines[3:6] == ["messages 1 DOES NOT CLOSE", "complete 2", "counted twice 1"]
    assert lines[6:] == ["the ledger DOES NOT CLOSE; lost: 3 gaps"]


def test_the_table_of_a_terminal_says_the_same():
    """Colours and lines, but every number."""
    table = report.coloured(BAD, 80)
    assert "\x1b[" in table
    assert "in flight" in table
    assert "DOES NOT CLOSE" in table
    assert max(len(line) for line in report.coloured(GOOD, 60).splitlines()) < 200


def test_a_ledger_without_equations_can_be_shown():
    """A run that failed before it began."""
    assert report.plain(ledger.build(Tally())) == "the ledger closes; nothing was lost"
