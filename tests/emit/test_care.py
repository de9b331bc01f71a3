"""How careful the successor of a dead worker is: what is left out is what kills, and nothing else."""

import resource
import stat
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capture.counters import Counters
from capture.ring import Consumer
from emit.care import MOST_KILLS, Care, Steps, after_death, keep
from emit.records import worker_counters
from tests.emit.builders import conversation, ring_of


@dataclass
class Worker:
    """A worker that dies of some messages, `late` of them after it has given more; what it is done with is released."""

    ring: object
    poison: set[int]
    deaths: int = 0
    page: Counters = field(default_factory=lambda: Counters(worker_counters(1)))
    care: Care = field(default_factory=Care)
    left_out: list[int] = field(default_factory=list)
    done: list[int] = field(default_factory=list)

    def positions(self) -> list[int]:
        """Where each message begins, and where the last ends."""
        consumer, found = Consumer(self.ring), [0]
        while (record := consumer.read(found[-1])) is not None:
            found.append(record[2])
        return found

    def live(self, at: list[int]) -> bool:
        """Take what is there; False if it has died."""
        consumer = Consumer(self.ring)
        cursor = consumer.tail
        if self.care.skip is not None:
            start, end = self.care.skip
            assert start == cursor
            self.left_out.append(at.index(start))
            cursor = end
        steps = Steps(self.care, consumer, self.page)
        consumer.release(cursor)
        while cursor < at[-1]:
            head = steps.head(at[-1], cursor, cursor) if steps.active else at[-1]
            self.page.set("given", max(head, self.page["given"]))
            taken = [number for number in range(len(at) - 1) if cursor <= at[number] < head]
            if self.poison.intersection(taken):
                return False
            self.done += taken
            cursor = head
            consumer.release(cursor)
        return True


@given(st.sets(st.integers(0, 199), max_size=6))
def test_exactly_the_messages_that_kill_are_left_out(poison):
    """With a few deaths for each; the others are taken once, as what is safe is released."""
    worker = Worker(ring_of(conversation(200)), poison)
    at = worker.positions()
    while not worker.live(at):
        worker.deaths += 1
        assert worker.deaths <= 3 * len(poison)
        worker.care = after_death(worker.page, worker.care, 1, own=True)
    assert worker.left_out == sorted(poison)
    assert worker.done == [number for number in range(200) if number not in poison]


def test_a_worker_that_is_killed_from_outside_suspects_nothing():
    """A thousand kills by the operator must not cost a message, nor make the successor slow."""
    page = Counters(worker_counters(1))
    page.set("given", 4096)
    care = Care()
    for _ in range(1000):
        care = after_death(page, care, 1, own=False)
        assert care == Care()


def test_a_message_that_has_its_worker_killed_every_time_is_left_out_in_the_end():
    """As the kernel kills who takes too much memory: no exit code tells that it was this message."""
    page = Counters(worker_counters(1))
    page.set("given", 800)
    care = after_death(page, Care(), 3, own=False)
    assert care == Care(until=800)
    page.set("trying_from", 0)
    page.set("trying_to", 400)
    assert after_death(page, care, 2, own=False) == care
    page.set("trying_to", 400)
    care = after_death(page, care, 3, own=False)
    assert care == Care(until=400, single=True)
    for _ in range(MOST_KILLS):
        assert care.skip is None
        page.set("trying_from", 80)
        page.set("trying_to", 160)
        care = after_death(page, care, 4, own=False)
    assert care.skip == (80, 160)


def test_a_message_is_kept_as_it_was_and_for_its_owner_alone(tmp_path: Path):
    """It is somebody's traffic, and the only way to find the fault."""
    ring = ring_of(conversation(3))
    consumer = Consumer(ring)
    record = consumer.read(0)
    assert record is not None
    path = keep(consumer, 0, record[2], tmp_path / "new", "message")
    assert path.read_bytes() == len(record[1]).to_bytes(8, "little") + bytes(record[1])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(OSError, match="File exists"):
        keep(consumer, 0, record[2], path, "message")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            keep(consumer, 0, record[2], tmp_path / "new", "message")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list((tmp_path / "new").iterdir()) == [path], "no half of it"
