"""What is given up can be looked at, and sent again."""

from typing import Any

import pytest

from assemble.message import Message, read_message
from capture.counters import Counters
from capture.ring import Consumer
from emit.deadletters import lines
from emit.jsonlines import read_line
from emit.records import worker_counters
from emit.tcp import TcpOutput
from tests.emit.builders import on_the_wire, replayed, request, response, ring_of, sorted_messages
from tests.emit.test_tcp import to


def buried(made: list[Message], **changes: Any) -> list[Message]:
    """Return messages as they are read from the lines of their chunks."""
    consumer = Consumer(ring_of(made, 1 << 20))
    output = TcpOutput(to("127.0.0.1:9", **changes), consumer, Counters(worker_counters(1)))
    output.resumed = output.adopt()
    output.final = True
    output.fill(consumer.head)
    output.seal_open()
    chunks = list(output.window.chunks.values())
    assert any(chunk.parts > 1 for chunk in chunks)
    text = lines([output.frame(chunk) for chunk in chunks])
    return sorted_messages([read_message(read_line(line)) for line in text.splitlines()])


@pytest.mark.parametrize("compression", ["none", "gzip"])
@pytest.mark.parametrize("payload", ["binary", "base64"])
def test_every_message_of_a_chunk_is_a_line_that_is_read_as_that_message(compression: str, payload: str):
    """Parts of one become one; to the nanosecond, and to the byte."""
    made = [request(1), response(1, bytes(range(256))), replayed(1), request(2, b"x", target="/caf\xe9")]
    made.append(response(3, bytes(range(256)) * 2000))
    found = buried(made, compression=compression, payload=payload)
    assert found == sorted_messages([on_the_wire(each) for each in made])


def test_what_was_sent_as_text_is_a_line_of_that_text():
    """What is UTF-8 is there to the byte, also where its body would pass for base64; what is not was lost before."""
    large = response(3, b"QUJD" * 100_000)
    made = [request(1, "caf\xe9".encode()), large]
    assert buried(made, payload="text") == sorted_messages([on_the_wire(each) for each in made])
    lost = response(1, b"caf\xe9")
    [found, _large] = buried([lost, large], payload="text")
    assert found.payload == lost.payload.replace(b"\xe9", "\ufffd".encode())
