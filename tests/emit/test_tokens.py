"""The words of an expression, and where they are."""

import pytest

from emit.tokens import MOST_CHARACTERS, WhereError, tokens


def test_every_word_knows_its_place():
    """Errors point at characters, counted from 1 as editors do."""
    found = tokens(" method=='GET'and  (size>=10)")
    assert [(each.kind, each.value, each.at) for each in found] == [
        ("word", "method", 2), ("sign", "==", 8), ("text", "GET", 10), ("word", "and", 15), ("sign", "(", 20),
        ("word", "size", 21), ("sign", ">=", 25), ("number", "10", 27), ("sign", ")", 29), ("end", "", 30),
    ]  # fmt: skip


def test_text_is_as_it_is_written():
    """A regular expression is full of backslashes: none of them is taken away."""
    assert [each.value for each in tokens(r"""'\d\\' "it's" 'é"' """)] == [r"\d\\", "it's", 'é"', ""]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path ~ 'x", "text without its closing quote at character 8; write ' at its end"),
        ("path = 'x'", "a single = at character 6; write =="),
        ("a && b", "& at character 3; write and"),
        ("a | b", "| at character 3; write or"),
        ("!complete", "a single ! at character 1; write not"),
        ("path ~ ü", "'ü' is no part of an expression at character 8; write text in quotes"),
    ],
)
def test_what_cannot_be_read_is_said_with_its_place(text: str, message: str):
    """What people know from other languages is answered with how it is written here."""
    with pytest.raises(WhereError) as caught:
        tokens(text)
    assert str(caught.value) == message


def test_a_very_long_expression_is_refused_before_it_is_read():
    """A configuration may be made by a program that went wrong."""
    with pytest.raises(WhereError, match="write at most 16384"):
        tokens("x" * (MOST_CHARACTERS + 1))
