"""What outputs of lines share, on a place to write that does what it is told."""

import pytest

from assemble.message import Message
from capture.counters import Counters
from capture.records import KIND_MESSAGE
from capture.ring import Consumer, Producer, Ring
from emit.lineout import LineOutput
from emit.records import OutputSpec, worker_counters
from tests.emit.builders import as_line, conversation, fill, read_lines, records_of, response


class Place(LineOutput):
    """Takes up to `room` bytes, then waits; fails once `capacity_bytes` are taken."""

    room = 1 << 30
    capacity_bytes = 1 << 30

    def open(self) -> None:
        self.text = bytearray()
        self.locks: list[int] = []

    def write(self) -> bool:
        view = self.lines.view()
        count = min(self.room, len(view) - self.written, self.capacity_bytes - len(self.text))
        self.text += view[self.written : self.written + count]
        self.written += count
        self.room -= count
        if len(self.text) == self.capacity_bytes and self.written < len(view):
            raise OSError(28, "No space left on device")
        return self.written == len(view)

    def lock(self) -> bool:
        if not self.locked:
            self.locks.append(len(self.text))
        self.locked = True
        return True

    def unlock(self) -> None:
        if self.locked:
            self.locks.append(len(self.text))
        self.locked = False

    def cut_back(self, partial_bytes: int) -> None:
        del self.text[len(self.text) - partial_bytes :]


def place(made: list[Message], capacity: int = 16 << 20) -> Place:
    """Make a place over a ring that holds `made`."""
    ring = Ring.create(capacity)
    fill(ring, made)
    output = Place(OutputSpec("file", 0, path="somewhere"), Consumer(ring), Counters(worker_counters(1)))
    output.start(0.0)
    output.finish()
    return output


def test_text_that_has_to_wait_goes_on_where_it_stopped():
    """A slow place gets every byte once, and the ring is kept until then."""
    made = conversation(50)
    output = place(made)
    head = output.consumer.head
    for _turn in range(1000):
        output.room = 100
        output.pump(head, 0.0)
        assert output.safe in (0, head)
        if output.done(head):
            break
    assert read_lines(bytes(output.text)) == [as_line(message) for message in made]


def test_the_lock_is_held_from_line_start_to_line_end():
    """Whoever shares the place sees whole lines only."""
    output = place([*conversation(4), response(9, bytes(4_000_000)), *conversation(4)])
    while not output.done(output.consumer.head):
        output.pump(output.consumer.head, 0.0)
    for position in output.locks:
        assert position == 0 or output.text[position - 1] == ord("\n")
    assert not output.locked


def test_it_holds_the_place_for_what_is_not_in_the_ring_yet_and_for_nothing_else():
    """Others of the same worker must not wait for the ring then; a slow place gets better by itself."""
    ring = Ring.create(1 << 20)
    producer = Producer(ring)
    records = records_of(response(9, bytes(400_000)), 100_800)
    output = Place(OutputSpec("file", 0, path="somewhere"), Consumer(ring), Counters(worker_counters(1)))
    output.start(0.0)
    assert producer.try_put(KIND_MESSAGE, records[0])
    output.pump(output.consumer.head, 0.0)
    assert output.locked
    assert output.holding
    output.room = 10
    assert producer.try_put(KIND_MESSAGE, records[1])
    output.pump(output.consumer.head, 0.0)
    assert output.locked
    assert not output.holding
    output.room = 1 << 30
    for record in records[2:]:
        assert producer.try_put(KIND_MESSAGE, record)
    output.pump(output.consumer.head, 0.0)
    assert not output.locked
    assert not output.holding


@pytest.mark.parametrize("capacity_bytes", [0, 1, 2_000, 2_000_000, 5_200_000])
def test_a_failed_write_leaves_whole_lines_and_a_right_account(capacity_bytes: int):
    """Wherever it fails: inside the first line, a small one, or one of several blocks."""
    made = [*conversation(20), response(99, bytes(1_000_000)), *conversation(20), response(98, bytes(4_000_000))]
    output = place(made)
    output.capacity_bytes = capacity_bytes
    while not output.done(output.consumer.head):
        output.pump(output.consumer.head, 0.0)
    lines = read_lines(bytes(output.text))
    assert lines == [as_line(message) for message in made[: len(lines)]]
    assert (output.tally.delivered, output.tally.undelivered) == (len(lines), len(made) - len(lines))
    assert output.failure == "cannot write to somewhere: no space left on device: make room"
