"""The assembler process, run here: frames out of one ring, messages into others, which it closes whatever happens."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import pytest
from talks import CLIENT, SERVER, Talk, batches

from assemble import Settings
from assemble.message import read_message
from assemble.process import LOOK_ROUNDS, AssembleSpec, assemble
from assemble.tally import ASSEMBLE_COUNTERS
from capture.child import EventQueue
from capture.counters import Counters
from capture.errors import MirrorError
from capture.orders import Orders
from capture.records import BATCH_HEADER, CLOCK, KIND_CLOCK, KIND_FRAMES
from capture.ring import Consumer, Producer, Ring

GET = b"GET / HTTP/1.1\r\n\r\n"
CUT = b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nok"
DEADLINE_S = 30


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


@contextmanager
def running(one: AssembleSpec) -> Iterator[Producer]:
    """Assemble beside the block until it ends; what went wrong there is raised here."""
    producer = Producer(one.ring)
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(assemble, one)
        try:
            yield producer
        finally:
            producer.close()
        done.result(DEADLINE_S)


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for what the process does in its own time."""
    end_s, pause = time.monotonic() + DEADLINE_S, threading.Event()
    while not condition():
        assert time.monotonic() < end_s, "it never did"
        pause.wait(0.001)


def ordered(one: AssembleSpec) -> tuple[AssembleSpec, Orders]:
    """Give the process orders; the other end is the supervisor's."""
    ours = Orders()
    return replace(one, orders=Orders(os.dup(ours.fd))), ours


def test_what_waits_comes_out_when_only_the_clock_moves():
    """The last request before a quiet hour is to be mirrored now, not when the next one comes."""
    one = spec()
    talk = Talk().open().put(CLIENT, GET).put(SERVER, CUT[:-1])
    talk.lose(SERVER, b"k").put(SERVER, b"and more").put(CLIENT)
    with running(one) as producer:
        for record in batches(talk.frames):
            producer.put(KIND_FRAMES, record)
        wait_until(lambda: one.counters["segments_reordered"] == 1)
        for after_s in (1.0, 1.5):
            producer.put(KIND_CLOCK, CLOCK.pack(talk.now_ns + round(after_s * 1e9)))
        wait_until(lambda: Consumer(one.ring).tail == Consumer(one.ring).head)
        assert one.counters["holes"] == 0
        producer.put(KIND_CLOCK, CLOCK.pack(talk.now_ns + 3 * 10**9))
        wait_until(lambda: one.counters["holes"] == 1)
        producer.put(KIND_CLOCK, CLOCK.pack(talk.now_ns + 70 * 10**9))
        wait_until(lambda: one.counters["flows_now"] == 0)
        wait_until(lambda: len(messages(one.outputs[0]) + messages(one.outputs[1])) == 2)
        assert not Consumer(one.outputs[0]).closed
    assert one.counters["flows_idle"] == 1


@pytest.mark.parametrize(
    ("order", "counter"),
    [
        ({"ports": (81,)}, "refused_port"),
        ({"hosts": ("203.0.113.0/24",)}, "refused_host"),
        ({"exclude": (("192.0.2.2", 80),)}, "refused_own"),
        ({"sample": 1e-9}, "refused_sampled"),
        ({"direction": "outbound", "ours": ("192.0.2.2",)}, "segments_left_out"),
    ],
    ids=str,
)
def test_an_order_is_obeyed_while_it_runs_and_the_rest_of_the_settings_stays(order, counter, monkeypatch):
    """A reload takes effect without a restart, also on a silent wire; each order is about the first settings."""
    monkeypatch.setattr("assemble.process.LOOK_ROUNDS", 1 << 30)  # it is idle
    one, ours = ordered(spec(Settings(ports=(80,), responses=False)))
    assert one.orders is not None
    talks = [Talk(cport=port).open().put(CLIENT, GET).put(SERVER, CUT) for port in range(20_000, 20_003)]
    strange = Talk(sport=9000).open().put(CLIENT, GET)
    with running(one) as producer:
        for number, each in enumerate(({}, order, {})):
            ours.give(each)
            wait_until(lambda number=number: one.orders.seen == number + 1)
            for record in batches(talks[number].frames + strange.frames):
                producer.put(KIND_FRAMES, record)
            wait_until(lambda: Consumer(one.ring).tail == Consumer(one.ring).head)
    changed = 2 if counter == "segments_left_out" else len(talks[1].frames)
    always = 3 * len(strange.frames)
    assert one.counters[counter] == changed + (always if counter == "refused_port" else 0)
    assert one.counters["refused_port"] >= always
    got = messages(one.outputs[0]) + messages(one.outputs[1])
    assert got == [(GET, True)] * 2
    assert (one.counters["requests"], one.counters["responses"]) == (2, 0)


def test_a_busy_assembler_looks_at_its_orders_too(monkeypatch):
    """Under load is when the operator asks for less: a ring that is never empty must not hide it."""

    class Busy(Consumer):
        """The ring of a source that always has more, up to the 200th batch."""

        def wait(self, position: int, timeout_ms: int = 100) -> bool:
            if one.counters["frames_decoded"] + one.counters["refused_port"] < 200:
                producer.put(KIND_FRAMES, record)
            else:
                producer.close()
            return super().wait(position, timeout_ms)

    one, ours = ordered(spec())
    producer = Producer(one.ring)
    (record,) = batches(Talk().put(CLIENT, GET).frames)
    monkeypatch.setattr("assemble.process.Consumer", Busy)
    ours.give({"ports": (81,)})
    assemble(one)
    assert (one.counters["frames_decoded"], one.counters["refused_port"]) == (LOOK_ROUNDS, 200 - LOOK_ROUNDS)


def test_the_settings_reach_the_assembler():
    """A setting that is lost on the way to the process is a setting that does nothing."""
    one = spec(Settings(ports=(81,)))
    producer = Producer(one.ring)
    for record in batches(Talk().open().put(CLIENT, GET).frames):
        producer.put(KIND_FRAMES, record)
    producer.close()
    assemble(one)
    assert one.counters["refused_port"] == 4
