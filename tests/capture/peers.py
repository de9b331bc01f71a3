"""What the other process does in the tests of rings, counters and children; spawned, so importable."""

import logging
import os
import random
import signal
import struct

from capture.child import EventQueue, run_child
from capture.counters import Counters
from capture.errors import ConfigError
from capture.limits import bound
from capture.records import KIND_MESSAGE
from capture.ring import Consumer, Producer, Ring
from capture.sources import FrameSource

SIZE = struct.Struct("<I")


def content(number: int, largest: int) -> bytes:
    """Make the record with that number: its size and bytes follow from the number alone."""
    chance = random.Random(number)
    size = chance.choice(
        [0, 1, 7, 8, chance.randrange(200), chance.randrange(largest - SIZE.size + 1), largest - SIZE.size]
    )
    return SIZE.pack(size) + chance.randbytes(size)


def check(number: int, view: memoryview, largest: int) -> None:
    """Fail unless the view holds the record with that number, and at most 7 bytes more."""
    expected = content(number, largest)
    assert view[: len(expected)] == expected, f"record {number} differs"
    assert len(view) - len(expected) in range(8), f"record {number} is {len(view)} bytes long"


def produce(ring: Ring, start: int, end: int, largest: int, close: bool = True, die: bool = False) -> None:
    """Put the records from start to end; then close the ring, or die on the spot."""
    producer = Producer(ring)
    for number in range(start, end):
        producer.put(KIND_MESSAGE, content(number, largest))
    if close:
        producer.close()
    if die:
        os.kill(os.getpid(), signal.SIGKILL)


def consume(ring: Ring, count: int, release: int, largest: int) -> None:
    """Check `count` records, release the first `release` of them, and die on the spot."""
    consumer = Consumer(ring)
    position = consumer.tail
    for number in range(count):
        while (record := consumer.read(position)) is None:
            consumer.wait(position)
        _, view, position = record
        check(number, view, largest)
        if number + 1 == release:
            consumer.release(position)
    os.kill(os.getpid(), signal.SIGKILL)


def fill(ring: Ring, path: str) -> None:
    """Read a capture file into a ring, for as long as it takes."""
    producer = Producer(ring)
    with FrameSource([path]) as source:
        while source.fill(producer):
            pass
    producer.close()


def count(counters: Counters) -> None:
    """Count something, as the writer of a page."""
    counters.add("frames", 3)
    counters.set("level", 1 << 63)


def child(events: EventQueue, parent: int, what: str) -> None:
    """Run one of the bodies below under run_child."""
    bodies = {
        "logs": _logs,
        "refuses": _refuses,
        "breaks": _breaks,
        "signals": _signals,
        "fills": _fills,
        "nothing": lambda: None,
    }
    run_child(bodies[what], events, parent)


def orphan(events: EventQueue, ring: Ring) -> None:
    """Start a child that waits for ever, say its number through the ring, and die without a word to it."""
    import multiprocessing

    process = multiprocessing.get_context("spawn").Process(target=waiter, args=(events, os.getpid(), ring))
    process.start()
    consumer = Consumer(ring)
    while not consumer.wait(0):
        pass
    os.kill(os.getpid(), signal.SIGKILL)


def waiter(events: EventQueue, parent: int, ring: Ring) -> None:
    """Say our number through the ring, and wait for ever."""
    run_child(lambda: _wait(ring), events, parent)


def _wait(ring: Ring) -> None:
    Producer(ring).put(KIND_MESSAGE, SIZE.pack(os.getpid()))
    while True:
        signal.pause()


def _logs() -> None:
    logging.getLogger("capture.test").warning("%d frames", 7)
    logging.getLogger("capture.test").debug("not wanted")


def _refuses() -> None:
    raise ConfigError("input.path: write a path")


def _breaks() -> None:
    raise KeyError("x")


def _fills() -> None:
    """Take all that there is, in pieces as small as what is needed to tell of it."""
    bound(600 << 20)
    taken = []
    while True:
        taken.append(bytes(4096))


def _signals() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGINT)
    logging.getLogger("capture.test").warning("still here")
