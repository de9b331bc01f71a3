"""Small children for the supervisor's tests; spawned processes import this module by name."""

import logging
import os
import select
import signal
import threading
from dataclasses import dataclass, field

from capture.child import EventQueue, run_child
from capture.counters import Counters
from capture.errors import DeliveryError
from capture.ring import Consumer, Producer, Ring
from emit.succession import Ended, Flag

KIND = 2


@dataclass(frozen=True)
class FakeSpec:
    """What a fake child is started with."""

    events: EventQueue
    counters: Counters
    reads: Ring | None = None
    writes: Ring | None = None
    parent: int = os.getpid()
    leave: Flag = field(default_factory=Flag)
    stop: Flag = field(default_factory=Flag)
    after: Ended | None = None
    attempt: int = 0


def read_until_relieved(spec: FakeSpec) -> None:
    """Count records one by one until the ring is closed, or a successor is to go on."""

    def body() -> None:
        assert spec.reads is not None
        spec.events.tell("ready")
        if spec.after is not None:
            spec.after.wait()
        consumer = Consumer(spec.reads)
        while not select.select([spec.leave], [], [], 0)[0]:
            closed = consumer.closed
            if (found := consumer.read(consumer.tail)) is not None:
                spec.counters.add("seen")
                consumer.release(found[2])
            elif closed:
                return
            else:
                consumer.wait(consumer.tail, 10)

    run_child(body, spec.events, spec.parent)


def write_until_told_more(spec: FakeSpec) -> None:
    """Write records until SIGTERM, as fast as there is room."""

    def body() -> None:
        assert spec.writes is not None
        told = threading.Event()
        signal.signal(signal.SIGTERM, lambda _number, _frame: told.set())
        producer = Producer(spec.writes)
        spec.events.tell("ready")
        while not told.is_set():
            if producer.try_put(KIND, b"another"):
                spec.counters.add("seen")
        producer.close()

    run_child(body, spec.events, spec.parent)


def pass_on(spec: FakeSpec) -> None:
    """Pass every record of one ring on to another until it is closed, and close that."""

    def body() -> None:
        assert spec.reads is not None
        assert spec.writes is not None
        consumer, producer = Consumer(spec.reads), Producer(spec.writes)
        while True:
            closed = consumer.closed
            while (found := consumer.read(consumer.tail)) is not None:
                producer.put(KIND, bytes(found[1]))
                consumer.release(found[2])
                spec.counters.add("seen")
            if closed:
                break
            consumer.wait(consumer.tail)
        producer.close()

    run_child(body, spec.events, spec.parent)


def die_when_relieved(spec: FakeSpec) -> None:
    """Pass records on until a successor is to go on, and be killed then."""

    def body() -> None:
        assert spec.reads is not None
        assert spec.writes is not None
        consumer, producer = Consumer(spec.reads), Producer(spec.writes)
        while not select.select([spec.leave], [], [], 0)[0]:
            if (found := consumer.read(consumer.tail)) is not None:
                producer.put(KIND, bytes(found[1]))
                spec.counters.add("seen")
                consumer.release(found[2])
        os.kill(os.getpid(), signal.SIGKILL)

    run_child(body, spec.events, spec.parent)


def succeed_when_asked(spec: FakeSpec) -> None:
    """Be ready to go on, wait for the end of the predecessor and for `leave`, then pass on what is there."""
    assert spec.after is not None
    spec.events.tell("ready")
    spec.after.wait()
    select.select([spec.leave], [], [])
    pass_on(spec)


def die_after(spec: FakeSpec) -> None:
    """Wait for the end of the predecessor, and be killed then."""
    assert spec.after is not None
    spec.after.wait()
    die(spec)


def write_some(spec: FakeSpec) -> None:
    """Write ten records, say so, and end."""

    def body() -> None:
        assert spec.writes is not None
        producer = Producer(spec.writes)
        for number in range(10):
            producer.put(KIND, number.to_bytes(8, "little"))
            spec.counters.add("seen")
        logging.getLogger("fake").warning("ten written")
        producer.close()

    run_child(body, spec.events, spec.parent)


