"""From recordings into rings: in order, merged, in parts, and to an end when that is wanted."""

import os
import random
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import emit.reader
from assemble.message import Message
from capture.child import EventQueue
from capture.counters import Counters
from capture.errors import ChangedError, SourceError
from capture.ring import Consumer, Ring
from capture.streams import StandardInput
from emit.reader import Feed
from emit.records import READER_COUNTERS, OutputSpec, ReaderSpec
from emit.selection import FOREVER, Selection
from tests.emit.builders import conversation, drain, read_lines, request, response, sorted_messages
from tests.emit.processes import Child, Processes, wait_until
from tests.emit.test_formats import as_jsonl
from tests.emit.test_recording import write


def spec(rings: list[Ring], *paths: Path, **limits: Any) -> ReaderSpec:
    """What a reader is started with."""
    names = tuple(str(path) for path in paths)
    return ReaderSpec(os.getpid(), 20, EventQueue(), Counters(READER_COUNTERS), tuple(rings), names, **limits)


@pytest.fixture(autouse=True)
def _signals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave this process's handlers alone."""
    monkeypatch.setattr("emit.reader.signal.signal", lambda *_: None)


def feed(ring: Ring, *paths: Path, **limits: Any) -> Counters:
    """Read into a ring that has room for everything."""
    chosen = spec([ring], *paths, **limits)
    Feed(chosen).run()
    return chosen.counters


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_messages_come_out_as_they_were_recorded(tmp_path: Path, compression: Any):
    """In their order, long ones in parts that fit the ring."""
    made = [*conversation(3000), response(9, os.urandom(3_000_000)), *conversation(5)]
    path = write(tmp_path / "r", made, compression)
    ring = Ring.create(8 << 20)
    counters = feed(ring, path)
    assert drain(ring) == made
    size = path.stat().st_size
    assert counters.as_dict() == dict.fromkeys(READER_COUNTERS, 0) | {
        "bytes_total": size, "bytes_read": size, "records": len(made) + 2, "records_joined": 2,
        "messages": len(made), "message_bytes": sum(len(message.payload) for message in made),
    }  # fmt: skip
    assert Consumer(ring).closed


def test_several_recordings_are_merged_by_time(tmp_path: Path):
    """Two machines recorded one evening; what is equally late comes in the order of the files."""
    times = [[10, 20, 50, 60], [5, 20, 55, 70], [], [1, 2, 100, 101]]
    made = [[request(10 * f + at, first_ns=-ns, last_ns=ns) for at, ns in enumerate(ts)] for f, ts in enumerate(times)]
    paths = [write(tmp_path / str(at), messages, each=2) for at, messages in enumerate(made)]
    ring = Ring.create(1 << 20)
    feed(ring, *paths)
    wanted = sorted((message for each in made for message in each), key=lambda message: message.last_ns)
    assert drain(ring) == wanted


def test_both_directions_of_a_flow_go_to_one_ring(tmp_path: Path):
    """Order within a connection holds, whatever the number of workers."""
    made = conversation(400)
    rings = [Ring.create(1 << 20) for _ in range(3)]
    Feed(spec(rings, write(tmp_path / "r", made))).run()
    parts = [drain(ring) for ring in rings]
    assert sorted_messages([message for part in parts for message in part]) == sorted_messages(made)
    ids = [{message.id for message in part} for part in parts]
    assert all(ids)
    assert sum(map(len, ids)) == 200
    assert all(part == [message for message in made if message.id in own] for part, own in zip(parts, ids, strict=True))


@pytest.mark.parametrize("cut", [1, 200, 3000])
def test_a_recording_that_is_cut_is_a_loss(tmp_path: Path, cut: int):
    """Everything before it comes out, and the ledger says what did not."""
    made = conversation(100)
    path = write(tmp_path / "r", made, each=10)
    os.truncate(path, path.stat().st_size - cut)
    ring = Ring.create(1 << 20)
    counters = feed(ring, path)
    found = drain(ring)
    assert 80 <= len(found) <= 90
    assert found == made[: len(found)]
    assert counters["recordings_cut"] == 1
    assert 0 < counters["recording_bytes_lost"] < 5000
    assert counters["records"] == counters["messages"] == len(found)


def test_messages_that_are_too_long_are_counted(tmp_path: Path):
    """And the sums close."""
    made = [request(1), response(2, bytes(5_000_000)), request(3)]
    ring = Ring.create(8 << 20)
    counters = feed(ring, write(tmp_path / "r", made), selection=Selection(most_bytes=2 << 20))
    assert drain(ring) == [made[0], made[2]]
    assert (counters["records"], counters["records_refused"], counters["messages"]) == (7, 5, 2)


def test_a_file_that_is_no_recording_ends_it_before_the_first_message(tmp_path: Path):
    """All are opened first; the rings are closed all the same."""
    (tmp_path / "text").write_text("not a recording of ours")
    ring = Ring.create(1 << 20)
    with pytest.raises(SourceError, match="text: is not a recording"):
        feed(ring, write(tmp_path / "r", conversation(4)), tmp_path / "text")
    assert Consumer(ring).closed
    assert drain(ring) == []


def started(processes: Processes, ring: Ring, path: Path) -> Child:
    """Start a reader process and wait until it reads."""
    child = processes.start(emit.reader.main, spec([ring], path))
    wait_until(lambda: child.events("ready"), "ready")
    return child


