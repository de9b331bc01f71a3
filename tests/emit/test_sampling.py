"""What a sample is chosen by: what can be written, and what is said about what cannot."""

import pytest

from emit.sampling import NAMED, WANTED, WORDS, parse_by
from emit.tokens import WhereError
from emit.where import NAMED as FIELDS_WITH_NAMES


@pytest.mark.parametrize(
    ("text", "by"),
    [
        *((word, (word, "")) for word in WORDS),
        ("header('X-User')", ("header", "X-User")),
        (' cookie( "sid" ) ', ("cookie", "sid")),
        ("param('user id')", ("param", "user id")),
    ],
)
def test_it_is_a_word_or_a_field_with_a_name(text, by):
    """Fields are written as in `where`, so that nobody has to learn a second way."""
    assert parse_by(text) == by
    assert set(NAMED) == set(FIELDS_WITH_NAMES)


@pytest.mark.parametrize(
    "text",
    [
        "", "user", "flow client", "header", "header x", "header('')", "header(x)", "header('a') or 1", "flow('x')",
        "header'x'()", "path", "header('a'))", "'flow'",
    ],
)  # fmt: skip
def test_anything_else_is_refused_with_its_place_and_what_to_write(text):
    """A sample by something else than was meant looks right, and is not."""
    with pytest.raises(WhereError, match="at character 1; ") as caught:
        parse_by(text)
    assert str(caught.value).endswith(WANTED)
    assert all(word in WANTED for word in (*WORDS, *NAMED))
