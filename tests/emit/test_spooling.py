"""A receiver that is away for long, and a disk for what it does not take: nothing is lost, nothing comes twice."""

import errno
import select
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import msgpack
import pytest

import emit.worker
from assemble.message import read_message
from capture.counters import Counters
from capture.records import KIND_MESSAGE
from capture.ring import Consumer, Producer, Ring
from emit.jsonlines import read_line
from emit.kept import Kept
from emit.records import OUTCOMES, OutputSpec, worker_counters
from emit.spool import RECORD, Spool, SpoolSpec
from emit.tcp import TcpOutput
from tests.emit.builders import conversation, on_the_wire, records_of, request, response, ring_of
from tests.emit.processes import Child, Processes, free_port, wait_until
from tests.emit.test_tcp import FarSide, to


def sums(*children: Child) -> dict[str, int]:
    """Return what workers counted at their output, together; each message has one outcome."""
    pages = [child.counters.as_dict() for child in children]
    for page in pages:
        assert page["messages_taken"] == sum(page[f"output0_{name}"] for name in OUTCOMES)
    return {name.removeprefix("output0_"): sum(page[name] for page in pages) for name in pages[0]}


def spooled(directory: Path, port: int, **changes: Any) -> OutputSpec:
    """Make an output with a spool."""
    changes = {"kept": Kept.create(), "window_chunks": 2, "chunk_records": 20, "retry_s": 0.5} | changes
    return to(f"127.0.0.1:{port}", spool=SpoolSpec(str(directory), changes.pop("most", 1 << 24)), **changes)


def drain(processes: Processes, port: int, ring: Ring, spec: OutputSpec, **more: Any) -> tuple[Child, Child]:
    """Have a receiver come, and a worker deliver until its ring ends; return it, and the receiver."""
    far = Ring.create(8 << 20)
    receiver, _port = processes.receiver(far, port=port)
    sink = processes.worker(far, OutputSpec("null", 0))
    worker = processes.worker(ring, spec, **more)
    assert worker.end() == 0
    assert receiver.stop() == 0
    assert sink.end() == 0
    assert sink.counters["messages_taken"] == receiver.counters["messages"]
    return worker, receiver


def test_a_run_that_nobody_takes_anything_of_leaves_it_to_the_next(processes: Processes, tmp_path: Path):
    """Exit code 0, and counted as spooled; the next run sends it first, in order, and then its own."""
    port = free_port()
    made = [*conversation(1000), response(3000, bytes(300_000)), response(3001)]
    worker = processes.worker(ring_of(made, 1 << 20), spooled(tmp_path, port))
    assert worker.end() == 0
    first = sums(worker)
    assert (first["spooled"], first["delivered"], first["undelivered"]) == (1002, 0, 0)
    assert any("1002 messages of this run are left in the spool" in each["text"] for each in worker.events("log"))
    again, receiver = drain(processes, port, ring_of(conversation(10)), spooled(tmp_path, port))
    second = sums(again)
    assert second["from_spool"] == 1002
    assert second["delivered"] + second["drained"] == 10
    assert receiver.counters["messages"] == 1012
    assert not list(tmp_path.rglob("*.chunks"))


def test_a_receiver_that_comes_late_gets_everything_from_the_disk(processes: Processes, tmp_path: Path):
    """Much more than a ring holds; the retry time does not matter; afterwards the disk is empty."""
    port = free_port()
    ring = Ring.create(64 * 1024)
    producer = Producer(ring)
    worker = processes.worker(ring, spooled(tmp_path, port))
    for message in conversation(3000):
        producer.put(KIND_MESSAGE, records_of(message)[0])
    wait_until(lambda: worker.counters["output0_spooled"] > 1000, "messages on disk")
    far = Ring.create(8 << 20)
    receiver, _port = processes.receiver(far, port=port)
    sink = processes.worker(far, OutputSpec("null", 0))
    wait_until(lambda: worker.counters["output0_drained"] > 0, "the disk is read")
    producer.close()
    assert worker.end() == 0
    assert receiver.stop() == 0
    assert sink.end() == 0
    counts = sums(worker)
    assert counts["drained"] == counts["spooled"]
    assert counts["delivered"] + counts["drained"] == receiver.counters["messages"] == 3000
    assert not list(tmp_path.rglob("*.chunks"))