def test_a_full_ring_is_waited_for(tmp_path: Path, processes: Processes):
    """Nothing is dropped, in a ring that holds a fraction of it."""
    made: list[Message] = []
    for n in range(40):
        made += [request(n), response(n, os.urandom(100_000))]
    child = started(processes, ring := Ring.create(1 << 16), write(tmp_path / "r", made))
    out = OutputSpec("file", 0, path=str(tmp_path / "o.jsonl"))
    worker = processes.worker(ring, out)
    assert (child.end(), worker.end()) == (0, 0)
    assert worker.counters["output0_delivered"] == 80
    assert [line["id"] for line in read_lines((tmp_path / "o.jsonl").read_bytes())] == [m.id_hex for m in made]


def test_the_end_is_come_to_between_messages(tmp_path: Path, processes: Processes):
    """SIGTERM: the message under way is brought to its end, no other is begun, and everything is counted."""
    made = [response(n, os.urandom(100_000)) for n in range(40)]
    child = started(processes, ring := Ring.create(1 << 16), write(tmp_path / "r", made))
    wait_until(lambda: ring.stats().stalls, "the ring is full")
    child.process.terminate()
    worker = processes.worker(ring, OutputSpec("null", 0))
    assert (child.end(), worker.end()) == (0, 0)
    count = child.counters["messages"]
    assert count == child.counters["records"] == worker.counters["messages_taken"]
    assert 0 < count < 40


def test_the_end_comes_though_the_ring_stays_full(tmp_path: Path, processes: Processes):
    """An output that is stuck must not keep the reader."""
    made = conversation(2000)
    child = started(processes, ring := Ring.create(1 << 16), write(tmp_path / "r", made))
    wait_until(lambda: ring.stats().stalls, "the ring is full")
    assert child.stop() == 0
    found = drain(ring)
    assert 0 < len(found) == child.counters["messages"] == child.counters["records"]
    assert found == made[: len(found)]


def test_files_are_read_for_ever_until_that_is_wanted(tmp_path: Path, processes: Processes):
    """A load test has no end of its own."""
    ring = Ring.create(1 << 16)
    chosen = spec([ring], write(tmp_path / "r", conversation(2)), selection=Selection(loop=FOREVER))
    child = processes.start(emit.reader.main, chosen)
    wait_until(lambda: ring.stats().stalls, "the ring is full")
    assert child.stop() == 0
    assert len(drain(ring)) == child.counters["messages"] == child.counters["records"] > 50
    assert child.counters["bytes_total"] == 0


def test_standard_input_travels_to_the_reader(processes: Processes):
    """A spawned child's own is empty; one that waits for a pipe ends when that is wanted."""
    ring = Ring.create(1 << 20)
    here, there = os.pipe()
    os.write(there, as_jsonl(conversation(6)))
    chosen = replace(spec([ring]), paths=("-",), stdin=StandardInput(here))
    child = processes.start(emit.reader.main, chosen)
    wait_until(lambda: ring.stats().used, "the first message is there at once")
    assert child.stop() == 0
    os.close(here)
    os.close(there)
    assert drain(ring) == conversation(6)[: child.counters["messages"]]


class Rings:
    """Two small rings, and the records that came out of them."""

    def __init__(self, processes: Processes, *paths: Path) -> None:
        self.processes = processes
        rings = [Ring.create(1 << 16) for _ in range(2)]
        self.spec = spec(rings, *paths)
        self.consumers = [Consumer(ring) for ring in rings]
        self.found: list[list[bytes]] = [[], []]

    @property
    def written(self) -> int:
        """Bytes that were put into the rings."""
        return sum(each.head for each in self.consumers)

    def take(self) -> bool:
        """Take what there is; whether that was anything."""
        taken = False
        for consumer, records in zip(self.consumers, self.found, strict=True):
            while (record := consumer.read(consumer.tail)) is not None:
                records.append(bytes(record[1]))
                consumer.release(record[2])
                taken = True
        return taken

    def start(self, attempt: int) -> Child:
        """Start a reader in the place of others."""
        return self.processes.start(emit.reader.main, replace(self.spec, events=EventQueue(), attempt=attempt))

    def finish(self, attempt: int) -> None:
        """Read to the end."""
        last = self.start(attempt)
        wait_until(lambda: not self.take() and all(each.closed for each in self.consumers), "the end")
        self.take()
        assert last.end() == 0


@pytest.mark.parametrize("seed", range(2))
def test_killed_at_random_every_message_comes_once(tmp_path: Path, processes: Processes, seed: int):
    """From several files, into rings that are often full, long messages in parts; and the counters agree."""
    dice = random.Random(seed)
    made = conversation(3000)
    made[100:100] = [response(9, os.urandom(300_000)), response(10, os.urandom(200_000))]
    paths = [write(tmp_path / str(at), made[at::2]) for at in range(2)]
    calm, run = Rings(processes, *paths), Rings(processes, *paths)
    calm.finish(0)
    for attempt in range(8):
        child = run.start(attempt)
        goal = run.written + dice.randrange(1, calm.written // 30)  # it writes on until it is killed

        def got_on(goal: int = goal) -> bool:
            run.take()
            return run.written >= goal

        wait_until(got_on, "progress")
        child.kill()
        assert child.process.exitcode == -signal.SIGKILL
    run.finish(8)
    assert run.found == calm.found
    assert run.spec.counters.as_dict() == calm.spec.counters.as_dict()


def test_a_successor_does_not_go_on_in_other_files(tmp_path: Path):
    """Fewer messages than were read before: to go on at the same number would be to go on somewhere else."""
    path = write(tmp_path / "r", conversation(100))
    chosen = spec([Ring.create(1 << 20)], path)
    Feed(chosen).run()
    path.unlink()
    with pytest.raises(ChangedError):
        Feed(replace(chosen, paths=(str(write(tmp_path / "r", conversation(50))),), attempt=1)).run()
