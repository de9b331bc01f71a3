"""Appending blocks to a recording: alone, with others, after a crash, and when it cannot be written."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from assemble.message import Message, read_message
from capture.counters import Counters
from capture.records import KIND_MESSAGE
from capture.ring import Consumer, Producer, Ring
from emit.blockout import LINGER_S, BlockOutput
from emit.blocks import FILE_HEADER
from emit.recording import Reader
from emit.records import OutputSpec, worker_counters
from tests.emit.builders import conversation, fill, records_of, response, ring_of, sorted_messages
from tests.emit.processes import Processes
from tests.emit.test_file import run
from tests.emit.test_recording import COMPRESSIONS, read, small_files, write


def output(path: Path, made: list[Message], capacity: int = 8 << 20, **spec: Any) -> BlockOutput:
    """Make a recording output over a ring that holds `made`."""
    chosen = OutputSpec("file", 0, path=str(path), format="recording", **spec)
    return BlockOutput(chosen, Consumer(ring_of(made, capacity)), Counters(worker_counters(1)))


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_messages_become_a_private_recording(tmp_path: Path, compression: Any):
    """Everything is there, and its owner's alone."""
    made = [*conversation(3000), response(9, os.urandom(3_000_000)), *conversation(3)]
    out = output(tmp_path / "r", made, compression=compression)
    run(out)
    assert read(tmp_path / "r") == made
    assert (tmp_path / "r").stat().st_mode & 0o777 == 0o600
    assert (out.tally.delivered, out.tally.undelivered) == (len(made), 0)
    assert out.counters["output0_delivered_bytes"] == sum(len(message.payload) for message in made)


@pytest.mark.parametrize("cut", [0, 1, 10, 60, 500])
def test_what_exists_is_gone_on_with(tmp_path: Path, cut: int, caplog: pytest.LogCaptureFixture):
    """A broken end is cut off with a warning, all that is whole stays."""
    path, made = tmp_path / "r", conversation(20)
    write(path, made, each=1)
    whole = read(path)
    os.truncate(path, path.stat().st_size - cut)
    left = read(path)
    caplog.clear()
    run(output(path, made[:2]))
    assert read(path) == left + made[:2]
    assert (len(left) < len(whole)) == bool(cut)
    assert ("no whole block" in caplog.text) == bool(cut)


@pytest.mark.parametrize("name", ["missing/r", ".", "text"])
def test_a_path_that_cannot_be_used_is_named_and_left(tmp_path: Path, name: str):
    """One line, and the messages that it costs; a file that is no recording is not touched."""
    (tmp_path / "text").write_text("my only copy")
    out = output(tmp_path / name, conversation(7))
    run(out)
    assert out.failure is not None
    assert str(tmp_path / name) in out.failure
    assert (out.tally.delivered, out.tally.undelivered) == (0, 7)
    assert (tmp_path / "text").read_text() == "my only copy"


def test_a_device_that_is_full_is_named():
    """Nothing is delivered, and it says so."""
    out = output(Path("/dev/full"), conversation(7))
    run(out)
    assert out.failure == f"cannot write to /dev/full: {os.strerror(errno.ENOSPC).lower()}: make room"
    assert (out.tally.delivered, out.tally.undelivered) == (0, 7)


def test_a_pipe_gets_a_recording(tmp_path: Path):
    """Whoever reads it may store it."""
    os.mkfifo(tmp_path / "pipe")
    far = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    run(output(tmp_path / "pipe", conversation(50)))
    (tmp_path / "r").write_bytes(os.read(far, 1 << 16))
    os.close(far)
    assert read(tmp_path / "r") == conversation(50)


def test_a_disk_that_fills_up_keeps_whole_blocks(tmp_path: Path):
    """What does not fit is taken back, and counted as not delivered."""
    made = [message for n in range(30) for message in [*conversation(2), response(n, os.urandom(100_000))]]
    out = output(tmp_path / "r", made, 32 << 20)
    with small_files(2_500_000):
        run(out)
    with Reader(str(tmp_path / "r")) as reader:
        found = [read_message(record) for record in reader]
        assert reader.lost_bytes == 0
    assert 0 < len(found) < len(made)
    assert found == made[: len(found)]
    assert (out.tally.delivered, out.tally.undelivered) == (len(found), len(made) - len(found))
    run(output(tmp_path / "r", made[:3]))
    assert read(tmp_path / "r") == found + made[:3]


