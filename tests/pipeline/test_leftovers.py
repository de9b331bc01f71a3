"""What killed processes have left, without the processes: it is counted where it is found, and nothing else is."""

import os
from typing import Any

import pytest

from capture.child import EventQueue
from capture.counters import Counters
from capture.records import CAPTURE_COUNTERS
from capture.ring import Ring
from emit.records import READER_COUNTERS, OutputSpec, ReaderSpec, WorkerSpec, worker_counters
from pipeline import ledger
from pipeline.ledger import Ledger
from pipeline.leftovers import settle
from pipeline.wiring import Stage, Wiring
from tests.emit.builders import conversation, ring_of

NULL = OutputSpec("null", 0)


def worker(name: str, ring: Ring, **counted: int) -> Stage:
    """A worker that has counted so much."""
    counters = Counters(worker_counters(1))
    for counter, count in counted.items():
        counters.set(counter, count)
    spec = WorkerSpec(os.getpid(), 20, EventQueue(), counters, ring, 0, 1, (NULL,))
    return Stage(name, print, spec, spec.events, counters, reads=(ring,))


def reader(ring: Ring, messages: int) -> Stage:
    """A reader that has shown so many messages."""
    counters = Counters(READER_COUNTERS)
    for name in ("messages", "records"):
        counters.set(name, messages)
    spec = ReaderSpec(os.getpid(), 20, EventQueue(), counters, (ring,), ("m.rec",))
    return Stage("reader", print, spec, spec.events, counters, writes=(ring,), source=True)


def built(shown: int, killed: tuple[str, ...], **counted: int) -> Ledger:
    """The ledger of a reader, a ring with twelve messages and a worker, some of which were killed."""
    ring = ring_of(conversation(12), close=False)
    stages = [worker("worker 0", ring, **counted), reader(ring, shown)]
    wiring = Wiring(stages, {"message ring 0": ring}, ("null",))
    settle(wiring, [stage for stage in stages if stage.name in killed])
    return ledger.build(wiring.tally())


@pytest.mark.parametrize("killed", [("worker 0",), ("reader",), ("worker 0", "reader")])
def test_what_lies_in_a_ring_is_counted_there(killed):
    """Whichever side was killed; it is a loss."""
    found = built(12, killed)
    assert found.closed
    assert found.losses == {"messages aborted": 12}


def test_a_ring_of_processes_that_ended_well_is_nobodys_to_explain():
    """A worker that leaves messages behind and ends is a fault of ours, and must show."""
    assert not built(12, ()).closed


@pytest.mark.parametrize("shown", [11, 13])
def test_sums_that_were_wrong_before_stay_wrong(shown):
    """What is counted is what is there, not what is missing."""
    assert not built(shown, ("worker 0",)).closed


def test_a_reader_is_behind_by_less_than_a_thousand():
    """It has shown 12 of 12 and 3 that were taken, and writes before it shows; it is never ahead of its ring."""
    taken = {"messages_taken": 3, "output0_delivered": 3}
    assert built(12, ("worker 0", "reader"), **taken).closed
    assert not built(16, ("worker 0", "reader"), **taken).closed
    assert not built(12, ("worker 0", "reader"), messages_taken=1000, output0_delivered=1000).closed


def test_what_was_booked_and_not_released_is_in_the_ring_still():
    """A worker is killed between the two; and in the other order, which is noted first."""
    assert built(12, ("worker 0",), output0_delivered=5).losses == {"messages aborted": 12}
    noted = {"next_messages": 4, "next_bytes": 9, "next_position": 1, "output0_delivered": 4}
    found = built(16, ("worker 0",), **noted)
    assert found.tally.worker("messages_taken") == 4


def test_what_left_the_ring_without_an_outcome_is_aborted_at_its_output():
    """It was let go of before it was known what became of it."""
    found = built(17, ("worker 0",), messages_taken=5, output0_delivered=2, output0_dropped=1)
    assert found.closed
    assert found.losses == {
        "messages aborted": 12, "messages dropped at output 0: null": 1, "messages aborted at output 0: null": 2,
    }  # fmt: skip


@pytest.mark.parametrize(("counted", "closed"), [(12, True), (13, True), (14, False), (11, False)])
def test_a_worker_may_have_had_one_answer_in_its_hands(counted, closed):
    """It counts an answer, then writes it; more than one for each worker is not explained by that."""
    messages, answers = ring_of([]), ring_of(conversation(12), close=False)
    writer = worker("worker 0", messages, answers=counted)
    spec: Any = writer.spec
    spec = type(spec)(os.getpid(), 20, spec.events, spec.counters, messages, 0, 1, (NULL,), answers=answers)
    writer = Stage("worker 0", print, spec, spec.events, spec.counters, writes=(answers,), reads=(messages,))
    stages = [worker("answer worker 0", answers), writer]
    wiring = Wiring(stages, {"message ring 0": messages, "answer ring 0": answers}, ("null",))
    settle(wiring, stages)
    row = ledger.answers(wiring.tally())
    assert row.closes == closed
    assert row.right["aborted"] == (counted if closed else 12)


def test_frames_in_the_hands_of_a_capture_are_told_by_both_sides():
    """More assembled than captured would be a fault, and stays one."""
    page = dict.fromkeys(CAPTURE_COUNTERS, 0) | {"frames_captured": 9, "frames_aborted": 4}
    assert ledger.frames(page, {"frames_decoded": 5}).closes
    assert ledger.frames(page, {"frames_decoded": 6}).in_flight == -1
