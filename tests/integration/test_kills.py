"""Kills at random, over the processes of two pipelines (tests/torture/kills.py), as far as there is time for it."""

import pytest

from tests.namespace import needs_root
from tests.torture.kills import Toll, torture, torture_live

SOON_S = 5
"""A second on a machine of one's own."""


def check(toll: Toll) -> None:
    """Whoever was killed is back, and soon; that there were enough of them shows that this tests something."""
    assert toll.restarts > toll.killed.total() / 2
    assert toll.messages > 1000
    assert max(map(max, toll.back_s.values())) < SOON_S


@pytest.mark.parametrize("seed", [8, 13])
def test_killed_at_random_everything_that_reached_a_ring_arrives_once(tmp_path, seed):
    """Nothing twice, both ledgers close, and what is missing is what the assembler had when it was killed."""
    toll = torture(tmp_path, 8, seed)
    assert toll.killed["capture of files"]
    assert bool(toll.killed["assembler"]) == (seed == 8)
    check(toll)


@needs_root
@pytest.mark.parametrize("lanes", [1, 2])
def test_killed_at_random_a_live_mirror_goes_on_and_says_what_it_missed(tmp_path, lanes):
    """The captures too: time in which nobody looked is counted, and what is said afterwards arrives."""
    toll = torture_live(tmp_path, 8, 13, lanes)
    assert toll.killed["capture of live"]
    assert toll.lost["blind_ms"] > 0
    check(toll)
