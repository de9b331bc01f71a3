"""Patterns that hostile traffic cannot make slow, and plain text that needs none."""

import time

import pytest

from emit.regex import SUBJECT_BYTES, compiled, plain, subject_bytes


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a*)*b", "(a|aa)+$", "^(/[a-z]+)*$", "(?>(a+)+)b", "((a?){2,40})+x"])
def test_a_repetition_in_a_repetition_is_refused(pattern: str):
    """Thirty bytes of a request would stop a worker for good."""
    with pytest.raises(ValueError, match=r"a repetition in a repetition.*; write"):
        compiled(pattern)


@pytest.mark.parametrize("pattern", [".*a.*b.*c.*d", "x?" * 30 + "x" * 30, "(.{0,30}){0,30}x", "(a|ab)(c|cd)" * 8])
def test_too_many_choices_are_refused(pattern: str):
    """Each is a factor on the time that one message takes."""
    with pytest.raises(ValueError, match=r"so many repetitions.*; begin"):
        compiled(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        "^/api/v[0-9]+/users/[0-9]+$", r"\.(png|jpe?g|gif|css|js)$", r"^\d{1,3}(\.\d{1,3}){3}$", "(?i)bearer .*",
        "^(/[a-z]++)*+$", "(?>a+)b", "^(?!/health).*", r"(['\"]).*\1",
    ],
)  # fmt: skip
def test_patterns_that_people_write_are_let_through(pattern: str):
    """A check that refuses everything is no help."""
    compiled(pattern)


@pytest.mark.parametrize(
    ("pattern", "subject"),
    [
        ("a.*b", b"a"), ("a.*b.*c", b"ab"), ("^a.*b.*c", b"ab"), (".*.*x", b"a"), ("^.*.*.*x", b"a"), ("a+b", b"a"),
        (r"^(?:a|b){0,8}.*x", b"ab"), (r"(a*)\1x", b"a"), ("(?m)^.*.*x", b"a"), ("(?m)^.*x", b"a\n"), ("[[a]+b", b"[a"),
    ],
)  # fmt: skip
def test_what_is_let_through_ends_soon_on_the_worst_subject(pattern: str, subject: bytes):
    """The subject is cut to what such a pattern can be given."""
    search, size = compiled(pattern), subject_bytes(compiled(pattern))
    begun_s = time.process_time()
    search.search((subject * size)[:size])
    assert time.process_time() - begun_s < 1.0


def test_a_pattern_that_can_go_back_on_more_sees_less():
    """One wildcard may look at 8 KiB; three at half a KiB."""
    assert [subject_bytes(compiled(each)) for each in ("^a.*b", "a.*b", "a.*b.*", "(?m)^a.*b.*", r"(a*)\1")] == [
        8192, 8192, 512, 512, 512,
    ]  # fmt: skip
    assert min(SUBJECT_BYTES.values()) == 512


def test_plain_text_is_told_from_a_pattern():
    """It is looked for without a regular expression, in all of a value."""
    assert plain("^/api/") == (b"/api/", True)
    assert plain("needle é") == ("needle é".encode(), False)
    assert plain("^") == (b"", True)
    for pattern in ("a.c", "a$", "a|b", r"a\b", "^^a", "[a]", "a{2}", "a?"):
        assert plain(pattern) is None


@pytest.mark.parametrize("pattern", ["(a", "[", "*", "a{4294967295}{9}", r"\u12", "(?P<é>a)"])
def test_what_is_no_pattern_is_said_in_one_line(pattern: str):
    """Whatever re makes of it, an error names what to write."""
    with pytest.raises(ValueError, match=r"^[^\n]+; write [^\n]+$"):
        compiled(pattern)


def test_a_deeply_nested_pattern_is_refused_or_compiled():
    """It must not end the process."""
    with pytest.raises(ValueError, match=r"too large|no regular expression"):
        compiled("(" * 5000 + "a" + ")" * 5000)
