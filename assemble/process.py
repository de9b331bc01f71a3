"""The assembler process: one frame ring in, one message ring per worker out.

In: KIND_FRAMES records.  Out: KIND_MESSAGE records.  Invariant: a frame is released once it is in a message ring or
held here; the message rings are closed when the frame ring has ended, or on an error that would come again.  A process
that is started in the place of one that was killed goes on with the next batch.
"""

import logging
from dataclasses import dataclass, field, replace
from typing import Any, Final

from assemble.assembler import Assembler
from assemble.books import Books
from assemble.settings import Settings
from assemble.sink import RingSink
from capture.child import EventQueue, ending, run_child
from capture.counters import Counters
from capture.orders import Orders
from capture.ring import Consumer, Ring

LOOK_ROUNDS: Final = 64
"""A busy assembler looks at its orders after so many batches, an idle one each time that it wakes up."""


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
    orders: Orders | None = None  # changes of the settings' selection
    attempt: int = 0  # how many processes have died at this work
    books: Books = field(default_factory=Books, repr=False)  # what the dead leave to the next


def main(spec: AssembleSpec) -> None:
    """Run as a child process until the frame ring is closed and empty."""
    run_child(lambda: assemble(spec), spec.events, spec.parent, spec.level)


def assemble(spec: AssembleSpec) -> None:
    """Turn frames into messages until the frame ring ends, then send what was still under way."""
    sink = RingSink(spec.outputs, spec.books, spec.counters)
    sink.show_life(spec.events.counters, "beats")
    consumer = Consumer(spec.ring)
    if spec.attempt:
        sink.recover(consumer)
    with ending(sink.close):
        _assemble(spec, Assembler(spec.settings, sink, spec.counters), consumer)


def _assemble(spec: AssembleSpec, assembler: Assembler, consumer: Consumer) -> None:
    position = consumer.tail
    rounds = 0
    while True:
        spec.events.beat()
        ended = consumer.closed
        came = consumer.wait(position)
        if came:
            position = assembler.feed_ring(consumer, position)
        elif ended:
            break
        rounds += 1
        if spec.orders is not None and (rounds % LOOK_ROUNDS == 0 or not came):
            _obey(spec.orders, spec.settings, assembler)
    assembler.finish()


def _obey(orders: Orders, settings: Settings, assembler: Assembler) -> None:
    """Select other packets, if that was ordered."""
    order = orders.take()
    if order is not None:
        changes: dict[str, Any] = {key: tuple(each) if isinstance(each, list) else each for key, each in order.items()}
        assembler.select(replace(settings, **changes))
