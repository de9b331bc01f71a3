"""What the tables of a configuration have in common."""

from typing import Annotated

import pytest
from pydantic import TypeAdapter, ValidationError

from pipeline.table import CombinationError, Table, as_tuple, checked


class Some(Table):
    """A table with one key."""

    number: int = 1


def test_a_table_takes_no_unknown_key_and_no_other_type():
    """A slip of the pen would change nothing, in silence."""
    for wrong in ({"numbre": 2}, {"number": "2"}):
        with pytest.raises(ValidationError):
            Some.model_validate(wrong)
    with pytest.raises(ValidationError):
        Some().number = 2  # type: ignore[misc]


def test_one_text_stands_for_a_list_of_one():
    """As people write it."""
    assert (as_tuple("a"), as_tuple(["a", "b"]), as_tuple(3)) == (("a",), ("a", "b"), 3)
    error = CombinationError("output.0", 5, "advice")
    assert (error.key, error.value, str(error)) == ("output.0", 5, "advice")


def test_a_checked_text_is_kept_as_it_was_written():
    """What is shown again is what the user wrote; the reader only says if it can be read."""
    number = TypeAdapter(Annotated[str, checked(int)])
    assert number.validate_python("007") == "007"
    with pytest.raises(ValidationError, match="invalid literal"):
        number.validate_python("seven")
