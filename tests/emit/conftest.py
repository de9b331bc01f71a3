"""What the tests of emit share."""

from collections.abc import Iterator

import pytest

from tests.emit.processes import Processes


@pytest.fixture
def processes() -> Iterator[Processes]:
    """Start workers and receivers; whatever still runs at the end is killed."""
    made = Processes()
    yield made
    made.end()
