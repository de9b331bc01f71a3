"""A soak: hours of mixed load over two pipelines, with faults now and then, and a look at everything every minute.

A client and a server talk; the first pipeline watches, sends to the second one with TLS and a key over a connection
that is cut now and then, replays to a server, and writes files that are rotated.  Processes are killed and stopped, the
configuration is reloaded.  In the end no process has grown in memory or descriptors, both ledgers close, and behind the
receiver every message is there once.
"""

import base64
import contextlib
import http.client
import itertools
import json
import os
import random
import re
import select
import signal
import socket
import statistics
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import trustme

from tests.integration.jobs import configuration, pipeline, wait_until
from tests.integration.mirrors import PORT
from tests.namespace import POSSIBLE, pair
from tests.torture.scenes import Pipeline, children, ended
from tests.torture.talkers import Handler, Talkers, serving

REPLAY_PORT: Final = 9090
ITEM: Final = re.compile(rb"\r\nX-Item: (\d+)\r\n")
CLIENTS: Final = 3
WARM: Final = 1 / 3
"""Of the time: buffers fill, allocators take what they will need."""
MOST_GROWTH_MIB: Final = 48.0
MOST_MORE_DESCRIPTORS: Final = 32
"""By the slope over the rest of the time, for each process; while workers are succeeded, there are twice as many."""
FAULTS: Final = ("kill", "kill", "pause", "cut", "reload")
VICTIMS: Final = (
    ("near", "capture"), ("near", "assembler"), ("near", "worker 0"), ("far", "receiver"), ("far", "worker 0"),
)  # fmt: skip


@dataclass(frozen=True)
class Manner:
    """How hard it is driven."""

    seconds: float
    look_s: float  # between two looks
    fault_s: float  # between two faults, on average
    pause_s: float  # that a client waits, on average
    rotate: str  # size of a file

    @classmethod
    def long(cls, seconds: float) -> "Manner":
        """Of hours."""
        return cls(seconds, min(60.0, seconds / 20), min(20.0, seconds / 10), 0.02, "16MiB")


@dataclass
class Sample:
    """What one look at a process found."""

    at_s: float
    memory_mib: float  # of its own, without rings
    descriptors: int
    threads: int


@dataclass
class Report:
    """What a soak came to."""

    seconds: float = 0.0
    exchanges: int = 0
    arrived: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    samples: dict[str, list[Sample]] = field(default_factory=lambda: defaultdict(list))
    latencies_s: list[float] = field(default_factory=list)
    losses: dict[str, int] = field(default_factory=dict)
    rotated: int = 0

    def slopes(self) -> dict[str, tuple[float, float]]:
        """Return by process the growth after the warm-up, over the rest of the time: MiB, descriptors."""
        found = {}
        for name, samples in self.samples.items():
            late = [each for each in samples if each.at_s >= WARM * self.seconds]
            if len({each.at_s for each in late}) > 2:
                times = [each.at_s for each in late]
                memory = statistics.linear_regression(times, [each.memory_mib for each in late]).slope
                more = statistics.linear_regression(times, [each.descriptors for each in late]).slope
                left_s = times[-1] - times[0]
                found[name] = memory * left_s, more * left_s
        return found

    def lines(self) -> Iterator[str]:
        """Say it."""
        faults = ", ".join(f"{count} {what}" for what, count in sorted(self.faults.items()))
        yield (
            f"{self.seconds / 60:.1f} minutes: {self.exchanges:,} exchanges, {self.arrived:,} messages once each, "
            f"{self.rotated} files; {faults}"
        )
        if self.latencies_s:
            longest = max(self.latencies_s)
            yield f"from said to written: median {statistics.median(self.latencies_s):.2f} s, longest {longest:.2f} s"
        columns = f"{'memory MiB':>16}{'growth':>8}{'an hour':>9}{'descriptors':>13}{'growth':>8}{'threads':>9}"
        yield f"{'process':22}{columns}"
        slopes = self.slopes()
        for name, samples in sorted(self.samples.items()):
            memory, more = slopes.get(name, (0.0, 0.0))
            least, most = (pick(each.memory_mib for each in samples) for pick in (min, max))
            counts, threads = ([getattr(each, what) for each in samples] for what in ("descriptors", "threads"))
            an_hour = f"{memory * 3600 / self.rest_s:+9.1f}" if self.seconds > 600 else f"{'?':>9}"
            yield (
                f"{name:22}{f'{least:.1f} to {most:.1f}':>16}{memory:+8.1f}{an_hour}"
                f"{f'{min(counts)} to {max(counts)}':>13}{more:+8.1f}{max(threads):9}"
            )
        losses: Counter[str] = Counter()
        for what, count in self.losses.items():
            losses[what.partition(", before reload")[0]] += count
        yield "lost, and counted: " + (", ".join(f"{count:,} {what}" for what, count in losses.items()) or "nothing")

    @property
    def rest_s(self) -> float:
        """What is left after the warm-up."""
        return (1 - WARM) * self.seconds


