"""The sender against receivers and networks that misbehave: whole processes, and a far side written for the test."""

import contextlib
import io
import socket
import threading
import zlib
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest

import emit.worker
from capture.counters import Counters
from capture.records import KIND_MESSAGE
from capture.ring import Consumer, Producer, Ring
from emit.kept import Kept
from emit.records import OutputSpec, worker_counters
from emit.tcp import TcpOutput
from emit.wire import read_chunk_id
from tests.emit.builders import (
    conversation,
    drain,
    on_the_wire,
    part_bytes_of,
    records_of,
    replayed,
    request,
    response,
    ring_of,
    sorted_messages,
)
from tests.emit.processes import Processes, free_port, proxy, wait_until
from tests.emit.steps import Suffix
from tests.emit.test_chunks import FORMS
from tests.emit.test_worker import put_all


class FarSide:
    """A Forward server in a thread; `answer` says what to do with each chunk: "ack", "keep" (no answer) or "close"."""

    def __init__(self, answers: list[str] | None = None) -> None:
        self.answers = list(answers or [])
        self.chunks: list[Any] = []  # frames, in order of arrival
        self.connections = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(0.05)
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.closing = threading.Event()
        self.kept: list[Any] = []
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        """Serve one connection at a time."""
        while not self.closing.is_set():
            with contextlib.suppress(TimeoutError, OSError):
                connection, _address = self.listener.accept()
                self.connections += 1
                with connection:
                    self.serve(connection)

    def frames(self, connection: socket.socket) -> Iterator[Any]:
        """Read frames until the end of the connection, or ours."""
        connection.settimeout(0.05)
        unpacker = msgpack.Unpacker(max_buffer_size=1 << 26)
        while not self.closing.is_set():
            try:
                data = connection.recv(1 << 16)
            except TimeoutError:
                continue
            if not data:
                return
            unpacker.feed(data)
            yield from unpacker

    def serve(self, connection: socket.socket) -> None:
        """Read frames and answer."""
        for frame in self.frames(connection):
            self.chunks.append(frame)
            answer = self.answers.pop(0) if self.answers else "ack"
            if answer == "close":
                return
            self.kept.append(frame[2]["chunk"])
            if answer == "ack":
                for name in reversed(self.kept):
                    connection.sendall(msgpack.packb({"ack": name}))
                self.kept.clear()

    def close(self) -> None:
        """End it."""
        self.closing.set()
        self.thread.join()
        self.listener.close()


@contextlib.contextmanager
def far_side(answers: list[str] | None = None) -> Iterator[FarSide]:
    """Run a far side."""
    made = FarSide(answers)
    try:
        yield made
    finally:
        made.close()


def to(address: str, **changes: Any) -> OutputSpec:
    """Make a tcp output with small chunks and quick timers."""
    return OutputSpec("tcp", 0, address=address, **({"chunk_records": 50, "flush_s": 0.01} | changes))


def test_chunks_are_strict_forward(processes: Processes):
    """Tags by kind, str ids of one session numbered without a gap, sizes: any v1 server can take this."""
    with far_side() as far:
        worker = processes.worker(ring_of(conversation(300)), to(far.address, tag="mine"))
        assert worker.end() == 0
    assert {frame[0] for frame in far.chunks} == {"mine.request", "mine.response"}
    idents = [read_chunk_id(frame[2]["chunk"].encode()) for frame in far.chunks]
    assert [ident[1] for ident in idents if ident] == list(range(len(far.chunks)))
    assert len({ident[0] for ident in idents if ident}) == 1
    assert sum(frame[2]["size"] for frame in far.chunks) == 300
    assert far.connections == 1


