"""The receiver process: strangers, limits, back-pressure and the end."""

import contextlib
import os
import resource
import signal
import socket
import threading
import time

import msgpack
import pytest

import emit.receiver
from capture.child import EventQueue
from capture.counters import Counters
from capture.ring import Consumer, Ring
from emit.records import RECEIVER_COUNTERS, OutputSpec, ReceiverSpec
from emit.wire import chunk_id
from tests.emit.builders import conversation, drain, entries, packed_forward, request, response
from tests.emit.processes import Processes, wait_until


def connect(port: int) -> socket.socket:
    """Open a connection."""
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def acks(connection: socket.socket, count: int) -> list[str]:
    """Read that many acknowledgements."""
    unpacker = msgpack.Unpacker()
    names: list[str] = []
    while len(names) < count:
        data = connection.recv(65536)
        assert data, "the receiver closed the connection"
        unpacker.feed(data)
        names += [answer["ack"] for answer in unpacker]
    return names


def test_many_connections_at_once(processes: Processes):
    """Every worker of every sender has one."""
    ring = Ring.create(8 << 20)
    receiver, port = processes.receiver(ring)
    sink = processes.worker(ring, OutputSpec("null", 0))
    peers = [connect(port) for _ in range(20)]
    for at, peer in enumerate(peers):
        peer.sendall(packed_forward(entries(conversation(100)), chunk_id(b"%08d" % at, 0)))
    for at, peer in enumerate(peers):
        assert acks(peer, 1) == [chunk_id(b"%08d" % at, 0)]
        peer.close()
    assert receiver.stop() == 0
    assert sink.end() == 0
    assert receiver.counters["messages"] == sink.counters["messages_taken"] == 2000


def test_garbage_ends_its_own_connection_only(processes: Processes):
    """One counted log line, and the others go on."""
    ring = Ring.create(1 << 20)
    receiver, port = processes.receiver(ring)
    processes.worker(ring, OutputSpec("null", 0))
    with connect(port) as good, connect(port) as bad:
        bad.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert bad.recv(100) == b""
        good.sendall(packed_forward(entries([request(1)]), "one"))
        assert acks(good, 1) == ["one"]
    wait_until(lambda: receiver.counters["connections_failed"] == 1, "the count")
    wait_until(lambda: any("not a Forward frame" in e["text"] for e in receiver.events("log")), "the log line")
    assert receiver.stop() == 0


def test_who_does_not_read_its_answers_is_closed(processes: Processes):
    """They would be kept for it without end."""
    ring = Ring.create(1 << 20)
    receiver, port = processes.receiver(ring)
    wire = b"".join(packed_forward(b"", f"{number:0200d}") for number in range(2000))
    with connect(port) as peer, contextlib.suppress(ConnectionError):
        for _turn in range(1000):
            peer.sendall(wire)
    wait_until(lambda: any("not read" in event["text"] for event in receiver.events("log")), "the log line", 5)
    assert receiver.counters["connections_failed"] == 1
    assert receiver.stop() == 0


def test_a_client_that_sends_and_leaves_is_heard_to_the_end(processes: Processes):
    """fluent-logger asks for no answer and closes: what it has sent counts all the same."""
    ring = Ring.create(64 * 1024)
    receiver, port = processes.receiver(ring)
    made = conversation(1000)
    with connect(port) as peer:
        peer.sendall(packed_forward(entries(made)))
    wait_until(lambda: receiver.counters["connections"] == 1, "the connection")
    sink = processes.worker(ring, OutputSpec("null", 0))
    wait_until(lambda: sink.counters["messages_taken"] == 1000, "all messages")
    with connect(port) as empty:
        empty.shutdown(socket.SHUT_WR)
        assert empty.recv(1) == b""
    assert receiver.stop() == 0
    assert receiver.counters["connections_failed"] == 0


