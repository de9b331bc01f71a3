"""Warnings about drops: each says how much, where, and what helps against this cause and no other."""

import pytest

from capture.ring import Ring, RingStats
from pipeline.advice import AGAIN_S, Advisor
from pipeline.ledger import Counts, Tally


def tally(output: int = 0, parts: dict[str, Counts] | None = None, **capture: int) -> Tally:
    """What a run counted so far."""
    return Tally(capture=capture, workers=({"output0_dropped": output},), outputs=("tcp h:1",), parts=parts or {})


def rings(stalls: int = 0) -> dict[str, RingStats]:
    """The rings of one lane, of which the message ring was full so many times."""
    empty = Ring.create(65536).stats()
    return {"frame ring": empty, "message ring 0": empty._replace(stalls=stalls)}


def test_nothing_dropped_is_nothing_said():
    """A warning that comes anyway is one that nobody reads."""
    advisor = Advisor()
    assert not list(advisor.look(tally(), rings(), 1.0))
    assert not list(advisor.look(tally(cpu_ms=900), rings(5), 2.0))


@pytest.mark.parametrize(("cpu_ms", "word"), [(1950, "input.lanes"), (1100, "input.buffer")])
def test_a_busy_capture_needs_lanes_and_an_idle_one_a_buffer(cpu_ms, word):
    """More buffer does not help who has no time, nor lanes who has."""
    advisor = Advisor()
    assert not list(advisor.look(tally(cpu_ms=1000), rings(), 1.0))
    (line,) = advisor.look(tally(cpu_ms=cpu_ms, frames_dropped_kernel=1200), rings(), 2.0)
    assert line.startswith("1,200 frames were dropped by the kernel: ")
    assert word in line


def test_the_busiest_of_several_captures_counts():
    """One lane may have the one large flow."""
    advisor = Advisor()

    def at(busy_ms: int) -> dict[str, Counts]:
        return {"capture 0": {"cpu_ms": 100}, "capture 1": {"cpu_ms": busy_ms}, "assembler 0": {"cpu_ms": 10**6}}

    assert not list(advisor.look(tally(parts=at(0)), rings(), 1.0))
    (line,) = advisor.look(tally(frames_dropped_kernel=1, parts=at(990)), rings(), 2.0)
    assert "input.lanes" in line


@pytest.mark.parametrize(("stalls", "word"), [(0, "the assembler cannot keep up"), (3, "waits for an output")])
def test_a_full_frame_ring_is_told_from_a_slow_output_behind_it(stalls, word):
    """The ring that is full is not always the one that is at fault."""
    advisor = Advisor()
    assert not list(advisor.look(tally(), rings(), 1.0))
    (line,) = advisor.look(tally(frames_dropped_ring=7), rings(stalls), 2.0)
    assert "at the frame ring" in line
    assert word in line


def test_drops_of_the_interface_and_of_an_output_are_their_own():
    """Neither is helped by what helps the others."""
    lines = list(Advisor().look(tally(output=5, frames_dropped_interface=2), rings(), 1.0))
    assert "pipeline doctor" in lines[0]
    assert lines[1].startswith("5 messages were dropped at output 0: tcp h:1: ")


def test_answers_that_other_outputs_have_no_time_for_are_their_own_cause():
    """The output that replays is not at fault; the outputs of messages and of answers count together."""
    drops = {"answers_dropped": 9, "output0_dropped": 1}
    some = Tally(workers=(drops,), outputs=("tcp h:1",), answers=({"output0_dropped": 4},))
    messages, answers = Advisor().look(some, rings(), 1.0)
    assert messages.startswith("5 messages were dropped at output 0: tcp h:1: ")
    assert answers.startswith("9 answers were dropped on their way to other outputs: ")


def test_what_goes_on_is_said_again_but_not_every_second():
    """A log of a day must stay readable, and must still say how much."""
    advisor = Advisor()
    said = [line for at in range(1, 22) for line in advisor.look(tally(frames_dropped_ring=at), rings(), float(at))]
    assert [line.split()[0] for line in said] == ["1", str(round(AGAIN_S)), str(round(AGAIN_S))]


def test_successors_of_workers_begin_at_zero():
    """After a reload the count is smaller: what comes then is still said."""
    advisor = Advisor()
    assert list(advisor.look(tally(output=100), rings(), 1.0))
    assert not list(advisor.look(tally(output=0), rings(), 2.0))
    (line,) = advisor.look(tally(output=3), rings(), 2.0 + AGAIN_S)
    assert line.startswith("3 messages")