@pytest.mark.parametrize("compression", ["none", "gzip"])
@pytest.mark.parametrize("form", FORMS)
def test_payloads_have_the_form_that_is_asked_for(form: str, compression: str, processes: Processes):
    """Behind steps, too, and in parts; what is counted, and `head`, is about the bytes that were captured."""
    made = [
        *conversation(20),
        request(50, "gr\xfc\xdfe".encode() + bytes(range(256))),
        response(50, b"fine " * 150_000),
    ]
    sent = {(each.kind, each.id_hex): each.with_payload(each.payload + b"\xfe", each.head) for each in made}
    with far_side() as far:
        output = to(far.address, payload=form, compression=compression, transforms=(Suffix(b"\xfe"),))
        worker = processes.worker(ring_of(made, 4 << 20), output)
        assert worker.end() == 0
    found: dict[tuple[str, str], list[Any]] = {}
    for _tag, packed, options in far.chunks:
        unpacker = msgpack.Unpacker(max_buffer_size=1 << 26)
        unpacker.feed(zlib.decompress(packed, 31) if "compressed" in options else packed)
        for _time, record in unpacker:
            assert record["head"] == sent[record["kind"], record["id"]].head
            found.setdefault((record["kind"], record["id"]), []).append(record["payload"])
    joined = {key: type(pieces[0])().join(pieces) for key, pieces in found.items()}
    assert max(map(len, found.values())) > 1
    assert joined == {key: FORMS[form](message.payload) for key, message in sent.items()}
    assert worker.counters["output0_delivered"] == len(made)
    assert worker.counters["output0_delivered_bytes"] == sum(len(message.payload) for message in sent.values())


def test_what_answers_a_request_leaves_after_it(processes: Processes):
    """A receiver judges responses, and answers replayed, by their requests; each kind has its chunks and its tag."""
    made = [request(1), response(1), replayed(1, bytes(100_000)), request(2), replayed(2)]
    with far_side() as far:
        worker = processes.worker(ring_of(made, 1 << 19), to(far.address))
        assert worker.end() == 0
    tags = [frame[0].removeprefix("ringtap.") for frame in far.chunks]
    assert tags == ["request", "response", *["replayed"] * (len(tags) - 4), "request", "replayed"]
    assert len(tags) > 5, "the large one came in parts"


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_all_messages_arrive_at_our_receiver(processes: Processes, compression: str):
    """Same messages, same ids, large ones included; and nothing is in the ring that is not acknowledged."""
    large = [made(5000, bytes(range(256)) * 20_000) for made in (response, replayed)]
    made = [*conversation(2000), *large, *conversation(10), replayed(1), replayed(2, status=0, complete=False)]
    far = Ring.create(32 << 20)
    receiver, port = processes.receiver(far)
    sink = processes.worker(far, OutputSpec("null", 0))
    worker = processes.worker(ring_of(made, 32 << 20), to(f"127.0.0.1:{port}", compression=compression))
    assert worker.end() == 0
    assert receiver.stop() == 0
    assert sink.end() == 0
    assert worker.counters["output0_delivered"] == sink.counters["messages_taken"] == len(made)
    assert receiver.counters["messages"] == len(made)
    assert sink.counters["bytes_taken"] == sum(len(message.payload) for message in made)