def test_a_window_larger_than_the_ring_is_no_reason_to_wait(processes: Processes, tmp_path: Path):
    """Steps have a ring of their own, smaller than a window; it must not fill while there is a disk."""
    ring = Ring.create(64 * 1024)
    producer = Producer(ring)
    worker = processes.worker(ring, spooled(tmp_path, free_port(), window_chunks=1000))
    for message in conversation(3000):
        wait_until(partial(producer.try_put, KIND_MESSAGE, records_of(message)[0]), "room in the ring")
    producer.close()
    assert worker.end() == 0
    assert sums(worker)["spooled"] == 3000


def turned(output: TcpOutput, now_s: float) -> None:
    """Have an output do what there is to do, at a time."""
    poller = select.poll()
    for fd, events in output.descriptors().items():
        poller.register(fd, events)
    if poller.poll(1):
        output.on_ready(now_s)
    output.pump(output.consumer.head, now_s)


def step(output: TcpOutput, now_s: float, condition: Callable[[], bool]) -> bool:
    """Have it go on, and tell whether it has come far enough."""
    turned(output, now_s)
    return condition()


def test_room_that_was_given_back_is_not_given_back_again(tmp_path: Path):
    """Chunks that went to the disk, and from there to the receiver: else two later ones share a place."""
    far = FarSide(["keep"] * 2)
    try:
        consumer, counters = Consumer(ring_of(conversation(200))), Counters(worker_counters(1))
        spec = spooled(tmp_path, int(far.address.rpartition(":")[2]), retry_s=1e9, flush_s=0.001)
        output = TcpOutput(spec, consumer, counters)
        output.start(0.0)
        wait_until(partial(step, output, 0.1, lambda: len(far.chunks) == 2), "two chunks that are kept")
        wait_until(partial(step, output, 1.0, lambda: output.spooling), "chunks on the disk")
        turned(output, 100.0)  # no acknowledgement: the connection ends
        wait_until(partial(step, output, 102.0, lambda: not output.working), "all of it delivered")
        output.close()
    finally:
        far.close()
    places = [at for each in output.kept.spare.values() for at, _warm in each]
    assert len(set(places)) == len(places) > 0


class Moody(FarSide):
    """Hangs up on every chunk until it takes them."""

    taking = False

    def serve(self, connection: socket.socket) -> None:
        for frame in self.frames(connection):
            if not self.taking:
                return
            connection.sendall(msgpack.packb({"ack": frame[2]["chunk"]}))


def test_what_is_on_the_disk_outlasts_what_was_given_up(tmp_path: Path):
    """The disk fails, too, while the receiver is away: memory is given up, and what is on the disk is not."""
    far = Moody()
    puts = iter([True] * 6 + [False] * 1000)

    def put(spool: Spool, chunk: Any, frame: bytes, real: Any = Spool.put) -> None:
        if not far.taking and not next(puts):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(spool, chunk, frame)

    try:
        consumer, counters = Consumer(ring_of(conversation(400))), Counters(worker_counters(1))
        spec = spooled(tmp_path, int(far.address.rpartition(":")[2]), retry_s=5.0, flush_s=0.001)
        output = TcpOutput(spec, consumer, counters)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Spool, "put", put)
            output.start(0.0)
            wait_until(partial(step, output, 1.0, lambda: bool(output.late)), "chunks that the disk does not take")
            wait_until(partial(step, output, 20.0, lambda: output.away), "the end of its patience")
            assert output.spooling
            assert output.tally.undelivered > 0
            far.taking = True
            wait_until(partial(step, output, 60.0, lambda: not output.working), "what is on the disk")
        output.close()
    finally:
        far.close()
    assert counters["output0_drained"] == output.tally.spooled > 0
    assert output.tally.spooled + output.tally.undelivered == 400


