"""Names of files by time and number: the same message has the same one everywhere."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emit.rotation import ALWAYS, DIRECTIVES, Names

NOON_NS = 1_769_860_800 * 10**9  # 2026-01-31T12:00:00Z, a Saturday


@pytest.mark.parametrize(
    ("path", "every_s", "name", "seconds"),
    [
        ("rec/%Y-%m-%d/%H%M.rec", None, "rec/2026-01-31/1217.rec", 60),
        ("%F.jsonl", None, "2026-01-31.jsonl", 86400),
        ("%H.rec", None, "12.rec", 3600),
        ("%F-%H%M.rec", 900, "2026-01-31-1215.rec", 900),
        ("%T", None, "12:17:42", 1),
        ("%Y", None, "2026", 86400),
        ("100%%-%j.rec", None, "100%-031.rec", 86400),
    ],
)
def test_a_name_is_for_a_stretch_of_time(path: str, every_s: float | None, name: str, seconds: int):
    """As long as it says the same, or as it is asked for."""
    names = Names(path, every_s)
    begin, end = names.window(NOON_NS + (17 * 60 + 42) * 10**9 + 5)
    assert (end - begin) // 10**9 == seconds
    assert begin % (seconds * 10**9) == 0
    assert names.by_time
    assert names.path(begin) == name


def test_without_directives_there_is_one_name():
    """A percent sign is written twice."""
    names = Names("a%%b.rec")
    assert not names.by_time
    assert names.window(5) == ALWAYS
    assert names.path(ALWAYS[0]) == "a%b.rec"


@pytest.mark.parametrize("path", ["%", "a%.rec", "%Q", "%s", "%-d", "%\n"])
def test_unknown_directives_are_named(path: str):
    """Else one would find a percent sign in the name, or what the platform makes of it."""
    with pytest.raises(ValueError, match="is none of %Y"):
        Names(path)


@given(ns=st.integers(*ALWAYS), directive=st.sampled_from(sorted(DIRECTIVES)))
def test_any_time_has_a_name(ns: int, directive: str):
    """Clocks of captures may be anywhere; all times of a stretch have the same name."""
    names = Names(f"%{directive}")
    begin, end = names.window(ns)
    assert begin <= ns <= end
    moment = datetime.fromtimestamp(ns // 10**9, UTC)
    assert names.path(begin) == moment.strftime(f"%{directive}")


@given(number=st.integers(0, 10**8), path=st.sampled_from(["a.rec", "d.e/a", "a.b.rec", ".rec", "%Y.rec"]))
def test_numbers_are_found_again(number: int, path: str):
    """A run that starts again goes on where the last one ended."""
    names = Names(path)
    name = names.path(NOON_NS, number).rpartition("/")[2]
    assert names.number(NOON_NS, name) == number
    for other in (f"{name}x", f"x{name}", "a.01.rec", "a.-1.rec", "a..rec", "a.\u0661.rec"):
        assert names.number(NOON_NS, other) == -1


@pytest.mark.parametrize(
    ("path", "fixed"),
    [("a/b/%Y/%m.rec", "a/b"), ("%Y/a/b", "."), ("/x/%%/%d", "/x/%"), ("a/b.rec", "a")],
)
def test_what_does_not_depend_on_time_can_be_looked_at_before(path: str, fixed: str):
    """Whether anything can be written there."""
    assert Names(path).fixed == fixed
