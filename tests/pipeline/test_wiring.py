"""What the supervisor reads of a run, at any moment, without touching it."""

from dataclasses import replace

from capture.child import EventQueue
from capture.counters import Counters
from capture.ring import Consumer, Producer, Ring
from pipeline.wiring import Stage, Wiring


def stage(name: str, counter: str) -> Stage:
    """A stage that is never started."""
    return Stage(name, print, None, EventQueue(), Counters((counter,)))


def test_the_tally_has_every_page_in_its_place():
    """The ledger asks by role, not by process name."""
    stages = (stage("worker 0", "a"), stage("worker 1", "a"), stage("assembler", "b"), stage("capture", "c"))
    wiring = Wiring(stages, {}, ("null",))
    for each in stages:
        each.counters.add(each.counters.names[0], 5)
    tally = wiring.tally()
    assert tally.worker("a") == 10
    assert (tally.assemble, tally.capture, tally.receiver) == ({"b": 5}, {"c": 5}, None)
    assert tally.outputs == ("null",)


def test_the_tally_of_several_lanes_is_their_sum_and_keeps_the_parts():
    """Whoever reads the ledger of one lane reads that of many; and a lane that stands out can be found."""
    names = ("worker 0", "worker 1", "assembler 0", "assembler 1", "capture 0", "capture 1")
    stages = [stage(name, name.split()[0]) for name in names]
    for number, each in enumerate(stages):
        each.counters.add(each.kind, number + 1)
    stages[-1] = replace(stages[-1], assembled=Counters(("assembler",)))
    assert stages[-1].assembled is not None
    stages[-1].assembled.add("assembler", 100)
    tally = Wiring(tuple(stages), {}, ()).tally()
    assert (tally.capture, tally.assemble) == ({"capture": 11}, {"assembler": 107})
    assert tally.parts == {
        "capture 0": {"capture": 5}, "capture 1": {"capture": 6}, "assembler 0": {"assembler": 3},
        "assembler 1": {"assembler": 4}, "capture 1 as assembler": {"assembler": 100},
    }  # fmt: skip
    assert tally.worker("worker") == 3


def test_who_feeds_a_stage_is_told_by_the_rings():
    """In a run with lanes the order of the stages does not tell."""
    rings = [Ring.create(65536) for _ in range(4)]

    def at(name: str, reads: tuple[Ring, ...], writes: tuple[Ring, ...]) -> Stage:
        return replace(stage(name, "x"), reads=reads, writes=writes)

    stages = (
        at("worker 0", (rings[2],), ()), at("worker 1", (rings[3],), ()),
        at("assembler 0", (rings[0],), (rings[2],)), at("assembler 1", (rings[1],), (rings[3],)),
        at("capture", (), (rings[0], rings[1])),
    )  # fmt: skip
    feeding = Wiring(stages, {}, ()).feeding
    assert [each.name for each in feeding(stages[0])] == ["assembler 0", "capture"]
    assert [each.name for each in feeding(stages[3])] == ["capture"]
    assert feeding(stages[4]) == []


def test_what_lies_in_the_rings_is_said_in_words():
    """After an abort this is what was lost."""
    full, empty = Ring.create(65536), Ring.create(65536)
    Producer(full).put(2, b"x" * 100)
    wiring = Wiring((), {"frame ring": full, "message ring 0": empty}, ())
    assert wiring.in_flight() == "120 bytes in frame ring"
    consumer = Consumer(full)
    consumer.release(consumer.head)
    assert wiring.in_flight() == ""


def test_a_stage_is_of_a_kind_and_may_have_a_number():
    """Kinds may be of two words."""
    named = [(stage(name, "x").kind, stage(name, "x").number) for name in ("answer worker 12", "worker 0", "capture")]
    assert named == [("answer worker", 12), ("worker", 0), ("capture", 0)]