@pytest.mark.parametrize("kill", [False, True])
@pytest.mark.parametrize("large", [False, True])
def test_a_receiver_that_was_away_for_long_gets_what_comes_from_then_on(processes: Processes, large: bool, kill: bool):
    """Who mirrors for months must not stand still because of a minute; what it has cost is counted, and told."""
    near, far, port = Ring.create(1 << 20), Ring.create(1 << 20), free_port()
    producer = Producer(near)
    output = to(f"127.0.0.1:{port}", retry_s=0.3)
    worker = processes.worker(near, output)
    lost = [response(n, bytes([n]) * 200_000) for n in range(3)] if large else conversation(60)
    for record in [record for message in lost for record in records_of(message, part_bytes_of(near))]:
        producer.put(KIND_MESSAGE, record)
    wait_until(lambda: worker.counters["messages_taken"] == len(lost), "messages given up")
    assert worker.counters["output0_undelivered"] == len(lost)
    if kill:
        worker.kill()
        worker = processes.worker(near, output, counters=worker.counters)
    receiver, _port = processes.receiver(far, port=port)
    sink = processes.worker(far, OutputSpec("null", 0))
    wait_until(lambda: receiver.counters["connections"] > 0, "a connection")
    if not kill:
        wait_until(lambda: any("is there again; " in event["text"] for event in worker.events("log")), "the word")
    made = conversation(60)
    for message in made:
        producer.put(KIND_MESSAGE, records_of(message, part_bytes_of(near))[0])
    producer.close()
    assert worker.end() == 1, "whether or not the process lived that knew why"
    assert receiver.stop() == 0
    assert sink.end() == 0
    assert worker.counters["output0_undelivered"] == len(lost)
    assert worker.counters["output0_delivered"] == sink.counters["messages_taken"] == len(made)
    assert worker.counters["messages_taken"] == len(lost) + len(made)
    [failed] = worker.events("failed")
    why = "before its worker was started again" if kill else "tried for 0.3 s"
    assert f"{why}; {len(lost)} messages were not delivered" in failed["text"]


def test_a_receiver_that_takes_nothing_for_long_is_tried_again(processes: Processes):
    """It has a fault of its own, and may get over it."""
    ring = Ring.create(1 << 20)
    producer = Producer(ring)
    for message in conversation(60):
        producer.put(KIND_MESSAGE, records_of(message)[0])
    with far_side(["keep"] * 2) as far:  # the requests, and the responses
        worker = processes.worker(ring, to(far.address, ack_timeout_s=0.2, attempts=1))
        wait_until(lambda: any("is there again; 60 " in event["text"] for event in worker.events("log")), "the word")
        for message in conversation(60):
            producer.put(KIND_MESSAGE, records_of(message)[0])
        producer.close()
        assert worker.end() == 1
    counts = worker.counters.as_dict()
    assert (counts["output0_undelivered"], counts["output0_delivered"], counts["messages_taken"]) == (60, 60, 120)
    assert "acknowledged nothing for 0.2 s" in worker.events("failed")[0]["text"]


@pytest.mark.parametrize("steps", [False, True])
def test_a_message_larger_than_every_ring_arrives(processes: Processes, steps: bool):
    """Nothing of it is acknowledged before its end has come: the ring must not hold its beginning until then."""
    made = [*conversation(10), response(900, bytes(range(256)) * 20_000), *conversation(10)]
    near, far = Ring.create(256 * 1024), Ring.create(256 * 1024)
    writer = put_all(near, made)
    receiver, port = processes.receiver(far)
    sink = processes.worker(far, OutputSpec("null", 0))
    output = to(f"127.0.0.1:{port}", transforms=(Suffix(b""),) if steps else ())
    worker = processes.worker(near, output)
    assert worker.end() == 0
    writer.join()
    assert receiver.stop() == 0
    assert sink.end() == 0
    assert worker.counters["output0_delivered"] == sink.counters["messages_taken"] == len(made)
    assert sink.counters["bytes_taken"] == sum(len(message.payload) for message in made)


@pytest.mark.parametrize("how", ["cut", "reset"])
@pytest.mark.parametrize("large", [False, True])
def test_connections_that_break_anywhere_cost_nothing(processes: Processes, how: str, large: bool):
    """Cut at any byte: what was not acknowledged comes again under its id, and is taken once."""
    made = conversation(1200) if not large else [response(n, bytes([n]) * 300_000) for n in range(20)]
    far = Ring.create(16 << 20)
    receiver, port = processes.receiver(far)
    plans = [(how, 1 + 17_919 * step) for step in range(6)]
    with proxy(port, plans) as between:
        sink = processes.worker(far, OutputSpec("file", 0, path="/dev/null"))
        worker = processes.worker(ring_of(made, 16 << 20), to(f"127.0.0.1:{between.port}", chunk_records=7))
        assert worker.end() == 0
        assert between.connections == 7
    assert receiver.stop() == 0
    assert sink.end() == 0
    assert worker.counters["output0_delivered"] == len(made)
    assert worker.counters["output0_reconnects"] == 6
    assert worker.counters["output0_resent"] > 0
    assert receiver.counters["messages"] == sink.counters["messages_taken"] == len(made)


