"""JSON Lines as the compiled encoder writes them, for tests that read files."""

from assemble.message import Message
from capture.ring import Consumer
from emit.lines import LineWriter
from tests.emit.builders import ring_of


def line_of(message: Message) -> bytes:
    """Return the line of one message."""
    ring = ring_of([message], 1 << 20)
    writer = LineWriter(Consumer(ring), 1 << 16)
    writer.fill(0, Consumer(ring).head, 1 << 20, True)
    return bytes(writer.view())