def test_killed_with_chunks_on_disk(processes: Processes, tmp_path: Path):
    """Again and again, while they go there and while they come from there: each message once."""
    port = free_port()
    made = conversation(6000)
    ring, counters = ring_of(made, 16 << 20), Counters(worker_counters(1))
    spec = spooled(tmp_path, port)
    for few in (500, 2000):
        worker = processes.worker(ring, spec, counters=counters)
        wait_until(lambda few=few: counters["output0_spooled"] > few, "messages on disk")
        worker.kill()
    far = Ring.create(8 << 20)
    receiver, _port = processes.receiver(far, port=port)
    sink = processes.worker(far, OutputSpec("null", 0))
    for few in (300, 1500):
        worker = processes.worker(ring, spec, counters=counters)
        wait_until(lambda few=few: receiver.counters["messages"] > few, "messages from disk")
        worker.kill()
    last = processes.worker(ring, spec, counters=counters)
    assert last.end() == 0
    assert receiver.stop() == 0
    assert sink.end() == 0
    counts = sums(last)
    assert receiver.counters["messages"] == sink.counters["messages_taken"] == 6000
    assert counts["delivered"] + counts["drained"] == 6000
    assert counts["spooled"] == counts["drained"]
    assert receiver.counters["gaps"] == 0


def test_a_full_spool_leaves_it_to_the_policy(processes: Processes, tmp_path: Path):
    """drop: what has no room is counted, the ring flows, and what is on disk is not given up."""
    ring = Ring.create(64 * 1024)
    producer = Producer(ring)
    worker = processes.worker(ring, spooled(tmp_path, free_port(), most=200_000, policy="drop"))
    for message in conversation(5000):
        producer.put(KIND_MESSAGE, records_of(message)[0])
    producer.close()
    assert worker.end() == 1, "what was in the ring at the end has no place"
    counts = sums(worker)
    assert counts["spooled"] > 300
    assert counts["dropped"] > 0
    assert counts["spooled"] + counts["dropped"] + counts["undelivered"] == 5000
    assert "messages were not delivered" in worker.events("failed")[0]["text"]


def test_a_disk_that_fails_is_said_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """It goes on without, in memory, with the order kept; and tries again later."""
    consumer, counters = Consumer(ring_of(conversation(2000))), Counters(worker_counters(1))
    output = TcpOutput(spooled(tmp_path, free_port(), retry_s=1e9, flush_s=0.001), consumer, counters)
    output.start(0.0)
    full = OSError(errno.ENOSPC, "No space left on device")
    failing = [False] * 5 + [True]

    def put(spool: Spool, chunk: Any, frame: bytes, real: Any = Spool.put) -> None:
        if failing and failing.pop(0):
            raise full
        real(spool, chunk, frame)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Spool, "put", put)
        for turn in range(20):
            output.pump(consumer.head, turn / 10)
            output.on_ready(turn / 10)
        taken = output.cursor
        assert taken < consumer.head
        assert len(output.late) > 0
        assert counters["output0_spool_failed"] == 1
        assert "no space left on device: make room; going on without it" in caplog.text
        successor = TcpOutput(output.spec, consumer, counters)
        output.close()
        successor.start(0.0)
        assert [chunk.name for chunk in successor.late] == [chunk.name for chunk in output.late]
        assert successor.cursor <= taken
        successor.finish()
        for turn in range(3000):
            successor.pump(consumer.head, 100 + turn / 10)
            successor.on_ready(100 + turn / 10)
            if successor.done(consumer.head):
                break
        assert successor.done(consumer.head)
        successor.close()
    assert successor.tally.spooled == 2000
    assert successor.safe == consumer.head


