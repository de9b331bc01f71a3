"""Whole worker processes: several outputs, several workers, idleness, crashes."""

import os
import socket
import threading
import time
from pathlib import Path

import pytest

from assemble.message import Message
from capture.counters import Counters
from capture.records import KIND_MESSAGE
from capture.ring import Consumer, Producer, Ring
from emit.care import Care
from emit.records import OUTCOMES, HttpSpec, OutputSpec, worker_counters
from emit.summary import Summary
from tests.emit.builders import as_line, conversation, part_bytes_of, read_lines, records_of, request, response, ring_of
from tests.emit.processes import Processes, free_port, wait_until


def put_all(ring: Ring, made: list[Message]) -> threading.Thread:
    """Write messages from a thread, waiting for room, and close the ring."""

    def run() -> None:
        producer = Producer(ring)
        for message in made:
            for record in records_of(message, part_bytes_of(ring)):
                producer.put(KIND_MESSAGE, record)
        producer.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_every_output_gets_every_message(processes: Processes, tmp_path: Path):
    """The ring is released when the slowest has it, and the sums close for each."""
    made = conversation(2000)
    paths = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    ring = Ring.create(64 * 1024)
    writer = put_all(ring, made)
    outputs = [OutputSpec("file", at, path=str(path)) for at, path in enumerate(paths)] + [OutputSpec("null", 2)]
    worker = processes.worker(ring, *outputs)
    assert worker.end() == 0
    writer.join()
    for path in paths:
        assert read_lines(path.read_bytes()) == [as_line(message) for message in made]
    counts = worker.counters.as_dict()
    assert counts["messages_taken"] == 2000
    assert [counts[f"output{at}_delivered"] for at in range(3)] == [2000] * 3


def test_workers_that_share_a_file_do_not_mix_their_lines(processes: Processes, tmp_path: Path):
    """One path, several workers, lines from small to larger than any block and any ring."""
    path = tmp_path / "all.jsonl"
    made = [
        [response(100 * at + number, bytes([at]) * size) for number, size in enumerate([10, 3_000_000, 500_000] * 3)]
        for at in range(3)
    ]
    rings = [Ring.create(256 * 1024 if at == 0 else 8 << 20) for at in range(3)]
    writers = [put_all(ring, messages) for ring, messages in zip(rings, made, strict=True)]
    workers = [processes.worker(ring, OutputSpec("file", 0, path=str(path))) for ring in rings]
    assert [worker.end() for worker in workers] == [0] * 3
    for writer in writers:
        writer.join()
    lines = read_lines(path.read_bytes())
    for messages in made:
        mine = [line for line in lines if line["id"] in {message.id_hex for message in messages}]
        assert mine == [as_line(message) for message in messages]
    assert len(lines) == 27


def test_an_idle_worker_uses_no_processor_and_wakes_at_once(processes: Processes, tmp_path: Path):
    """It waits on the ring, it does not look again and again."""
    path = tmp_path / "m.jsonl"
    ring = Ring.create(1 << 20)
    producer = Producer(ring)
    worker = processes.worker(ring, OutputSpec("file", 0, path=str(path)))
    producer.put(KIND_MESSAGE, records_of(request(1))[0])
    wait_until(lambda: worker.counters["messages_taken"] == 1, "the first message")
    before_s = worker.cpu_s()
    threading.Event().wait(1.0)
    assert worker.cpu_s() - before_s <= 0.02
    producer.put(KIND_MESSAGE, records_of(request(2))[0])
    wait_until(lambda: worker.counters["messages_taken"] == 2, "the second message", 1.0)
    assert len(read_lines(path.read_bytes())) == 2
    producer.close()
    assert worker.end() == 0


def test_a_failed_output_does_not_stop_the_others(processes: Processes, tmp_path: Path):
    """The message says what failed, why, and what it cost; the exit code is 1."""
    ring = ring_of(conversation(100))
    outputs = [
        OutputSpec("file", 0, path="/dev/full"),
        OutputSpec("file", 1, path=str(tmp_path / "m.jsonl")),
        OutputSpec("tcp", 2, address=f"127.0.0.1:{free_port()}", retry_s=0.3),
    ]
    worker = processes.worker(ring, *outputs)
    assert worker.end() == 1
    counts = worker.counters.as_dict()
    assert [counts[f"output{at}_delivered"] for at in range(3)] == [0, 100, 0]
    assert [counts[f"output{at}_undelivered"] for at in range(3)] == [100, 0, 100]
    told = {event["output"]: event for event in worker.events("undelivered")}
    assert {at: event["messages"] for at, event in told.items()} == {0: 100, 2: 100}
    [failed] = worker.events("failed")
    assert "output 0 (file /dev/full): cannot write to /dev/full: no space left on device" in failed["text"]
    assert "connection refused, tried for 0.3 s; 100 messages were not delivered" in failed["text"]
    assert failed["exit_code"] == 1


