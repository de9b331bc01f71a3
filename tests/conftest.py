"""What all tests share: processes that end with a test, and the hypothesis profiles.

`fast` is the default: the same examples every time, and a failure is shown as it was found.  RINGTAP_HYPOTHESIS=deep
looks much longer, elsewhere every time, and shrinks what it finds.
"""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, settings

from tests.emit.processes import Processes

settings.register_profile(
    "fast",
    max_examples=60,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.generate],
)
settings.register_profile("deep", max_examples=3000, deadline=None, suppress_health_check=list(HealthCheck))
settings.load_profile(os.environ.get("RINGTAP_HYPOTHESIS", "fast"))


@pytest.fixture
def processes() -> Iterator[Processes]:
    """Start workers and receivers; whatever still runs at the end is killed."""
    made = Processes()
    yield made
    made.end()
