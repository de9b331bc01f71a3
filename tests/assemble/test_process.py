"""The assembler process, run here: frames out of one ring, messages into others, which it closes whatever happens."""

import os

import pytest
from talks import CLIENT, SERVER, Talk, batches

from assemble import Settings
from assemble.message import read_message
from assemble.process import AssembleSpec, assemble
from assemble.tally import ASSEMBLE_COUNTERS
from capture.child import EventQueue
from capture.counters import Counters
from capture.errors import MirrorError
from capture.records import BATCH_HEADER, KIND_FRAMES
from capture.ring import Consumer, Producer, Ring

GET = b"GET / HTTP/1.1\r\n\r\n"
CUT = b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nok"


def spec(settings: Settings | None = None) -> AssembleSpec:
    """Give what a process with two outputs is started with."""
    rings = [Ring.create(1 << 16) for _ in range(3)]
    counters = Counters(ASSEMBLE_COUNTERS)
    return AssembleSpec(os.getpid(), EventQueue(), counters, rings[0], tuple(rings[1:]), settings or Settings())


def messages(ring: Ring) -> list[tuple[bytes, bool]]:
    """Take the messages out of a ring: payload and completeness."""
    consumer, out = Consumer(ring), []
    position = consumer.tail
    while (record := consumer.read(position)) is not None:
        message = read_message(record[1])
        out.append((message.payload, message.complete))
        position = record[2]
    return out


def test_everything_in_a_closed_ring_comes_out_and_the_message_rings_are_closed():
    """Downstream ends because its ring is closed and empty; what was under way at the end belongs to it."""
    one = spec()
    producer = Producer(one.ring)
    for record in batches(Talk().open().put(CLIENT, GET).put(SERVER, CUT).frames, 2):
        producer.put(KIND_FRAMES, record)
    producer.close()
    assemble(one)
    assert sorted(messages(one.outputs[0]) + messages(one.outputs[1])) == [(GET, True), (CUT, False)]
    assert all(Consumer(ring).closed for ring in one.outputs)
    assert Consumer(one.ring).tail == Consumer(one.ring).head
    assert (one.counters["messages"], one.counters["flows_now"]) == (2, 0)


def test_a_damaged_record_is_an_error_and_the_message_rings_are_closed():
    """Else the workers would wait for ever for a process that is gone."""
    one = spec()
    producer = Producer(one.ring)
    for record in batches(Talk().open().put(CLIENT, GET).frames):
        producer.put(KIND_FRAMES, record)
    producer.put(KIND_FRAMES, BATCH_HEADER.pack(7, 0, 1))
    with pytest.raises(MirrorError, match="damaged"):
        assemble(one)
    assert messages(one.outputs[0]) + messages(one.outputs[1]) == [(GET, True)]
    assert all(Consumer(ring).closed for ring in one.outputs)


def test_the_settings_reach_the_assembler():
    """A setting that is lost on the way to the process is a setting that does nothing."""
    one = spec(Settings(ports=(81,)))
    producer = Producer(one.ring)
    for record in batches(Talk().open().put(CLIENT, GET).frames):
        producer.put(KIND_FRAMES, record)
    producer.close()
    assemble(one)
    assert one.counters["refused_port"] == 4
