"""Hostile traffic, a moment of each; `python -m tests.torture --minutes 60 floods` goes on for longer."""

import pytest

from tests.torture.floods import MIB, SLOWEST, pace, survive
from tests.torture.hostile_frames import ATTACKS

FRAMES = 30_000
MEMORY = 6 * MIB


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_harms_nobody_but_itself(name: str):
    """Every honest message comes as without it, memory and time stay bounded, and the ledger closes."""
    times, outcome = pace(name, FRAMES, MEMORY)
    print(outcome)
    assert times < SLOWEST


@pytest.mark.parametrize("name", ["syns", "endless_messages", "unanswered", "truncations"])
def test_a_whole_run_survives_an_attack(name: str):
    """The same with real processes, from a file."""
    print(survive(name, FRAMES, MEMORY))
