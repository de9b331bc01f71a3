"""The output that only counts."""

from capture.counters import Counters
from capture.ring import Consumer
from emit.null import NullOutput
from emit.records import OutputSpec, worker_counters
from tests.emit.builders import conversation, ring_of


def test_every_message_is_delivered_nowhere():
    """It is what others are measured against, so its account has to be right."""
    made = conversation(100)
    ring = ring_of(made)
    consumer, counters = Consumer(ring), Counters(worker_counters(1))
    output = NullOutput(OutputSpec("null", 0), consumer, counters)
    output.pump(consumer.head, 0.0)
    output.settle(100)
    assert output.done(consumer.head)
    assert counters["output0_delivered"] == 100
    assert counters["output0_delivered_bytes"] == sum(len(message.payload) for message in made)
