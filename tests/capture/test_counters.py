"""The page of counters: one writer, read from elsewhere, right to the last bit."""

import multiprocessing

import pytest

from capture.counters import MOST, Counters
from tests.capture import peers


def test_counters_of_another_process_are_read_here():
    """The supervisor reads them at any time without asking the child."""
    counters = Counters(("frames", "level"))
    process = multiprocessing.get_context("spawn").Process(target=peers.count, args=(counters,))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    assert counters.as_dict() == {"frames": 3, "level": 1 << 63}


def test_a_successor_adds_on():
    """The ledger of a run has to close although a child was restarted in between."""
    counters = Counters(("frames",))
    counters.add("frames")
    successor = Counters(("frames",), counters.fd)
    successor.add("frames", 2)
    assert counters["frames"] == 3
    del successor  # owns the descriptor now; the mapping stays ours
    counters.add("frames")
    assert counters["frames"] == 4


def test_names_must_differ_and_fit():
    """Two rows of the ledger in one cell, or one outside the page, would make it close by accident."""
    with pytest.raises(ValueError, match="differ"):
        Counters(("a", "a"))
    with pytest.raises(ValueError, match="at most"):
        Counters(f"n{at}" for at in range(MOST + 1))
    last = Counters(f"n{at}" for at in range(MOST))
    last.set(f"n{MOST - 1}", 7)
    assert sum(last.as_dict().values()) == 7


def test_an_unknown_name_is_an_error():
    """A misspelt counter that counts nowhere is a loss in silence."""
    counters = Counters(("frames",))
    with pytest.raises(KeyError):
        counters.add("frame")
    with pytest.raises(KeyError):
        counters.set("frame", 1)
    with pytest.raises(OverflowError):
        counters.set("frames", -1)