class Relay:
    """Carries bytes to the receiver, until it is told to cut."""

    def __init__(self, far: str) -> None:
        host, _, port = far.rpartition(":")
        self.far = (host, int(port))
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "{}:{}".format(*self.listener.getsockname())
        self.pairs: list[tuple[socket.socket, socket.socket]] = []
        self.over = threading.Event()
        self.to_cut = threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        while not self.over.is_set():
            others = {near: far for both in self.pairs for near, far in (both, both[::-1])}
            for ready in select.select([self.listener, *others], [], [], 0.02)[0]:
                if ready is self.listener:
                    self._accept()
                elif not self._carry(ready, others[ready]):
                    self._drop(lambda both, ready=ready: ready in both)  # type: ignore[misc]
            if self.to_cut.is_set():
                self.to_cut.clear()
                self._drop(lambda _both: True)
        self._drop(lambda _both: True)
        self.listener.close()

    def _accept(self) -> None:
        near, _address = self.listener.accept()
        try:
            far = socket.create_connection(self.far, 5)
        except OSError:
            near.close()
            return
        for each in (near, far):
            each.settimeout(5)
        self.pairs.append((near, far))

    def _carry(self, source: socket.socket, other: socket.socket) -> bool:
        try:
            data = source.recv(65536)
            other.sendall(data)
        except OSError:
            return False
        return bool(data)

    def _drop(self, which: Callable[[tuple[socket.socket, socket.socket]], bool]) -> None:
        for both in [each for each in self.pairs if which(each)]:
            self.pairs.remove(both)
            for each in both:
                each.close()

    def close(self) -> None:
        """End it."""
        self.over.set()
        self.thread.join()


