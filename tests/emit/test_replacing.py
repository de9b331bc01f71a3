"""Patterns and what takes their place: the same as Python's `re` where both know a pattern, and always quick."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emit.replacing import Replacement, check_pattern, check_template

PATTERNS = [r"^/v1/(.*)", r"(a)|(b)", r"x*", r"(?P<name>\d+)-(\w)", r"\bq=[^&]*", r"(?i)secret", r"é"]
TEMPLATES = [r"", r"/v2/\1", r"<\g<0>>", r"\\", "ü\\1"]


@given(st.sampled_from(PATTERNS), st.sampled_from(TEMPLATES), st.text("abxq=&/v12-é SECRET").map(str.encode))
def test_it_replaces_what_re_replaces(pattern: str, template: str, value: bytes):
    """People know Python's; where RE2 has the same syntax it has to mean the same."""
    compiled = re.compile(pattern.encode())
    if compiled.groups == 0 and "\\1" in template:
        return
    assert Replacement(pattern, template)(value) == compiled.sub(template.encode(), value)


def test_groups_by_name_and_bytes_that_are_no_text():
    """Traffic is bytes; a group that took no part is empty."""
    assert Replacement(r"(?P<first>\w+) (.*)", r"\2 \g<first>")(b"one \xff\xfe") == b"\xff\xfe one"
    assert Replacement("(a)|(b)", r"[\1\2]")(b"ab\x00") == b"[a][b]\x00"
    assert Replacement("zz", "y")(b"unchanged") == b"unchanged"


def test_no_pattern_takes_long():
    """A pattern that would keep other engines busy for ever must not stop a worker."""
    begun_s = time.monotonic()
    assert Replacement("(a+)+(a|aa)*b", "x")(b"a" * 1_000_000) == b"a" * 1_000_000
    assert time.monotonic() - begun_s < 5


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("(a", "missing )"),
        ("(a)\\1", "invalid escape"),
        ("a(?=b)", "invalid perl operator"),
        ("*", "no argument"),
        ("(\na", "missing )"),
    ],
)
def test_what_is_no_pattern_is_refused(pattern: str, said: str):
    """The operator reads why, and what kind of pattern is wanted."""
    with pytest.raises(ValueError, match=re.escape(said)) as error:
        check_pattern(pattern)
    assert str(error.value).endswith("write one as RE2 takes it")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (r"\2", r"there is no group \2; the pattern has 1 group"),
        (r"\g<who>", r"there is no group \g<who>"),
        (r"\n", r"\n means nothing"),
        ("a\\", "\\ means nothing"),
    ],
)
def test_a_group_that_is_not_there_is_refused(template: str, said: str):
    """Found when the configuration is read, not when the first message comes."""
    with pytest.raises(ValueError, match=re.escape(said)):
        check_template("(a)", template)
    assert check_template("(a)", r"\1\0") == r"\1\0"