def write_until_told(spec: FakeSpec) -> None:
    """Write one record, then wait for SIGTERM; the ring is closed on the way out."""

    def body() -> None:
        assert spec.writes is not None
        told = threading.Event()
        signal.signal(signal.SIGTERM, lambda _number, _frame: told.set())
        producer = Producer(spec.writes)
        producer.put(KIND, b"first")
        spec.counters.add("seen")
        told.wait()
        producer.close()

    run_child(body, spec.events, spec.parent)


def die_when_told_once(spec: FakeSpec) -> None:
    """Write one record, and be killed on SIGTERM between counting another and writing it; the second counts anew."""

    def body() -> None:
        assert spec.writes is not None
        told = threading.Event()
        producer = Producer(spec.writes)
        if spec.attempt == 0:
            producer.put(KIND, b"first")
        spec.counters.set("seen", 1)
        signal.signal(signal.SIGTERM, lambda _number, _frame: told.set())
        spec.events.beat()
        told.wait()
        if spec.attempt == 0:
            spec.counters.add("seen")
            os.kill(os.getpid(), signal.SIGKILL)
        producer.close()

    run_child(body, spec.events, spec.parent)


def hang(spec: FakeSpec) -> None:
    """Do nothing, for ever, and ignore what one may ignore."""
    run_child(lambda: _tell_and_wait(spec), spec.events, spec.parent)


def _tell_and_wait(spec: FakeSpec) -> None:
    spec.counters.add("seen")
    threading.Event().wait()


def read_and_die_once(spec: FakeSpec) -> None:
    """Be killed half way through what is there, without releasing what has been read last; the second goes on."""

    def body() -> None:
        assert spec.reads is not None
        consumer = Consumer(spec.reads)
        while spec.attempt == 0 and spec.counters["seen"] < 5:
            consumer.wait(consumer.tail)
            if (found := consumer.read(consumer.tail)) is not None:
                spec.counters.add("seen")
                consumer.release(found[2])
        if spec.attempt == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        spec.events.beat()

    run_child(body, spec.events, spec.parent)
    read_all(spec)


def read_all(spec: FakeSpec) -> None:
    """Count what is not released yet, until the ring is closed."""

    def body() -> None:
        assert spec.reads is not None
        consumer = Consumer(spec.reads)
        logging.getLogger("fake").info("ready")
        while True:
            closed = consumer.closed
            while (found := consumer.read(consumer.tail)) is not None:
                spec.counters.add("seen")
                consumer.release(found[2])
            if closed:
                return
            consumer.wait(consumer.tail)

    run_child(body, spec.events, spec.parent)


def stall_once(spec: FakeSpec) -> None:
    """Show one sign of life, then none; the second reads."""

    def body() -> None:
        if spec.attempt == 0:
            spec.events.beat()
            threading.Event().wait()

    run_child(body, spec.events, spec.parent)
    read_all(spec)


def die_once(spec: FakeSpec) -> None:
    """Be killed; the second writes a record."""
    if spec.attempt == 0:
        die(spec)
    write_one(spec)


def wait_once(spec: FakeSpec) -> None:
    """Do nothing until somebody ends it; the second writes a record."""
    if spec.attempt == 0:
        run_child(threading.Event().wait, spec.events, spec.parent)
    write_one(spec)


def write_one(spec: FakeSpec) -> None:
    """Write a record, and end."""

    def body() -> None:
        assert spec.writes is not None
        producer = Producer(spec.writes)
        producer.put(KIND, b"only")
        producer.close()

    run_child(body, spec.events, spec.parent)


def fail(spec: FakeSpec) -> None:
    """End with an error of ours."""

    def body() -> None:
        raise DeliveryError("the far side said no")

    run_child(body, spec.events, spec.parent)


def die(spec: FakeSpec) -> None:
    """Be killed, as the out-of-memory killer does it."""
    run_child(lambda: os.kill(os.getpid(), signal.SIGKILL), spec.events, spec.parent)


def vanish(spec: FakeSpec) -> None:
    """End with an exit code and no word, as a C library that calls exit() does."""
    run_child(lambda: os._exit(7), spec.events, spec.parent)
