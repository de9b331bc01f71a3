"""Kills at random, over the processes of two pipelines (tests/torture/kills.py), as far as there is time for it."""

import pytest

from tests.torture.kills import torture


@pytest.mark.parametrize("seed", range(2))
def test_killed_at_random_everything_that_reached_a_ring_arrives_once(tmp_path, seed):
    """Nothing twice, nothing missing, both ledgers close, and whoever died is back within a second."""
    result = torture(tmp_path, 20, seed)
    assert result.restarts > 5
    assert result.messages > 1000
    assert result.longest_s < 5, "a second on a machine of one's own"