def test_outputs_that_share_a_file_take_turns(tmp_path: Path):
    """While one is inside a long message, the other waits: its parts follow each other."""
    path = tmp_path / "r"
    large = response(1, bytes(3_000_000))
    first, second = output(path, [large], 4 << 20), output(path, conversation(2))
    for each in (first, second):
        each.start(0.0)
    head = first.consumer.head
    first.cursor = first.lines.fill(0, head, 1)
    assert first.flush()
    second.finish()
    second.pump(second.consumer.head, 0.0)
    assert second.deadline() is not None
    assert not second.done(second.consumer.head)
    for _turn in range(10):
        first.pump(head, 1.0)
    assert first.done(head)
    second.pump(second.consumer.head, 2.0)
    assert second.done(second.consumer.head)
    assert read(path) == [large, *conversation(2)]
    for each in (first, second):
        each.close()


def test_what_another_worker_left_broken_is_cut_off(tmp_path: Path):
    """It was killed while this one runs: what follows must not be glued to it."""
    path = tmp_path / "r"
    ring = ring_of(conversation(2), close=False)
    spec = OutputSpec("file", 0, path=str(path), format="recording")
    out = BlockOutput(spec, Consumer(ring), Counters(worker_counters(1)))
    out.start(0.0)
    for now_s in (0.0, 1.0):
        out.pump(out.consumer.head, now_s)
    with path.open("ab") as file:
        file.write(path.read_bytes()[FILE_HEADER.size : -9])
    fill(ring, conversation(4))
    out.finish()
    out.pump(out.consumer.head, 2.0)
    assert out.done(out.consumer.head)
    out.close()
    assert read(path) == conversation(2) + conversation(4)


def test_few_messages_wait_a_moment_for_others(tmp_path: Path):
    """A block for each would be mostly header, and hardly compress; they stay in the ring meanwhile."""
    out = output(tmp_path / "r", conversation(10))
    out.start(5.0)
    head = out.consumer.head
    out.pump(head, 5.0)
    assert (out.deadline(), out.safe, out.hungry) == (5.0 + LINGER_S, 0, False)
    out.pump(head, 5.0 + LINGER_S)
    assert (out.deadline(), out.safe, out.hungry) == (None, head, True)
    assert read(tmp_path / "r") == conversation(10)
    out.close()


def test_a_message_that_never_ends_does_not_keep_the_file(tmp_path: Path):
    """Its writer died: other workers must get their turn."""
    ring = Ring.create(1 << 20)
    producer = Producer(ring)
    parts = records_of(response(1, bytes(600_000)), 100_008)
    for part in parts[:2]:
        assert producer.try_put(KIND_MESSAGE, part)
    spec = OutputSpec("file", 0, path=str(tmp_path / "r"), format="recording")
    out = BlockOutput(spec, Consumer(ring), Counters(worker_counters(1)))
    out.start(0.0)
    for now_s in (0.0, 1.0):
        out.pump(out.consumer.head, now_s)
    assert out.locked
    out.finish()
    out.pump(out.consumer.head, 2.0)
    assert not out.locked
    out.close()
    assert read(tmp_path / "r") == []


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_workers_write_one_recording(tmp_path: Path, processes: Processes, compression: Any):
    """Several processes, one file, nothing lost, order kept within each."""
    halves = [conversation(4000), [response(10_000 + n, bytes(200_000)) for n in range(60)]]
    spec = OutputSpec("file", 0, path=str(tmp_path / "r"), format="recording", compression=compression)
    workers = [processes.worker(ring_of(made, 32 << 20), spec) for made in halves]
    assert [each.end() for each in workers] == [0, 0]
    found = read(tmp_path / "r")
    assert sorted_messages(found) == sorted_messages(halves[0] + halves[1])
    assert [message for message in found if message.id < 10_000] == halves[0]
    assert [each.counters["output0_delivered"] for each in workers] == [4000, 60]


def test_a_killed_worker_repeats_at_most(tmp_path: Path, processes: Processes):
    """Its successor goes on from what the ring still has, on the file that it left."""
    ring = Ring.create(1 << 20)
    producer = Producer(ring)
    spec = OutputSpec("file", 0, path=str(tmp_path / "r"), format="recording")
    counters = Counters(worker_counters(1))
    made = conversation(20_000)
    first = processes.worker(ring, spec, counters=counters)
    for message in made[:10_000]:
        producer.put(KIND_MESSAGE, records_of(message)[0])
    first.kill()
    second = processes.worker(ring, spec, counters=counters)
    for message in made[10_000:]:
        producer.put(KIND_MESSAGE, records_of(message)[0])
    producer.close()
    assert second.end() == 0
    found = read(tmp_path / "r")
    assert {message.id_hex + message.kind for message in found} == {m.id_hex + m.kind for m in made}
    assert counters["output0_delivered"] == 20_000


def test_its_records_are_those_of_the_ring(tmp_path: Path):
    """Fields that the library's messages do not show are kept too."""
    made = [*conversation(4), response(1, status=103)]
    run(output(tmp_path / "r", made))
    with Reader(str(tmp_path / "r")) as reader:
        found = list(reader)
    assert found == [record for message in made for record in records_of(message)]
    assert [read_message(record) for record in found] == made