class Found:
    """The messages in rotated files, each read when it is whole and emptied some files later; by kind and number."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.read = 0  # files
        self.places: dict[str, bytearray] = {"request": bytearray(), "response": bytearray()}
        self.unnamed = 0

    def file(self, number: int) -> Path:
        """The file of that number."""
        return self.path if number == 0 else self.path.with_name(f"{self.path.stem}.{number}{self.path.suffix}")

    def look(self, last: bool = False) -> None:
        """Read what has been rotated since; at the end, all."""
        while self.file(self.read + 1).exists() or (last and self.file(self.read).exists()):
            with self.file(self.read).open("rb") as lines:
                for line in lines:
                    self._note(line)
            self.read += 1
            if self.read > 3:
                os.truncate(self.file(self.read - 4), 0)  # nobody writes there any more

    def _note(self, line: bytes) -> None:
        message = json.loads(line)
        head = base64.b64decode(message["payload"][:2000]).partition(b"\r\n\r\n")
        if (item := ITEM.search(head[0] + b"\r\n")) is None:
            self.unnamed += 1
            return
        places, number = self.places[message["kind"]], int(item[1])
        if number >= len(places):
            places.extend(bytes(number + 1 - len(places)))
        assert not places[number], f"{self.path.name}: {message['kind']} {number} is there twice"
        places[number] = 1

    def has(self, kind: str, number: int) -> bool:
        """Whether a message is there."""
        return number < len(self.places[kind]) and bool(self.places[kind][number])

    @property
    def count(self) -> int:
        """How many messages there are."""
        return sum(map(sum, self.places.values())) + self.unnamed


class Soak:
    """Two pipelines, what goes through them, and what is done to them."""

    def __init__(self, directory: Path, manner: Manner, seed: int, stack: ExitStack) -> None:
        self.directory, self.manner, self.dice = directory, manner, random.Random(seed)
        self.report = Report()
        client, self.server = stack.enter_context(pair("10.9.0.1/24", "10.9.0.2/24"))
        stack.enter_context(serving(self.server, PORT, Handler))
        stack.enter_context(serving(self.server, REPLAY_PORT, Handler))
        self.talkers = Talkers(client, self.server.address, seed, manner.pause_s)
        self.far = self._far()
        stack.enter_context(ended(self.far))
        self.relay = self.server.call(lambda: Relay(self.far.address()))
        stack.callback(self.relay.close)
        self.reloads = 0
        self.due: list[str] = []  # faults
        self.config = directory / "near.toml"
        self.write_near()
        self.near = self.server.call(lambda: Pipeline("near", directory, ("run", "--config", self.config, "-v")))
        stack.enter_context(ended(self.near))
        self.near.wait_for("ready: every source")
        self.arrived, self.written = Found(directory / "far" / "got.jsonl"), Found(directory / "written.jsonl")

    def _far(self) -> Pipeline:
        authority, pem = trustme.CA(), self.directory / "far.pem"
        authority.cert_pem.write_to_path(str(self.directory / "ca.pem"))
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(pem))
        (self.directory / "key").write_text("a key that both sides have\n")
        for each in (pem, self.directory / "key"):
            each.chmod(0o600)
        (self.directory / "far").mkdir()
        source = 'type = "tcp"\nlisten = "127.0.0.1:0"\ncertificate = "../far.pem"\nshared_key_file = "../key"'
        config = configuration(
            self.directory / "far.toml", source,
            f'type = "file"\npath = "got.jsonl"\nrotate_size = "{self.manner.rotate}"',
        )  # fmt: skip
        return self.server.call(lambda: Pipeline("far", self.directory / "far", ("run", "--config", config)))

    def write_near(self) -> None:
        """Write the configuration of the first pipeline, a little different each time."""
        configuration(
            self.config,
            f'type = "live"\ninterfaces = ["{self.server.device}"]\nports = [{PORT}]',
            f'type = "tcp"\naddress = "{self.relay.address}"\ntls = true\nca = "ca.pem"\nshared_key_file = "key"\n'
            f'policy = "block"\nspool = {{ path = "spool", size = "256MiB" }}',
            f'type = "http"\naddress = "http://{self.server.address}:{REPLAY_PORT}"\nmode = "pool"\n'
            f"connections = {8 + self.reloads % 2}\n",
            f'type = "file"\npath = "written.jsonl"\nrotate_size = "{self.manner.rotate}"\npolicy = "block"',
        )  # fmt: skip

    def run(self) -> Report:
        """Talk, look and do harm until the time is over; then have everything delivered, and hold it together."""
        began_s = time.monotonic()
        look_s = fault_s = 0.0
        with self.talkers.talking(CLIENTS):
            while (now_s := time.monotonic() - began_s) < self.manner.seconds:
                if now_s >= look_s:
                    look_s = now_s + self.manner.look_s
                    self.look(now_s)
                if now_s >= fault_s:
                    fault_s = now_s + self.dice.random() * 2 * self.manner.fault_s
                    self.harm()
                assert self.near.job.poll() is None, self.near.text
                assert not self.talkers.raised, self.talkers.raised
                threading.Event().wait(0.05)
        self.report.seconds = time.monotonic() - began_s
        self.settle()
        return self.report

    def look(self, now_s: float) -> None:
        """Look at every process, and at what has come out."""
        for run in (self.near, self.far):
            known = [(pid, name) for pid, name in children(run.job.pid).items() if (run.name, name) in VICTIMS]
            for pid, name in [(run.job.pid, "supervisor"), *known]:
                with contextlib.suppress(OSError, KeyError):  # it has just gone
                    self.report.samples[f"{run.name} {name}"].append(look_at(pid, now_s))
        for found in (self.arrived, self.written):
            found.look()
        ours = {"near.toml", "far.toml", "near.json", "ca.pem", "far.pem", "key", "far", "spool"}
        left = [each for each in os.listdir(self.directory) if each not in ours and not each.startswith("written")]
        assert not left, f"left behind: {left}"
        self.report.latencies_s += self.latency()

    def latency(self) -> list[float]:
        """Say something, and wait until it is written at the far side; nothing if a fault is in between."""
        began_s, number = time.monotonic(), self.ask()
        while not self.arrives(number):
            if time.monotonic() > began_s + min(10.0, self.manner.look_s):
                return []
            threading.Event().wait(0.01)
        return [time.monotonic() - began_s]

    def arrives(self, number: int) -> bool:
        """Whether a request that was said just now is in one of the files of the far side."""
        mark = f'"/item/{number}"'.encode()
        newest = itertools.takewhile(Path.exists, map(self.arrived.file, itertools.count(self.arrived.read)))
        return any(mark in each.read_bytes()[-4_000_000:] for each in newest)

    def ask(self) -> int:
        """Make one exchange, and return its number."""

        def once() -> int:
            connection = http.client.HTTPConnection(self.server.address, PORT, timeout=30)
            with contextlib.closing(connection):
                return self.talkers.ask(connection, random.Random(2))

        return self.talkers.client.call(once)

    def harm(self) -> None:
        """Do one of what can happen."""
        if not self.due:
            self.due = self.dice.sample(FAULTS, len(FAULTS))
        what = self.due.pop()
        if what in {"kill", "pause"}:
            side, name = self.dice.choice(VICTIMS) if what == "kill" else ("far", "receiver")
            pid = (self.near if side == "near" else self.far).child(name)
            with contextlib.suppress(ProcessLookupError):
                if what == "kill":
                    os.kill(pid, signal.SIGKILL)
                else:
                    os.kill(pid, signal.SIGSTOP)
                    threading.Event().wait(self.dice.random() * min(3.0, self.manner.fault_s))
                    os.kill(pid, signal.SIGCONT)
        elif what == "cut":
            self.relay.to_cut.set()
        else:
            self.reload()
        self.report.faults[f"{what}s"] += 1

    def reload(self) -> None:
        """Change the configuration, and have it read again: by the command, or by SIGHUP."""
        self.reloads += 1
        self.write_near()
        if self.reloads % 2:
            done = self.server.call(lambda: pipeline(self.directory, "reload", "--config", self.config))
            assert done.returncode == 0 or "under way" in done.stderr, done.stderr
        else:
            self.near.job.send_signal(signal.SIGHUP)

    def settle(self) -> None:
        """Have everything delivered, end both, and hold what arrived against what was said and both ledgers."""
        try:
            wait_until(self.latency, "something arrives")  # the last fault was just now
            wait_until(lambda: self.near.all_back() and self.far.all_back(), "everybody works again")
            last = [self.ask() for _ in range(10)]
            wait_until(lambda: self.arrives(last[-1]), "what was said last")  # else it may be in the spool at the end
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.near.text[-20_000:]}\n{self.far.text[-20_000:]}") from error
        codes = [self.near.stop(), self.far.stop()]
        text = self.near.text + self.far.text
        assert codes == [0, 0], text
        for found in (self.arrived, self.written):
            found.look(last=True)
        near, far = self.near.ledger(), self.far.ledger()
        assert (near["closed"], far["closed"]) == (True, True), text
        assembled = near["counters"]["assemble"]["messages"]
        assert self.arrived.count == far["counters"]["receiver"]["messages"] == assembled, text
        assert self.written.count == assembled, text
        said = self.talkers.said
        assert all(
            found.has(kind, each) for found in (self.arrived, self.written) for each in last for kind in found.places
        )
        assert all(len(places) <= said for places in self.arrived.places.values())
        missing = 2 * said - self.arrived.count + self.arrived.unnamed
        assert not missing or near["loss"], f"{missing} messages are missing, and nobody says so"
        self.report.exchanges, self.report.arrived, self.report.losses = said, self.arrived.count, near["loss"]
        self.report.rotated = self.arrived.read + self.written.read
        for name, (memory, more) in self.report.slopes().items():
            assert memory < MOST_GROWTH_MIB, f"{name} grew by {memory:.1f} MiB\n" + "\n".join(self.report.lines())
            assert more < MOST_MORE_DESCRIPTORS, f"{name} has {more:.1f} descriptors more"


def look_at(pid: int, now_s: float) -> Sample:
    """Look at one process."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    memory = int(status["RssAnon"].split()[0]) / 1024
    return Sample(now_s, memory, len(os.listdir(f"/proc/{pid}/fd")), int(status["Threads"]))


def soak(directory: Path, manner: Manner, seed: int) -> Report:
    """Run one soak."""
    shared = set(os.listdir("/dev/shm"))
    with ExitStack() as stack:
        report = Soak(directory, manner, seed, stack).run()
    left = [each for each in set(os.listdir("/dev/shm")) - shared if "ringtap" in each]
    assert not left, f"left in /dev/shm: {left}"
    return report


def main(minutes: float) -> Iterator[str]:
    """Soak for so long; yields what was seen."""
    if not POSSIBLE:
        yield "left out: network namespaces need root"
        return
    seed = int(time.time())
    yield f"seed {seed}"
    with tempfile.TemporaryDirectory() as directory:
        yield from soak(Path(directory), Manner.long(60 * minutes), seed).lines()
