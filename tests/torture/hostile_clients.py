"""Hostile clients against a real receiver, while honest ones are served.

Of each attack it is shown how much memory the receiver came to take, how long honest chunks waited for their
acknowledgement, and what was closed, refused and written to the log.
"""

import itertools
import re
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import msgpack

from capture.ring import Ring
from emit.records import OutputSpec
from emit.wire import chunk_id
from tests.emit.builders import conversation, entries, packed_forward
from tests.emit.processes import CONTEXT, DEADLINE_S, Child, Processes
from tests.torture.attacks import ATTACKS, attack

MESSAGES: Final = 10
LIMITS: Final = {
    "connections": 64,
    "connections_per_address": 32,
    "stall_s": 0.3,
    "idle_s": 0.3,
    "held_bytes": 256 << 20,
    "joining_bytes": 64 << 20,
}
MOST_RSS_BYTES: Final = 700 << 20
"""Of the receiver: what frames under way may hold, one frame inflated beside it, and twice that for copies."""
MOST_LATENCY_S: Final = 10.0
LEAST_CHUNKS: Final = 3
QUIET: Final = {"nobody", "tiny_frames", "heartbeats", "legal_bombs", "leaping_numbers"}
"""Floods of what is allowed: nobody is closed for them."""


@dataclass
class Outcome:
    """What one attack came to."""

    name: str
    rss_bytes: int
    latencies_s: list[float]
    failed: int
    refused: int
    evicted: int
    lines: int
    left_out: int

    def __str__(self) -> str:
        return (
            f"{self.name:16} {self.rss_bytes / 2**20:4.0f} MiB; {len(self.latencies_s):5} honest chunks, "
            f"median {statistics.median(self.latencies_s) * 1e3:6.1f} ms, "
            f"longest {max(self.latencies_s) * 1e3:7.1f} ms; {self.failed} closed, {self.refused} refused, "
            f"{self.evicted} gave way; {self.lines} log lines, {self.left_out} left out"
        )


@dataclass
class Honest:
    """A sender that waits for each answer, comes back now and then, and must never be closed."""

    port: int
    latencies_s: list[float] = field(default_factory=list)
    error: BaseException | None = None

    def run(self, stop: threading.Event) -> None:
        """Send until told to stop."""
        body = entries(conversation(MESSAGES))
        sequence = itertools.count(1)
        try:
            while not stop.is_set():
                with self.connect() as peer:
                    for _ in range(20):
                        self.send(peer, body, chunk_id(b"honest!!", next(sequence)))
                        if stop.wait(0.005):
                            break
        except BaseException as error:
            self.error = error

    def begin(self) -> None:
        """Wait until the worker has started: what that takes is not for what comes later."""
        with self.connect() as peer:
            self.send(peer, entries(conversation(MESSAGES)), chunk_id(b"honest!!", 0))
        self.latencies_s.clear()

    def connect(self) -> socket.socket:
        """Come until there is a place: a receiver may be full for a moment."""
        end_s = time.monotonic() + MOST_LATENCY_S
        while True:
            peer = socket.create_connection(("127.0.0.1", self.port), timeout=MOST_LATENCY_S)
            peer.sendall(packed_forward(b"", "hello"))
            try:
                if peer.recv(100):
                    return peer
            except OSError:
                pass
            peer.close()
            assert time.monotonic() < end_s, "there was no place for an honest client"
            threading.Event().wait(0.02)

    def send(self, peer: socket.socket, body: bytes, name: str) -> None:
        """Send one chunk and wait for its answer."""
        began_s = time.monotonic()
        peer.sendall(packed_forward(body, name))
        answer = b""
        while len(answer) < len(msgpack.packb({"ack": name})):
            data = peer.recv(1000)
            assert data, "an honest connection was closed"
            answer += data
        assert msgpack.unpackb(answer) == {"ack": name}
        self.latencies_s.append(time.monotonic() - began_s)


def suffer(name: str, seconds: float, seed: int) -> Outcome:
    """Have a receiver attacked, and return what came of it; asserts what must hold in any case."""
    processes = Processes()
    stop, honest, thread = threading.Event(), None, None
    attacker = None
    try:
        ring = Ring.create(4 << 20)
        receiver, port = processes.receiver(ring, **LIMITS)
        sink = processes.worker(ring, OutputSpec("null", 0))
        honest = Honest(port)
        honest.begin()
        thread = threading.Thread(target=honest.run, args=(stop,))
        attacker = CONTEXT.Process(target=attack, args=(name, port, seconds, seed))
        attacker.start()
        thread.start()
        attacker.join(seconds + DEADLINE_S)
        assert attacker.exitcode == 0, "the attack did not end as it should"
        stop.set()
        thread.join(2 * MOST_LATENCY_S)
        assert not thread.is_alive(), "an honest client still waits"
        if honest.error is not None:
            raise honest.error
        rss_bytes = peak_rss_bytes(receiver)
        assert receiver.stop() == 0
        assert sink.end() == 0
        outcome = look_at(name, receiver, rss_bytes, honest)
        assert receiver.counters["messages"] == sink.counters["messages_taken"]
        return outcome
    finally:
        stop.set()
        if attacker is not None and attacker.exitcode is None:
            attacker.kill()
            attacker.join()
        processes.end()
        if thread is not None and thread.ident is not None:
            thread.join()


def look_at(name: str, receiver: Child, rss_bytes: int, honest: Honest) -> Outcome:
    """Read counters and log, and assert what must hold."""
    counters = receiver.counters
    texts = [event["text"] for event in receiver.events("log") if event["level"] >= 30]
    left_out = sum(int(found[1]) for text in texts if (found := re.match(r"(\d+) more warnings are left out", text)))
    outcome = Outcome(
        name, rss_bytes, honest.latencies_s, counters["connections_failed"], counters["connections_refused"],
        counters["connections_evicted"], len(texts), left_out,
    )  # fmt: skip
    assert receiver.queue.counters["events_lost"] == 0
    assert counters["records"] == counters["messages"] + counters["records_joined"] + counters["records_refused"]
    assert counters["messages"] >= MESSAGES * len(honest.latencies_s)
    assert rss_bytes < MOST_RSS_BYTES, outcome
    assert max(honest.latencies_s) < MOST_LATENCY_S, outcome
    assert len(honest.latencies_s) >= LEAST_CHUNKS, outcome
    assert outcome.lines < 200, outcome
    if name not in QUIET:
        assert outcome.failed + outcome.refused + outcome.evicted > 0, outcome
        assert outcome.failed + outcome.refused <= outcome.lines + left_out, outcome
    return outcome


def peak_rss_bytes(child: Child) -> int:
    """Return the most memory that a process has had."""
    with open(f"/proc/{child.process.pid}/status") as status:
        [line] = [line for line in status if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


def main(minutes: float) -> Iterator[str]:
    """Go through all attacks, again and again, longer each time, until the time is over; yields what each came to."""
    end_s = time.monotonic() + 60 * minutes
    for number in itertools.count():
        seconds = min(2.0 * (number + 1), 30.0)
        for name in ATTACKS:
            if number and time.monotonic() + seconds > end_s:
                return
            yield str(suffer(name, seconds, number))