def test_full_rings_push_back_and_nothing_is_acknowledged(processes: Processes):
    """TCP stops the sender; memory does not grow, and no processor time is spent on waiting."""
    ring = Ring.create(64 * 1024)
    receiver, port = processes.receiver(ring)
    body = entries(conversation(1000))
    with connect(port) as peer:
        peer.setblocking(False)
        sent = 0
        end_s = time.monotonic() + 20
        quiet = 0
        while quiet < 20 and time.monotonic() < end_s:
            try:
                sent += peer.send(packed_forward(body, "x"))
                quiet = 0
            except BlockingIOError:
                quiet += 1
                threading.Event().wait(0.05)
        assert quiet == 20, "the receiver never stopped reading"
        before_s = receiver.cpu_s()
        threading.Event().wait(0.5)
        assert receiver.cpu_s() - before_s <= 0.05
        with pytest.raises(BlockingIOError):
            peer.recv(1)
        sink = processes.worker(ring, OutputSpec("null", 0))
        peer.setblocking(True)
        assert acks(peer, 1) == ["x"]
        wait_until(lambda: sink.counters["messages_taken"] >= 1000, "the count of what was acknowledged")


def test_limits_are_kept(processes: Processes):
    """Connections, frames, time: nobody takes more than was granted."""
    ring = Ring.create(1 << 20)
    receiver, port = processes.receiver(ring, connections=2, frame_bytes=10_000, stall_s=0.5)
    with connect(port) as first, connect(port) as second, connect(port) as third:
        wait_until(lambda: receiver.counters["connections"] == 2, "two connections")
        assert third.recv(1) == b""
        first.sendall(packed_forward(bytes(20_000)))
        assert first.recv(1) == b""
        second.sendall(packed_forward(bytes(2000))[:100])
        assert second.recv(1) == b""
    assert receiver.counters["connections_refused"] == 1
    assert receiver.counters["connections_failed"] == 2


def test_one_address_takes_its_share_of_places(processes: Processes):
    """Whoever opens connections without end shuts nobody else out; and an idle one gives way to one that comes."""
    ring = Ring.create(1 << 20)
    receiver, port = processes.receiver(ring, connections=4, connections_per_address=3, idle_s=0.0)
    with contextlib.ExitStack() as held:
        greedy = [
            held.enter_context(
                socket.create_connection(("127.0.0.1", port), timeout=10, source_address=("127.0.0.2", 0))
            )
            for _ in range(4)
        ]
        assert greedy[3].recv(1) == b""
        assert receiver.counters["connections_refused"] == 1
        peers = [held.enter_context(connect(port)) for _ in range(2)]
        for at, peer in enumerate(peers):
            peer.sendall(packed_forward(b"", f"{at}"))
            assert acks(peer, 1) == [f"{at}"]
        assert greedy[0].recv(1) == b"", "it has been idle for longest"
        assert receiver.counters["connections_evicted"] == 1
    assert receiver.stop() == 0


def test_a_receiver_that_is_stopped_goes_on(processes: Processes):
    """A machine may be suspended: the time is not held against those who were in the middle of a frame."""
    ring = Ring.create(1 << 20)
    receiver, port = processes.receiver(ring, stall_s=3.0)
    processes.worker(ring, OutputSpec("null", 0))
    wire = packed_forward(entries(conversation(10)), "one")
    with connect(port) as peer:
        peer.sendall(wire[:100])
        wait_until(lambda: receiver.counters["bytes_in"] == 100, "the beginning")
        os.kill(receiver.process.pid, signal.SIGSTOP)
        threading.Event().wait(4.0)
        beats = receiver.queue.counters["beats"]
        os.kill(receiver.process.pid, signal.SIGCONT)
        wait_until(lambda: receiver.queue.counters["beats"] > beats, "the turn in which it looks for slow ones")
        peer.sendall(wire[100:])
        assert acks(peer, 1) == ["one"]
    assert receiver.stop() == 0
    assert receiver.counters["connections_failed"] == 0


