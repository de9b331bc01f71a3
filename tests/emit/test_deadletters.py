"""What is given up can be looked at, and sent again."""

import pytest

from assemble.message import read_message
from capture.counters import Counters
from capture.ring import Consumer
from emit.deadletters import lines
from emit.jsonlines import read_line
from emit.records import worker_counters
from emit.tcp import TcpOutput
from tests.emit.builders import on_the_wire, replayed, request, response, ring_of, sorted_messages
from tests.emit.test_tcp import to


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_every_message_of_a_chunk_is_a_line_that_is_read_as_that_message(compression: str):
    """Parts of one become one; to the nanosecond, and to the byte."""
    made = [request(1), response(1, bytes(range(256))), replayed(1), request(2, b"x", target="/caf\xe9")]
    large = response(3, bytes(range(256)) * 2000)
    consumer = Consumer(ring_of([*made, large], 1 << 20))
    output = TcpOutput(to("127.0.0.1:9", compression=compression), consumer, Counters(worker_counters(1)))
    output.resumed = output.adopt()
    output.final = True
    output.fill(consumer.head)
    output.seal_open()
    chunks = list(output.window.chunks.values())
    assert any(chunk.parts > 1 for chunk in chunks)
    text = lines([output.frame(chunk) for chunk in chunks])
    found = [read_message(read_line(line)) for line in text.splitlines()]
    assert sorted_messages(found) == sorted_messages([on_the_wire(each) for each in [*made, large]])