def refusing_notes(spec: Any) -> None:
    """Be a worker whose disk takes chunks, and not how far they are delivered."""

    def release(spool: Spool, position: int, real: Any = Spool.release) -> None:
        real(spool, position)
        raise OSError(errno.EROFS, "Read-only file system")

    Spool.release = release  # type: ignore[method-assign]
    emit.worker.main(spec)


def test_a_disk_that_does_not_keep_what_is_delivered_stops_nobody(processes: Processes, tmp_path: Path):
    """It is said once, and counted; everything arrives, once."""
    port = free_port()
    ring = Ring.create(8 << 20)
    producer = Producer(ring)
    for message in conversation(2000):
        assert producer.try_put(KIND_MESSAGE, records_of(message)[0])
    worker = processes.start(refusing_notes, processes.worker_spec(ring, spooled(tmp_path, port)))
    wait_until(lambda: worker.counters["output0_spooled"] > 100, "messages on disk")
    far = Ring.create(8 << 20)
    receiver, _port = processes.receiver(far, port=port)
    sink = processes.worker(far, OutputSpec("null", 0))
    wait_until(lambda: receiver.counters["messages"] == 2000, "all that was on disk")
    producer.close()
    assert worker.end() == 0
    assert receiver.stop() == 0
    assert sink.end() == 0
    counts = sums(worker)
    assert counts["delivered"] + counts["drained"] == receiver.counters["messages"] == 2000
    said = [each["text"] for each in worker.events("log") if "may send again what is delivered" in each["text"]]
    assert len(said) == counts["spool_failed"] == 1
    assert "read-only file system" in said[0]


def wound(directory: Path, *places: tuple[int, int]) -> dict[int, int]:
    """Damage chunks that are on disk: the how manieth, and at which byte; return where each is, and its messages."""
    (file,) = directory.rglob("*.chunks")
    data = bytearray(file.read_bytes())
    chunks = [(at, messages) for at, messages, _parts in chunks_in(data)]
    for number, byte in places:
        data[chunks[number][0] + byte] ^= 0x40
    file.write_bytes(data)
    return dict(chunks[number] for number, _byte in places)


def chunks_in(data: bytes | bytearray) -> Iterator[tuple[int, int, int]]:
    """Yield of each chunk in a file: where it is, how many messages end in it, and of how many parts it is one."""
    at = 0
    while at < len(data):
        fields = RECORD.unpack_from(data, at)
        yield at, fields[5], fields[7]
        at += RECORD.size + fields[1]


def errors_of(worker: Child) -> list[str]:
    """Return what it has said about its disk."""
    return [each["text"] for each in worker.events("log") if ": spool " in each["text"] and "offset" in each["text"]]


@pytest.mark.parametrize("byte", [0, 60], ids=["head", "frame"])
def test_a_chunk_that_is_damaged_on_disk_costs_itself(processes: Processes, tmp_path: Path, byte: int):
    """All others arrive, once; its messages are not delivered, and a line says where they lay."""
    port, counters = free_port(), Counters(worker_counters(1))
    ring, spec = ring_of(conversation(2000), 8 << 20, close=False), spooled(tmp_path, port)
    first = processes.worker(ring, spec, counters=counters)
    wait_until(lambda: counters["output0_spooled"] == 2000, "all messages on disk")
    first.kill()
    gone = wound(tmp_path, (30, byte), (32, byte), (70, 60))
    Producer(ring).close()
    again, receiver = drain(processes, port, ring, spec, counters=counters)
    counts, lost = sums(again), sum(gone.values())
    assert counts["spool_refused"] == lost > 0
    assert counts["drained"] == receiver.counters["messages"] == 2000 - lost
    assert counts["spooled"] == 2000
    said = errors_of(again)
    assert len(said) == len(gone)
    for line, (at, messages) in zip(said, gone.items(), strict=True):
        assert f"/worker-0: 00000001.chunks, offset {at}: " in line
        assert "bytes cannot be read: it is damaged; " in line
        assert (f"; {messages} messages are not delivered" in line) == (byte == 60 or at == max(gone))
    assert not list(tmp_path.rglob("*.chunks"))


