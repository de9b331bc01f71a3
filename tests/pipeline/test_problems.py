"""Wording of what is wrong: the parts that the whole lines in test_settings do not show."""

import pytest
from pydantic import ValidationError

from pipeline.config import Config
from pipeline.problems import describe, show


def test_an_unknown_key_is_told_before_the_key_that_it_was_meant_to_be():
    """`adress` is both unknown and the reason why `address` is missing."""
    with pytest.raises(ValidationError) as caught:
        Config.model_validate({"input": {"type": "pcap", "path": "a"}, "output": [{"type": "tcp", "adress": "h:1"}]})
    key, line = describe(caught.value)
    assert key == "output.0.adress"
    assert line == "output.0.adress: unknown key; did you mean address? (and 1 more)"


def test_values_are_shown_as_they_could_stand_in_the_file_and_not_at_length():
    """A pasted megabyte is still one line."""
    assert show("two\nlines") == '"two\\nlines"'
    assert show(["ä", 1, True]) == '["ä", 1, true]'
    assert len(show("x" * 1000)) == 60


def test_a_key_that_is_not_bare_is_in_quotes():
    """Found by fuzzing: a line feed in a key made two lines of the error."""
    with pytest.raises(ValidationError) as caught:
        Config.model_validate({"input": {"type": "pcap", "path": "a", "two\nlines": 1}, "output": [{"type": "null"}]})
    assert describe(caught.value)[1].startswith('input."two\\nlines": unknown key; ')
