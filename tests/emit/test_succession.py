"""One worker after another on the same ring: nothing is lost between them, nothing is read by two at once."""

import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from capture.records import KIND_MESSAGE
from capture.ring import Producer, Ring
from emit.records import OutputSpec
from emit.succession import Ended, Flag
from tests.emit.builders import as_line, conversation, part_bytes_of, read_lines, records_of, request
from tests.emit.processes import DEADLINE_S, Processes, free_port, wait_until
from tests.emit.test_worker import put_all


def _read(flag: Flag, ended: Ended) -> None:
    """A child that ends well only if both arrived as they are."""
    ended.wait()
    os._exit(os.eventfd_read(flag.fd) + 6)


def test_a_flag_and_an_end_mean_the_same_in_a_child():
    """They travel by descriptor: a number alone could be another process's by then."""
    context = multiprocessing.get_context("spawn")
    awaited = context.Process(target=signal.pause)
    awaited.start()
    flag = Flag()
    waiting = context.Process(target=_read, args=(flag, Ended(awaited.pid or 0)))
    waiting.start()
    flag.raise_()
    awaited.kill()
    awaited.join()
    waiting.join(DEADLINE_S)
    assert waiting.exitcode == 7


def test_a_worker_that_is_asked_leaves_and_its_successor_goes_on(processes: Processes, tmp_path: Path):
    """Every message is in one of the two files, once, in order, and the two accounts together are of all of them."""
    made = conversation(40_000)
    ring = Ring.create(256 * 1024)
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    leave = Flag()
    old = processes.worker(ring, OutputSpec("file", 0, path=str(first)), leave=leave)
    assert old.process.pid is not None
    new = processes.worker(ring, OutputSpec("file", 0, path=str(second)), after=Ended(old.process.pid))
    writer = put_all(ring, made)
    wait_until(lambda: new.events("ready") and old.counters["messages_taken"], "both there, the first at work")
    leave.raise_()
    assert old.end() == 0
    assert new.end() == 0
    writer.join()
    parts = [read_lines(path.read_bytes()) for path in (first, second)]
    assert parts[0] + parts[1] == [as_line(message) for message in made]
    for part, worker in zip(parts, (old, new), strict=True):
        assert len(part) > 0, "there was nothing to hand over"
        assert worker.counters["messages_taken"] == worker.counters["output0_delivered"] == len(part)


def test_a_successor_reads_nothing_before_its_time(processes: Processes, tmp_path: Path):
    """Two readers of one ring would each release what the other still needs."""
    ring = Ring.create(64 * 1024)
    old = processes.worker(ring, OutputSpec("null", 0))
    assert old.process.pid is not None
    new = processes.worker(ring, OutputSpec("null", 0), after=Ended(old.process.pid))
    wait_until(lambda: new.events("ready"), "the successor is there")
    producer = Producer(ring)
    for record in records_of(request(1), part_bytes_of(ring)):
        producer.put(KIND_MESSAGE, record)
    wait_until(lambda: old.counters["messages_taken"], "the message is taken")
    producer.close()
    assert old.end() == 0
    assert new.end() == 0
    assert new.counters["messages_taken"] == 0


@pytest.mark.parametrize("policy", ["block", "drop"])
def test_an_output_that_is_stuck_does_not_keep_its_worker(processes: Processes, policy):
    """A receiver that is gone is why the configuration is changed: what it did not get, the successor sends on."""
    made = conversation(50)
    ring = Ring.create(1 << 20)
    leave = Flag()
    dead = OutputSpec("tcp", 0, address=f"127.0.0.1:{free_port()}", retry_s=3600, policy=policy)
    old = processes.worker(ring, dead, leave=leave)
    assert old.process.pid is not None
    new = processes.worker(ring, OutputSpec("null", 0), after=Ended(old.process.pid))
    put_all(ring, made).join()
    wait_until(lambda: new.events("ready") and old.events("ready"), "both are there")
    leave.raise_()
    assert old.end() == 0
    assert new.end() == 0
    taken = old.counters["messages_taken"] + new.counters["messages_taken"]
    assert (taken, new.counters["output0_delivered"]) == (50, 50)