def test_what_arrives_is_what_was_sent(processes: Processes):
    """Byte for byte, through a receiver with several rings, whatever the workers do later."""
    made = [*conversation(200), response(900, b"z" * 3_000_000)]
    rings = [Ring.create(16 << 20) for _ in range(3)]
    receiver, port = processes.receiver(*rings, drain_s=0.1)
    worker = processes.worker(ring_of(made, 16 << 20), to(f"127.0.0.1:{port}"))
    wait_until(lambda: receiver.counters["messages"] == len(made), "all messages in the rings")
    found = [message for ring in rings for message in drain(ring)]
    assert sorted_messages(found) == sorted_messages([on_the_wire(message) for message in made])
    assert worker.counters["output0_delivered"] == 0, "nobody has released them: nothing is acknowledged"


def test_a_receiver_killed_and_restarted_in_mid_run_gets_everything(processes: Processes):
    """At least once: the ids tell repetitions, and nothing is missing."""
    made = conversation(20_000)
    far = Ring.create(1 << 20)
    first, port = processes.receiver(far)
    sink = processes.worker(far, OutputSpec("null", 0))
    worker = processes.worker(ring_of(made, 16 << 20), to(f"127.0.0.1:{port}"))
    wait_until(lambda: worker.counters["messages_taken"] > 100, "some acknowledgements")
    first.kill()
    second, _port = processes.receiver(far, port=port)
    assert worker.end() == 0
    assert second.stop() == 0
    assert sink.end() == 0
    assert worker.counters["output0_delivered"] == len(made)
    written = first.counters["messages"] + second.counters["messages"]
    assert sink.counters["messages_taken"] >= len(made)
    assert sink.counters["messages_taken"] - written <= 1000, "the killed one may not have counted its last chunks"


def test_acknowledgements_may_come_in_any_order():
    """They are matched by id; the ring is kept until the oldest has come."""
    with far_side(["keep", "keep", "keep", "ack"]) as far:
        consumer = Consumer(ring_of(conversation(4)))
        output = TcpOutput(to(far.address, chunk_records=1), consumer, Counters(worker_counters(1)))
        output.start(0.0)
        output.finish()
        kept = []

        def turn() -> bool:
            output.pump(consumer.head, 0.0)
            output.on_ready(0.0)
            if len(far.chunks) < 4:
                kept.append(output.safe)
            return output.done(consumer.head)

        wait_until(turn, "all acknowledgements")
        output.close()
    assert set(kept) == {0}
    assert output.tally.delivered == 4
    assert len(far.chunks) == 4


def test_a_receiver_that_is_not_there_is_given_up(processes: Processes):
    """A bounded number of tries, an error that counts, exit code 1, and all the rest of the ring drained."""
    ring = Ring.create(64 * 1024)
    producer = Producer(ring)
    worker = processes.worker(ring, to(f"127.0.0.1:{free_port()}", retry_s=0.5))
    for message in conversation(2000):
        producer.put(KIND_MESSAGE, records_of(message)[0])
    producer.close()
    assert worker.end() == 1
    assert worker.counters["output0_undelivered"] == worker.counters["messages_taken"] == 2000
    assert "2000 messages were not delivered" in worker.events("failed")[0]["text"]


