"""What the supervisor reads of a run, at any moment, without touching it."""

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


def test_what_lies_in_the_rings_is_said_in_words():
    """After an abort this is what was lost."""
    full, empty = Ring.create(65536), Ring.create(65536)
    Producer(full).put(2, b"x" * 100)
    wiring = Wiring((), {"frame ring": full, "message ring 0": empty}, ())
    assert wiring.in_flight() == "120 bytes in frame ring"
    consumer = Consumer(full)
    consumer.release(consumer.head)
    assert wiring.in_flight() == ""
