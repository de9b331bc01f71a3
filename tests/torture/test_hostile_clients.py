"""Hostile clients, a moment of each; `python -m tests.torture.hostile_clients MINUTES` goes on for longer."""

import pytest

from tests.torture.attacks import ATTACKS
from tests.torture.hostile_clients import suffer

SECONDS = 1.5


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_harms_nobody_but_itself(name: str):
    """Memory, log and the waiting of honest clients stay bounded; what is hostile is closed or refused, and counted."""
    print(suffer(name, SECONDS, 1))
