"""What the tables of a configuration have in common."""

import pytest
from pydantic import ValidationError

from pipeline.table import CombinationError, Table, as_tuple


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
