"""The http output in a worker: outcomes that close, a target that is not there, taking over, falling behind."""

import threading
from typing import Any

import pytest

from capture.child import EventQueue
from capture.counters import Counters
from capture.errors import DeliveryError
from capture.records import KIND_MESSAGE
from capture.ring import Producer, Ring
from emit.records import OUTCOMES, HttpSpec, OutputSpec, TlsSpec, WorkerSpec, worker_counters
from emit.worker import Worker
from tests import faults
from tests.emit.builders import conversation, fill, records_of, request, ring_of
from tests.targets import Arrival, Line, target, usual


def work(ring: Ring, port: int, policy: str = "block", answers: Ring | None = None, **options: Any) -> WorkerSpec:
    """Describe a worker with an http output and one that takes everything."""
    spec = HttpSpec("127.0.0.1", port, **options)
    outputs = (
        OutputSpec(
            "http", 0, address=f"http://127.0.0.1:{port}", http=spec, policy=policy, answers=answers is not None
        ),  # type: ignore[arg-type]
        OutputSpec("null", 1),
    )
    return WorkerSpec(
        parent=0, level=30, events=EventQueue(), counters=Counters(worker_counters(2)), ring=ring,
        index=0, workers=1, outputs=outputs, answers=answers,
    )  # fmt: skip


def outcomes(counters: Counters) -> dict[str, int]:
    """Return the outcomes at the http output; they close, and the other output has everything."""
    found = {name: counters[f"output0_{name}"] for name in OUTCOMES}
    assert sum(found.values()) == counters["messages_taken"] == counters["output1_delivered"]
    return {name: count for name, count in found.items() if count}


def test_requests_are_delivered_and_responses_are_not_sent():
    with target() as server:
        spec = work(ring_of(conversation(60)), server.port)
        Worker(spec).run()
    assert outcomes(spec.counters) == {"delivered": 30, "responses": 30}
    assert len(server.arrivals) == 30


def test_a_target_that_is_never_there_is_a_failure_that_harms_no_other_output():
    with target(listening=False) as server:
        spec = work(ring_of(conversation(60)), server.port, retry_s=0.2)
        with pytest.raises(DeliveryError, match="the target was not reached: connection refused; 30 messages"):
            Worker(spec).run()
    assert outcomes(spec.counters) == {"undelivered": 30, "responses": 30}
    assert spec.counters["output0_failed_unreachable"] == 30


def test_what_it_needs_and_does_not_find_is_a_failure():
    spec = work(ring_of(conversation(10)), 1, tls=TlsSpec("h", ca="/nowhere/ca.pem"))
    with pytest.raises(DeliveryError, match="cannot begin: No such file"):
        Worker(spec).run()
    assert outcomes(spec.counters) == {"undelivered": 10}


def test_a_slow_target_costs_what_it_cannot_take_and_nothing_else():
    """Policy "drop": the ring is not held back for it."""
    release = threading.Event()

    def slow(line: Any, asked: Any) -> bool:
        release.wait(20)
        return usual(line, asked)

    ring = Ring.create(1 << 16)
    with target(slow) as server:
        spec = work(ring, server.port, policy="drop", connections=1, queue_bytes=2000)
        worker = threading.Thread(target=Worker(spec).run)
        worker.start()
        try:
            producer = fill(ring, (), close=False)
            for number in range(2000):
                [record] = records_of(request(number, b"x" * 200))
                producer.put(KIND_MESSAGE, record)
        finally:
            release.set()
            producer.close()
            worker.join(20)
    assert not worker.is_alive()
    found = outcomes(spec.counters)
    assert found["dropped"] > 1500
    assert found["delivered"] == len(server.arrivals) > 0


def test_a_worker_that_leaves_gives_up_what_is_under_way_and_leaves_the_rest():
    ring = ring_of([request(number, sport=40_000 + number) for number in range(20)])
    with target(faults.silent) as server:
        spec = work(ring, server.port, connections=3, timeout_s=60.0)
        worker = threading.Thread(target=Worker(spec).run)
        worker.start()
        while len(server.arrivals) < 3:
            assert worker.is_alive()
            threading.Event().wait(0.005)
        spec.leave.raise_()
        worker.join(20)
        assert not worker.is_alive()
        assert outcomes(spec.counters) == {"undelivered": 3}
        assert spec.counters["output0_failed_left"] == 3
        server.script = usual
        after = work(ring, server.port)
        Worker(after).run()
    assert outcomes(after.counters) == {"delivered": 17}


@pytest.mark.parametrize("policy", ["block", "drop"])
def test_answers_wait_for_room_in_their_ring_or_are_counted(policy: str):
    """Large and small ones, through a ring that holds a few."""

    def answer(line: Line, asked: Arrival) -> bool:
        size = 100_000 if asked.target.endswith(b"7") else 1000
        line.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size))
        return True

    answers = Ring.create(1 << 16)
    with target(answer) as server:
        spec = work(ring_of(conversation(400)), server.port, policy, answers=answers)
        taking = WorkerSpec(
            parent=0, level=30, events=EventQueue(), counters=Counters(worker_counters([1])), ring=answers,
            index=0, workers=1, outputs=(OutputSpec("null", 1),),
        )  # fmt: skip
        taker = threading.Thread(target=Worker(taking).run)
        taker.start()
        try:
            Worker(spec).run()
        finally:
            Producer(answers).close()
            taker.join(20)
    assert not taker.is_alive()
    assert outcomes(spec.counters) == {"delivered": 200, "responses": 200}
    counts = spec.counters
    assert counts["answers"] + counts["answers_dropped"] == 200
    assert counts["answers"] == taking.counters["output1_delivered"]
    assert policy == "drop" or counts["answers_dropped"] == 0