def test_a_peer_that_hangs_up_at_once_is_given_up_too(processes: Processes):
    """A forwarded port without anybody behind it accepts, and closes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closing = threading.Event()

        def hang_up() -> None:
            listener.settimeout(0.05)
            while not closing.is_set():
                with contextlib.suppress(TimeoutError):
                    listener.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        worker = processes.worker(ring_of(conversation(10)), to(address, retry_s=0.5))
        assert worker.end() == 1
        closing.set()
        thread.join()
    assert worker.counters["output0_undelivered"] == 10


def test_a_peer_that_never_answers_is_tried_again_and_then_given_up(processes: Processes):
    """Silence is all that Forward has for an error: same chunks, same ids, new connections, a bounded number."""
    with far_side(["keep"] * 1000) as far:
        worker = processes.worker(ring_of(conversation(10)), to(far.address, ack_timeout_s=0.2, attempts=3))
        assert worker.end() == 1
        assert far.connections >= 2
        names = [frame[2]["chunk"] for frame in far.chunks]
        assert len(names) > len(set(names))
    assert worker.counters["output0_undelivered"] == 10
    assert "acknowledged nothing" in worker.events("failed")[0]["text"]


def test_a_peer_that_stops_reading_is_left(processes: Processes):
    """A write that makes no progress ends in a new connection."""
    made = [response(n, bytes(200_000)) for n in range(60)]
    far = Ring.create(32 << 20)
    receiver, port = processes.receiver(far)
    sink = processes.worker(far, OutputSpec("null", 0))
    with proxy(port, [("stall", 100_000)]) as between:
        spec = to(f"127.0.0.1:{between.port}", write_timeout_s=0.3)
        worker = processes.worker(ring_of(made, 32 << 20), spec)
        assert worker.end() == 0
    assert receiver.stop() == 0
    assert sink.end() == 0
    assert worker.counters["output0_delivered"] == 60
    assert worker.counters["output0_reconnects"] == 1


def test_a_request_leaves_before_its_response(processes: Processes):
    """Who replays or joins what arrives sees an exchange in its order, though the two travel in chunks of their own."""
    made = [m for each in range(400) for m in (request(each, bytes(each % 7 * 40)), response(each, bytes(each)))]
    with far_side() as far:
        worker = processes.worker(ring_of(made), to(far.address, chunk_records=30, chunk_bytes=8192, window_chunks=5))
        assert worker.end() == 0
    seen: dict[str, list[bytes]] = {}
    for tag, packed, _ in far.chunks:
        for _, record in msgpack.Unpacker(io.BytesIO(packed), ext_hook=msgpack.ExtType):
            seen.setdefault(record["id"], []).append(tag)
    assert len(seen) == 400
    assert all(tags == ["ringtap.request", "ringtap.response"] for tags in seen.values())


def test_the_window_holds_the_sender_back(processes: Processes):
    """Chunks in flight are memory on both sides: no more than was said."""
    with far_side(["keep"] * 1000) as far:
        worker = processes.worker(ring_of(conversation(1000)), to(far.address, chunk_records=10, window_chunks=3))
        wait_until(lambda: len(far.chunks) >= 3, "the window's chunks")
        threading.Event().wait(0.3)
        assert len(far.chunks) == 3
        worker.kill()


def test_dropping_keeps_the_ring_flowing_while_nobody_answers(processes: Processes):
    """Policy "drop": whoever writes the ring never waits for a slow receiver, and the sums close."""
    with far_side(["keep"] * 10 + ["ack"] * 1000) as far:
        ring = Ring.create(64 * 1024)
        producer = Producer(ring)
        spec = to(far.address, policy="drop", window_chunks=2, chunk_records=10, ack_timeout_s=1.0, attempts=50)
        worker = processes.worker(ring, spec)
        for message in conversation(5000):
            producer.put(KIND_MESSAGE, records_of(message)[0])
        producer.close()
        assert worker.end() == 0
    counts = worker.counters.as_dict()
    assert counts["output0_dropped"] > 0
    assert counts["messages_taken"] == 5000 == counts["output0_delivered"] + counts["output0_dropped"]


def test_messages_gather_only_while_a_chunk_is_on_its_way(processes: Processes):
    """A quiet connection delivers at once; small chunks by the thousand would be no help to a receiver that is slow."""
    with far_side(["keep"]) as far:
        ring = Ring.create(1 << 20)
        producer = Producer(ring)
        worker = processes.worker(ring, to(far.address, flush_s=3.0))
        producer.put(KIND_MESSAGE, records_of(response(0))[0])
        wait_until(lambda: far.chunks, "the first message", 2.0)
        for number in range(1, 10):
            producer.put(KIND_MESSAGE, records_of(response(number))[0])
        wait_until(lambda: worker.counters["output0_delivered"] == 10, "the others")
        producer.close()
        assert worker.end() == 0
    assert [frame[2]["size"] for frame in far.chunks] == [1, 9]


def test_an_idle_connection_costs_nothing_and_sends_at_once(processes: Processes):
    """One message alone is sent without a full chunk, and without looking again and again."""
    with far_side() as far:
        ring = Ring.create(1 << 20)
        producer = Producer(ring)
        worker = processes.worker(ring, to(far.address, flush_s=60.0))
        producer.put(KIND_MESSAGE, records_of(response(1))[0])
        wait_until(lambda: worker.counters["output0_delivered"] == 1, "the first message")
        before_s = worker.cpu_s()
        threading.Event().wait(1.0)
        assert worker.cpu_s() - before_s <= 0.02
        producer.put(KIND_MESSAGE, records_of(response(2))[0])
        wait_until(lambda: worker.counters["output0_delivered"] == 2, "the second message", 1.0)
        producer.close()
        assert worker.end() == 0


@pytest.mark.parametrize("size", [0, 300_000])
def test_a_worker_that_is_killed_again_and_again_repeats_nothing(processes: Processes, size: int):
    """Its successors send what was on its way under the ids that it had: our receiver takes each message once."""
    made = [message for n in range(2000) for message in (request(n), response(n, bytes(size if n % 100 == 0 else 50)))]
    far = Ring.create(8 << 20)
    receiver, port = processes.receiver(far)
    sink = processes.worker(far, OutputSpec("null", 0))
    ring, counters = ring_of(made, 32 << 20), Counters(worker_counters(1))
    spec = to(f"127.0.0.1:{port}", chunk_records=20, window_chunks=4, kept=Kept.create())
    for few in range(500, 3500, 500):
        worker = processes.worker(ring, spec, counters=counters)
        wait_until(lambda few=few: counters["messages_taken"] > few, "some acknowledgements")
        worker.kill()
    assert processes.worker(ring, spec, counters=counters).end() == 0
    assert receiver.stop() == 0
    assert sink.end() == 0
    assert counters["messages_taken"] == counters["output0_delivered"] == len(made)
    assert receiver.counters["messages"] == sink.counters["messages_taken"] == len(made)
    assert receiver.counters["records_refused"] == receiver.counters["gaps"] == 0


def test_a_successor_in_another_configuration_repeats_nothing_either(processes: Processes):
    """A reload while the receiver is slow: what is on its way stays on its way, and each worker books its own."""
    with far_side(["keep"] * 5) as far:
        ring, kept, pages = ring_of(conversation(1000)), Kept.create(), [Counters(worker_counters(1)) for _ in "ab"]
        spec = to(far.address, kept=kept, window_chunks=4, ack_timeout_s=60.0)
        old = processes.worker_spec(ring, spec, counters=pages[0])
        worker = processes.start(emit.worker.main, old)
        wait_until(lambda: len(far.chunks) >= 4, "a full window")
        old.leave.raise_()
        assert worker.end() == 0
        assert processes.worker(ring, spec, counters=pages[1]).end() == 0
    sums = [sum(page[f"output0_{name}"] for page in pages) for name in ("delivered", "undelivered", "dropped")]
    assert sums == [sum(page["messages_taken"] for page in pages), 0, 0] == [1000, 0, 0]
    once = {frame[2]["chunk"]: frame[2]["size"] for frame in far.chunks}
    assert sum(once.values()) == 1000