@pytest.mark.parametrize("format_", ["jsonl", "recording", "gor", "har"])
def test_a_pipe_that_nobody_reads_holds_up_nobody_and_gets_everything(
    processes: Processes, tmp_path: Path, format_: str
):
    """Found as a worker that stood still in write(2), with all its outputs, until the watchdog killed it."""
    fifo, path, lines = tmp_path / "pipe", tmp_path / "file", tmp_path / "m.jsonl"
    os.mkfifo(fifo)
    made = conversation(2000)
    outputs = [OutputSpec("file", at, path=str(each), format=format_) for at, each in enumerate((fifo, path))]
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    worker = processes.worker(ring_of(made, 4 << 20), *outputs, OutputSpec("file", 2, path=str(lines)))
    wait_until(lambda: lines.exists() and lines.read_bytes().count(b"\n") == 2000, "all of it elsewhere")
    assert worker.counters["messages_taken"] < 2000
    os.set_blocking(reader, True)
    with open(reader, "rb") as pipe:
        found = pipe.read()
    assert worker.end() == 0
    if format_ == "recording":  # each has a key of its own
        assert len(found) == path.stat().st_size
    else:
        assert found == path.read_bytes()
    counts = worker.counters.as_dict()
    assert counts["messages_taken"] == counts["output0_delivered"] == counts["output1_delivered"] == 2000


@pytest.mark.parametrize("large", [False, True])
def test_a_killed_worker_repeats_and_loses_nothing(processes: Processes, tmp_path: Path, large: bool):
    """Its successor goes on from what was released: at least once, whole lines, and the sums still close."""
    made = conversation(3000) if not large else [response(n, bytes([n]) * 200_000) for n in range(60)]
    ring = Ring.create(2 << 20)
    writer = put_all(ring, made)
    path = tmp_path / "m.jsonl"
    first = processes.worker(ring, OutputSpec("file", 0, path=str(path)))
    wait_until(lambda: first.counters["messages_taken"] > 10, "some messages")
    first.kill()
    second = processes.worker(ring, OutputSpec("file", 0, path=str(path)), counters=first.counters)
    assert second.end() == 0
    writer.join()
    found = [line for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b'"}\n')]
    assert {line["id"] + line["kind"] for line in read_lines(b"".join(found))} == {m.id_hex + m.kind for m in made}
    counts = second.counters.as_dict()
    assert counts["messages_taken"] == counts["output0_delivered"] == len(made)


@pytest.mark.parametrize("outcome", ["delivered", "filtered"])
@pytest.mark.parametrize("died", ["after booking", "after taking", "before releasing"])
def test_a_worker_killed_between_two_counters_is_made_good(processes: Processes, died: str, outcome: str):
    """The sums close to the message, wherever it was killed."""
    ring = ring_of(conversation(100))
    half = ring_position(ring, 50)
    counters = Counters(worker_counters(1))
    counters.set(f"output0_{outcome}", 50)
    if died != "after booking":
        counters.set("messages_taken", 50)
        counters.set("position", half)
    if died == "after taking":
        Consumer(ring).release(half)
    where = "host == 'elsewhere'" if outcome == "filtered" else None
    worker = processes.worker(ring, OutputSpec("null", 0, where=where), counters=counters)
    assert worker.end() == 0
    assert counters["messages_taken"] == counters[f"output0_{outcome}"] == 100


