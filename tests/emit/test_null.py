"""The output that only counts."""

from capture.counters import Counters
from capture.records import KIND_MESSAGE
from capture.ring import Consumer, Producer, Ring
from emit.null import NullOutput
from emit.records import OutputSpec, worker_counters
from tests.emit.builders import conversation, records_of, response, ring_of


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


def test_the_bytes_of_every_part_count():
    """A message larger than the ring comes by in turns that end no message."""
    message = response(1, bytes(9600))
    ring = Ring.create(64 * 1024)
    producer, consumer = Producer(ring), Consumer(ring)
    counters = Counters(worker_counters(1))
    output = NullOutput(OutputSpec("null", 0), consumer, counters)
    for record in records_of(message, 2400):
        producer.put(KIND_MESSAGE, record)
        output.pump(consumer.head, 0.0)
    output.settle(1)
    assert counters["output0_delivered"] == 1
    assert counters["output0_delivered_bytes"] == len(message.payload)


def test_what_is_not_wanted_is_filtered():
    """And its bytes are not delivered."""
    made = conversation(100)
    consumer, counters = Consumer(ring_of(made)), Counters(worker_counters(1))
    output = NullOutput(OutputSpec("null", 0, where="kind == 'request'"), consumer, counters)
    output.pump(consumer.head, 0.0)
    output.settle(100)
    assert (counters["output0_delivered"], counters["output0_filtered"]) == (50, 50)
    assert counters["output0_delivered_bytes"] == sum(len(m.payload) for m in made if m.kind == "request")