def test_a_damaged_part_costs_its_message_and_no_other(processes: Processes, tmp_path: Path):
    """No part of it is taken for the whole; what comes before and after it arrives."""
    port, counters = free_port(), Counters(worker_counters(1))
    made = [*conversation(40), response(900, bytes(range(256)) * 10_000), *conversation(40)]
    ring, spec = ring_of(made, 8 << 20, close=False), spooled(tmp_path, port, chunk_bytes=256 * 1024, most=1 << 28)
    first = processes.worker(ring, spec, counters=counters)
    wait_until(lambda: counters["output0_spooled"] == 81, "all messages on disk")
    first.kill()
    (file,) = tmp_path.rglob("*.chunks")
    data = file.read_bytes()
    parts = [at for at, _messages, parts in chunks_in(data) if parts > 1]
    assert len(parts) > 2
    file.write_bytes(data[: parts[1] + 100] + b"\0\1" + data[parts[1] + 102 :])
    Producer(ring).close()
    again, receiver = drain(processes, port, ring, spec, counters=counters)
    assert sums(again)["spool_refused"] == 1
    assert (receiver.counters["messages"], receiver.counters["records_refused"]) == (80, 0)
    assert len(errors_of(again)) == len(parts) - 1


def test_what_an_earlier_run_has_left_and_the_disk_has_lost_is_a_loss_of_its_own(processes: Processes, tmp_path: Path):
    """It is in no row of this run, whose sums close without it."""
    port = free_port()
    assert processes.worker(ring_of(conversation(1000), 8 << 20), spooled(tmp_path, port)).end() == 0
    gone = wound(tmp_path, (0, 60), (20, 60))
    second, receiver = drain(processes, port, ring_of(conversation(10)), spooled(tmp_path, port))
    counts, lost = sums(second), sum(gone.values())
    assert (counts["spool_lost"], counts["spool_refused"], counts["undelivered"]) == (lost, 0, 0)
    assert counts["from_spool"] == 1000 - lost
    assert receiver.counters["messages"] == 1010 - lost


def failing_once(spec: Any) -> None:
    """Be a worker whose disk does not give back a chunk, and then does others."""
    real = Spool.get
    failures = [OSError(errno.EIO, "Input/output error")]

    def get(spool: Spool, chunk: Any) -> bytes:
        if failures:
            raise failures.pop()
        return real(spool, chunk)

    Spool.get = get  # type: ignore[method-assign]
    emit.worker.main(spec)


def test_a_chunk_that_the_disk_does_not_give_back_costs_itself(processes: Processes, tmp_path: Path):
    """It was sent, the connection broke, and it cannot be read again: the others are sent, and it is counted."""
    far = FarSide(["keep", "close"])
    try:
        spec = spooled(tmp_path, int(far.address.rpartition(":")[2]), retry_s=1e9)
        ring = ring_of(conversation(2000), 8 << 20, close=False)
        worker = processes.start(failing_once, processes.worker_spec(ring, spec))
        done = [f"output0_{name}" for name in ("delivered", "drained", "spool_refused")]
        wait_until(lambda: sum(worker.counters[name] for name in done) == 2000, "the end of all messages")
        Producer(ring).close()
        assert worker.end() == 0
    finally:
        far.close()
    counts = sums(worker)
    (line,) = errors_of(worker)
    assert "bytes cannot be read: input/output error" in line
    lost = counts["spool_refused"]
    assert 0 < lost < 50
    assert f"; {lost} messages are not delivered" in line
    assert counts["delivered"] + counts["drained"] == 2000 - lost
    assert counts["spooled"] == counts["drained"] + lost


def refusing_chunks(spec: Any) -> None:
    """Be a worker whose disk gives nothing back of what it has taken."""
    error = OSError(spec.kept and int(spec.kept), "no")
    Spool.pread = Mock(side_effect=error)  # type: ignore[method-assign]
    emit.worker.main(spec)


