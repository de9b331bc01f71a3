"""What the tables of a configuration have in common.

In: the maps that TOML gives.  Out: base classes and types.
"""

from collections.abc import Callable
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

SomeText = Annotated[str, Field(min_length=1)]


class Table(BaseModel):
    """A TOML table: frozen, no unknown keys, no silent conversions."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class CombinationError(ValueError):
    """Two keys that cannot go together; `key` is where to change something."""

    def __init__(self, key: str, value: object, advice: str) -> None:
        super().__init__(advice)
        self.key = key
        self.value = value


def as_tuple(value: object) -> object:
    """Take a list, or one value for a list of one."""
    if isinstance(value, list):
        return tuple(value)
    return (value,) if isinstance(value, str) else value


def checked(read: Callable[[str], object]) -> AfterValidator:
    """Return what keeps a text as it is, if it can be read; the reader's `ValueError` says what is wrong with it."""

    def check(value: str) -> str:
        read(value)
        return value

    return AfterValidator(check)
