"""Real workers and receivers for tests: spawned, waited for with deadlines, never left behind; and proxies between."""

import contextlib
import multiprocessing
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from queue import Empty
from typing import Any, Final

import emit.receiver
import emit.worker
from capture.child import EventQueue
from capture.counters import Counters
from capture.ring import Ring
from emit.records import RECEIVER_COUNTERS, OutputSpec, ReceiverSpec, WorkerSpec, worker_counters

DEADLINE_S: Final = 30.0
CONTEXT: Final = multiprocessing.get_context("spawn")


def wait_until(condition: Callable[[], Any], what: str, deadline_s: float = DEADLINE_S) -> Any:
    """Wait until a condition holds; fails after the deadline."""
    end_s = time.monotonic() + deadline_s
    pause = threading.Event()
    while not (result := condition()):
        assert time.monotonic() < end_s, f"{what}: not within {deadline_s} s"
        pause.wait(0.002)
    return result


@dataclass
class Child:
    """One process under test, with its counters and what it has told."""

    process: Any
    queue: EventQueue
    counters: Counters
    told: list[dict[str, Any]] = field(default_factory=list)

    def events(self, kind: str) -> list[dict[str, Any]]:
        """Return the events of one kind so far."""
        with contextlib.suppress(Empty):
            while True:
                self.told += self.queue.get_many_nowait()
        return [event for event in self.told if event["event"] == kind]

    def end(self, deadline_s: float = DEADLINE_S) -> int:
        """Wait for the end and return the exit code."""
        self.process.join(deadline_s)
        assert self.process.exitcode is not None, f"still running after {deadline_s} s; told {self.events('log')}"
        code: int = self.process.exitcode
        return code

    def stop(self) -> int:
        """Send SIGTERM and wait for the end."""
        os.kill(self.process.pid, signal.SIGTERM)
        return self.end()

    def kill(self) -> None:
        """Send SIGKILL."""
        self.process.kill()
        self.process.join(DEADLINE_S)

    def cpu_s(self) -> float:
        """Return the processor time used."""
        with open(f"/proc/{self.process.pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Processes:
    """Starts children; the fixture kills what is left."""

    def __init__(self) -> None:
        resource_tracker.ensure_running()  # not by the first child, whose standard output it would keep open
        self.children: list[Child] = []

    def start(self, target: Callable[[Any], None], spec: Any) -> Child:
        """Start one child."""
        process = CONTEXT.Process(target=target, args=(spec,))
        process.start()
        child = Child(process, spec.events, spec.counters)
        self.children.append(child)
        return child

    def worker(self, ring: Ring, *outputs: OutputSpec, counters: Counters | None = None, **more: Any) -> Child:
        """Start a worker."""
        return self.start(emit.worker.main, self.worker_spec(ring, *outputs, counters=counters, **more))

    def worker_spec(
        self, ring: Ring, *outputs: OutputSpec, counters: Counters | None = None, **more: Any
    ) -> WorkerSpec:
        """Say what a worker is started with."""
        counters = counters or Counters(worker_counters(len(outputs)))
        return WorkerSpec(os.getpid(), 20, EventQueue(), counters, ring, 0, 1, outputs, **more)

    def receiver(self, *rings: Ring, port: int = 0, **limits: Any) -> tuple[Child, int]:
        """Start a receiver and wait until it listens; return it and its port."""
        spec = ReceiverSpec(os.getpid(), 20, EventQueue(), Counters(RECEIVER_COUNTERS), rings, port=port, **limits)
        child = self.start(emit.receiver.main, spec)
        event = wait_until(lambda: child.events("listening") or child.events("failed"), "listening")[0]
        assert event["event"] == "listening", event
        return child, event["port"]

    def end(self) -> None:
        """Kill what is left."""
        for child in self.children:
            if child.process.exitcode is None:
                child.kill()
            child.process.close()


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Proxy:
    """Stands between sender and receiver, and does what networks do.

    `plans` says what becomes of each connection in turn: ("cut", n) closes and ("reset", n) resets it after n bytes
    from the sender, ("stall", n) reads no more after n; connections beyond the plan are carried faithfully.
    """

    def __init__(self, target: int, plans: Sequence[tuple[str, int]] = ()) -> None:
        self.target = target
        self.plans = list(plans)
        self.connections = 0
        self.carried_bytes = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.closing = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        """Carry one connection after the other; a sender has one at a time."""
        self.listener.settimeout(0.05)
        held: list[socket.socket] = []
        while not self.closing.is_set():
            try:
                client, _address = self.listener.accept()
            except TimeoutError:
                continue
            self.connections += 1
            what, limit = self.plans.pop(0) if self.plans else ("carry", 1 << 60)
            try:
                server = socket.create_connection(("127.0.0.1", self.target), timeout=5)
            except OSError:
                client.close()
                continue
            self.carry(client, server, limit)
            server.close()
            if what == "reset":
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            if what == "stall":
                held.append(client)
            else:
                client.close()
        for client in held:
            client.close()

    def carry(self, client: socket.socket, server: socket.socket, limit: int) -> None:
        """Copy bytes both ways until one side ends or the limit is reached."""
        while not self.closing.is_set():
            ready, _, _ = select.select([client, server], [], [], 0.05)
            for side in ready:
                try:
                    data = side.recv(min(65536, limit) if side is client else 65536)
                    (server if side is client else client).sendall(data)
                except OSError:
                    return
                if not data:
                    return
                if side is client:
                    limit -= len(data)
                    self.carried_bytes += len(data)
                    if limit <= 0:
                        return

    def close(self) -> None:
        """End it."""
        self.closing.set()
        self.thread.join()
        self.listener.close()


@contextlib.contextmanager
def proxy(target: int, plans: Sequence[tuple[str, int]] = ()) -> Iterator[Proxy]:
    """Run a proxy."""
    made = Proxy(target, plans)
    try:
        yield made
    finally:
        made.close()