def test_what_a_killed_worker_had_let_go_is_dropped(processes: Processes, tmp_path: Path):
    """Policy "drop", and nobody takes anything: what has left the ring for it is in no memory but the worker's."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        target = HttpSpec("127.0.0.1", silent.getsockname()[1])
        url = f"http://127.0.0.1:{target.port}"
        outputs = [
            OutputSpec("file", 0, path=str(fifo), policy="drop"),
            OutputSpec("http", 1, policy="drop", address=url, http=target, summary=Summary.create()),
            OutputSpec("null", 2),
        ]
        ring = Ring.create(256 * 1024)
        writer = put_all(ring, conversation(3000))
        first = processes.worker(ring, *outputs)
        wait_until(lambda: first.counters["messages_taken"] > 1500, "what is released though nobody has it")
        first.kill()
        os.close(reader)
        second = processes.worker(
            ring, OutputSpec("null", 0), OutputSpec("null", 1), outputs[2], counters=first.counters
        )
        assert second.end() == 0
        writer.join()
    counts = second.counters.as_dict()
    for at in range(3):
        assert sum(counts[f"output{at}_{name}"] for name in OUTCOMES) == counts["messages_taken"] == 3000
    assert counts["output0_dropped"] > 500
    assert counts["output1_dropped"] > 500
    assert counts["output2_delivered"] == 3000


def ring_position(ring: Ring, records: int) -> int:
    """Return the position after that many records."""
    consumer, position = Consumer(ring), 0
    for _ in range(records):
        record = consumer.read(position)
        assert record is not None
        position = record[2]
    return position


def test_an_output_with_a_limit_holds_up_nobody_but_itself(processes: Processes, tmp_path: Path):
    """And sleeps while it waits, in every kind of output; all of it arrives, and none before its time."""
    made = [each for number in range(60) for each in (request(number), response(number, bytes(50_000)))]
    path = tmp_path / "m.jsonl"
    outputs = [
        OutputSpec("file", 0, path=str(path), limit=100, over_limit="wait"),
        OutputSpec("file", 1, path=str(tmp_path / "m.rec"), format="recording", limit=80, over_limit="wait"),
        OutputSpec("null", 2, limit=100, over_limit="drop"),
        OutputSpec("null", 3),
    ]
    began_s = time.monotonic()
    worker = processes.worker(ring_of(made, 8 << 20), *outputs)
    assert worker.end() == 0
    took_s = time.monotonic() - began_s
    assert took_s > (60 - 8) / 80
    assert read_lines(path.read_bytes()) == [as_line(message) for message in made]
    counts = worker.counters.as_dict()
    assert [counts[f"output{at}_delivered"] for at in range(4)] == [120] * 4
    assert counts["messages_taken"] == 120


def test_a_limit_is_obeyed_while_traffic_comes(processes: Processes):
    """The ring is never closed, so nothing but the limit's own deadline wakes the worker."""
    ring = Ring.create(1 << 20)
    producer = Producer(ring)
    for number in range(400):
        assert producer.try_put(KIND_MESSAGE, records_of(request(number))[0])
    worker = processes.worker(ring, OutputSpec("null", 0, limit=200, over_limit="wait"))
    wait_until(lambda: worker.counters["output0_delivered"] >= 20, "the first")
    began_s, first = time.monotonic(), worker.counters["output0_delivered"]
    wait_until(lambda: worker.counters["output0_delivered"] >= 300, "three quarters")
    took_s = time.monotonic() - began_s
    assert took_s > (300 - first) / 200 * 0.9
    assert worker.cpu_s() < 0.5 + 0.3 * took_s, "it sleeps between two messages"
    producer.close()
    assert worker.end() == 0
    assert worker.counters["output0_delivered"] == 400


def test_a_careful_worker_does_not_wait_for_responses(processes: Processes, tmp_path: Path):
    """A HAR output holds a request for half a minute; each step that ended in one took as long."""
    ring = ring_of([request(number) for number in range(20)])
    path = tmp_path / "m.har"
    output = OutputSpec("file", 0, path=str(path), format="har")
    worker = processes.worker(ring, output, care=Care(until=Consumer(ring).head))
    assert worker.end() == 0
    assert worker.counters["output0_delivered"] == path.read_bytes().count(b"startedDateTime") == 20


@pytest.mark.parametrize("careful", [1, 2, 3, 7, 10])
def test_a_careful_worker_leaves_nothing_in_a_ring_that_is_closed(processes: Processes, careful: int):
    """It is careful up to where its predecessor was; what lies behind that is not to be forgotten."""
    ring = ring_of(conversation(10))
    consumer, until = Consumer(ring), 0
    for _ in range(careful):
        record = consumer.read(until)
        assert record is not None
        until = record[2]
    worker = processes.worker(ring, OutputSpec("null", 0), care=Care(until=until))
    assert worker.end() == 0
    assert worker.counters["messages_taken"] == worker.counters["output0_delivered"] == 10