@pytest.mark.parametrize(("code", "most"), [(errno.EIO, 2), (errno.EMFILE, 0)])
def test_a_disk_that_gives_nothing_back_ends_its_output_and_no_other(
    processes: Processes, tmp_path: Path, code: int, most: int
):
    """After those in the window, or at once where it is not about them; the rest stays there for the next run."""
    far = FarSide(["close"] * 10_000)
    try:
        spec = spooled(tmp_path, int(far.address.rpartition(":")[2]), retry_s=1e9)
        ring = ring_of(conversation(2000), 8 << 20)
        more = {"kept": str(code)}
        worker = processes.start(refusing_chunks, processes.worker_spec(ring, spec, OutputSpec("null", 1), **more))
        assert worker.end() == 1
    finally:
        far.close()
    counts = sums(worker)
    assert worker.counters["output1_delivered"] == 2000
    assert len(errors_of(worker)) <= most
    assert counts["spooled"] > counts["spool_refused"]
    assert counts["spooled"] + counts["undelivered"] == 2000
    assert "what is in its spool cannot be read: " in worker.events("failed")[0]["text"]


class Picky(FarSide):
    """Hangs up on every chunk that holds a request for this."""

    def serve(self, connection: socket.socket) -> None:
        for frame in self.frames(connection):
            if b"/item/7x" in frame[1]:
                return
            self.chunks.append(frame)
            connection.sendall(msgpack.packb({"ack": frame[2]["chunk"]}))


@pytest.mark.parametrize("spool", [True, False])
def test_a_chunk_that_no_connection_survives_does_not_hold_up_the_rest(
    processes: Processes, tmp_path: Path, spool: bool
):
    """After five times, with others taken, it is put aside and counted; where there is a spool, in a file."""
    far = Picky()
    try:
        port = int(far.address.rpartition(":")[2])
        spec = spooled(tmp_path, port, chunk_records=1, flush_s=0.001)
        if not spool:
            spec = replace(spec, spool=None)
        ring = Ring.create(1 << 20)
        producer = Producer(ring)
        worker = processes.worker(ring, spec)
        sent = 0

        def feed() -> bool:
            nonlocal sent
            target = "/item/7x" if sent == 30 else "/other"
            sent += producer.try_put(KIND_MESSAGE, records_of(request(sent, target=target))[0])
            return worker.counters["output0_dead_letters"] > 0 and sent > 40

        wait_until(feed, "it is given up")
        producer.close()
        assert worker.end() == 0
        counts = sums(worker)
        assert len(far.chunks) == len({frame[2]["chunk"] for frame in far.chunks}) == sent - 1
    finally:
        far.close()
    assert counts["dead_letters"] == counts["undelivered"] + counts["spool_refused"] == 1
    assert counts["delivered"] + counts["drained"] == sent - 1
    assert counts["spooled"] == counts["drained"] + counts["spool_refused"]
    written = tmp_path / "worker-0" / "dead-letters.jsonl"
    assert written.exists() == spool
    if spool:
        assert read_message(read_line(written.read_bytes())) == on_the_wire(request(30, target="/item/7x"))
        assert written.stat().st_mode & 0o777 == 0o600


def test_a_successor_in_another_configuration_sends_what_is_on_disk(processes: Processes, tmp_path: Path):
    """A reload while nobody listens: each worker's sums close, and every message comes once."""
    port = free_port()
    ring = ring_of(conversation(2000), 8 << 20)
    spec = spooled(tmp_path, port)
    old = processes.worker_spec(ring, spec)
    first = processes.start(emit.worker.main, old)
    wait_until(lambda: first.counters["output0_spooled"] > 100, "messages on disk")
    old.leave.raise_()
    assert first.end() == 0
    second, receiver = drain(processes, port, ring, spec)
    counts, before = sums(second), sums(first)
    assert counts["from_spool"] == before["spooled"]
    assert counts["delivered"] + counts["drained"] + counts["from_spool"] + before["delivered"] == 2000
    assert receiver.counters["messages"] == 2000
