"""The assembler process: one frame ring in, one message ring per worker out.

In: KIND_FRAMES records.  Out: KIND_MESSAGE records.  Invariant: a frame is released once it is in a message ring or
held here; the message rings are closed when the frame ring has ended, whatever happened in between.
"""

import logging
from dataclasses import dataclass

from assemble.assembler import Assembler
from assemble.settings import Settings
from assemble.sink import RingSink
from capture.child import EventQueue, run_child
from capture.counters import Counters
from capture.ring import Consumer, Ring


@dataclass(frozen=True)
class AssembleSpec:
    """Everything an assembler process is given."""

    parent: int
    events: EventQueue
    counters: Counters
    ring: Ring
    outputs: tuple[Ring, ...]
    settings: Settings
    level: int = logging.INFO


def main(spec: AssembleSpec) -> None:
    """Run as a child process until the frame ring is closed and empty."""
    run_child(lambda: assemble(spec), spec.events, spec.parent, spec.level)


def assemble(spec: AssembleSpec) -> None:
    """Turn frames into messages until the frame ring ends, then send what was still under way."""
    sink = RingSink(spec.outputs)
    assembler = Assembler(spec.settings, sink, spec.counters)
    consumer = Consumer(spec.ring)
    position = consumer.tail
    try:
        while True:
            ended = consumer.closed
            if consumer.wait(position):
                position = assembler.feed_ring(consumer, position)
            elif ended:
                break
        assembler.finish()
    finally:
        sink.close()