def test_without_descriptors_nobody_is_busy(processes: Processes):
    """A connection that cannot be accepted waits, and is served when there is a descriptor again."""
    ring = Ring.create(1 << 20)
    receiver, port = processes.receiver(ring)
    processes.worker(ring, OutputSpec("null", 0))
    pid = receiver.process.pid
    with connect(port) as first:
        first.sendall(packed_forward(b"", "first"))
        assert acks(first, 1) == ["first"]
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, hard))
        with connect(port) as second:
            second.sendall(packed_forward(b"", "second"))
            wait_until(lambda: any("too many open files" in e["text"] for e in receiver.events("log")), "the log line")
            before_s = receiver.cpu_s()
            threading.Event().wait(1.0)
            assert receiver.cpu_s() - before_s <= 0.05
            first.sendall(packed_forward(entries([request(1)]), "again"))
            assert acks(first, 1) == ["again"]
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
            assert acks(second, 1) == ["second"]
    assert receiver.stop() == 0


def test_a_port_in_use_is_one_line(processes: Processes):
    """Not a traceback: which address, and why; and the rings are closed, so that everybody ends."""
    ring = Ring.create(1 << 16)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        spec = ReceiverSpec(os.getpid(), 20, EventQueue(), Counters(RECEIVER_COUNTERS), (ring,), port=port)
        child = processes.start(emit.receiver.main, spec)
        assert child.end() == 1
    assert child.events("failed")[0]["text"] == f"cannot listen on 127.0.0.1:{port}: address already in use"
    assert Consumer(ring).closed


def test_the_end_waits_for_outputs_and_answers(processes: Processes):
    """What has come as a whole is finished and acknowledged, then the rings are closed."""
    ring = Ring.create(1 << 20)
    receiver, port = processes.receiver(ring, drain_s=20.0)
    with connect(port) as peer:
        peer.sendall(packed_forward(entries(conversation(10)), "one") + packed_forward(bytes(500))[:100])
        wait_until(lambda: receiver.counters["messages"] == 10, "the messages")
        os.kill(receiver.process.pid, signal.SIGTERM)
        wait_until(lambda: refused(port), "no more connections")
        assert receiver.process.exitcode is None
        consumer = Consumer(ring)
        assert not consumer.closed
        consumer.release(consumer.head)
        assert acks(peer, 1) == ["one"]
        assert receiver.end() == 0
        assert consumer.closed


def refused(port: int) -> bool:
    """Whether nobody listens."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return True
    return False


def test_the_end_does_not_wait_for_ever(processes: Processes):
    """An output that hangs must not keep the receiver: what is not acknowledged will come again."""
    ring = Ring.create(1 << 20)
    receiver, port = processes.receiver(ring, drain_s=0.3)
    with connect(port) as peer:
        peer.sendall(packed_forward(entries(conversation(10)), "one"))
        wait_until(lambda: receiver.counters["messages"] == 10, "the messages")
        assert receiver.stop() == 0
        assert peer.recv(100) == b""
    assert len(drain(ring)) == 10
    assert any("1 chunks are not acknowledged" in event["text"] for event in receiver.events("log"))


def test_an_idle_receiver_uses_no_processor(processes: Processes):
    """It waits; with and without connections."""
    receiver, port = processes.receiver(Ring.create(1 << 20))
    with connect(port):
        wait_until(lambda: receiver.counters["connections"] == 1, "the connection")
        before_s = receiver.cpu_s()
        threading.Event().wait(1.0)
        assert receiver.cpu_s() - before_s <= 0.02


def test_large_messages_reach_small_rings(processes: Processes):
    """A message of several frames goes to a ring that could not hold it at once."""
    ring = Ring.create(128 * 1024)
    receiver, port = processes.receiver(ring)
    sink = processes.worker(ring, OutputSpec("null", 0))
    with connect(port) as peer:
        peer.sendall(packed_forward(entries([response(1, bytes(5_000_000))]), "one"))
        assert acks(peer, 1) == ["one"]
    assert receiver.stop() == 0
    assert sink.end() == 0
    assert sink.counters["messages_taken"] == 1
    assert sink.counters["bytes_taken"] > 5_000_000
