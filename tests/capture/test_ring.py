"""The ring: what goes in comes out, whole and in order, whatever the sizes, whoever dies; nobody spins."""

import gc
import multiprocessing
import os
import random
import select
import time
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packets_files import write_pcap

from capture.errors import MirrorError
from capture.records import KIND_FRAMES, KIND_MESSAGE
from capture.ring import Consumer, Producer, Ring
from tests.capture import peers

SPAWN = multiprocessing.get_context("spawn")
DEADLINE_S = 60


def run_through(ring: Ring, start: int, end: int, largest: int) -> int:
    """Check all records from start to end as they come, releasing at random; return where it ended."""
    consumer = Consumer(ring)
    chance = random.Random(start)
    position, deadline = consumer.tail, time.monotonic() + DEADLINE_S
    for number in range(start, end):
        while (record := consumer.read(position)) is None:
            consumer.release(position)  # who waits for more while holding all the room would wait for ever
            consumer.wait(position)
            assert time.monotonic() < deadline, f"record {number} never came"
        kind, view, position = record
        assert kind == KIND_MESSAGE
        peers.check(number, view, largest)
        if chance.random() < 0.3 or ring.stats().used > ring.capacity // 2:
            consumer.release(position)
    consumer.release(position)
    return position


def test_records_of_two_processes_arrive_whole_and_in_order():
    """The one thing that all stages stand on, with sizes from nothing up, many times round the ring."""
    ring = Ring.create(16384)
    process = SPAWN.Process(target=peers.produce, args=(ring, 0, 20000, 2000))
    process.start()
    position = run_through(ring, 0, 20000, 2000)
    process.join(DEADLINE_S)
    assert process.exitcode == 0
    consumer = Consumer(ring)
    assert consumer.closed
    assert consumer.head == position
    assert ring.stats().records == 20000
    assert position > 100 * ring.capacity


def test_largest_records_pass_between_two_processes():
    """A record of half the ring fits wherever the head stands, also behind a pad."""
    ring = Ring.create(4096)
    process = SPAWN.Process(target=peers.produce, args=(ring, 0, 3000, ring.largest))
    process.start()
    run_through(ring, 0, 3000, ring.largest)
    process.join(DEADLINE_S)
    assert process.exitcode == 0


def test_a_killed_consumer_repeats_and_loses_nothing():
    """A worker that is killed is replaced: its successor starts at what was not released."""
    ring = Ring.create(65536)
    producer = Producer(ring)
    for number in range(100):
        producer.put(KIND_MESSAGE, peers.content(number, 300))
    process = SPAWN.Process(target=peers.consume, args=(ring, 60, 20, 300))
    process.start()
    process.join(DEADLINE_S)
    assert process.exitcode == -9
    assert run_through(ring, 20, 100, 300) == Consumer(ring).head


def test_a_killed_producer_leaves_whole_records_and_a_place_to_go_on():
    """A capture that is killed must not poison the ring for its successor."""
    ring = Ring.create(65536)
    process = SPAWN.Process(target=peers.produce, args=(ring, 0, 50, 300, False, True))
    process.start()
    process.join(DEADLINE_S)
    assert process.exitcode == -9
    assert not Consumer(ring).closed
    peers.produce(ring, 50, 100, 300)
    assert run_through(ring, 0, 100, 300) == Consumer(ring).head
    assert ring.stats().records == 100


@given(st.lists(st.one_of(st.integers(0, 2032), st.sampled_from(["read", "release"])), max_size=80), st.data())
def test_a_ring_is_a_bounded_queue(steps, data):
    """Against a plain queue: same records, same order, refused only for want of room for it and a pad."""
    ring = Ring.create(1)
    producer, consumer = Producer(ring), Consumer(ring)
    kept: deque[tuple[bytes, int]] = deque()  # not released: content, end once read
    unread: deque[bytes] = deque()
    position = 0
    for step in steps:
        if step == "read":
            record = consumer.read(position)
            assert (record is None) == (not unread)
            if record is not None:
                _, view, position = record
                expected = unread.popleft()
                assert view[: len(expected)] == expected
                kept.append((expected, position))
        elif step == "release":
            for _ in range(data.draw(st.integers(0, len(kept)))):
                consumer.release(kept.popleft()[1])
        else:
            payload = bytes([step % 251]) * step
            room = ring.capacity - (consumer.head - consumer.tail)
            if producer.try_put(KIND_MESSAGE, payload):
                unread.append(payload)
            else:
                assert room < 2 * (step + 7 + 16)
        stats = ring.stats()
        assert stats.used <= stats.high_water <= ring.capacity
    producer.close()
    while (record := consumer.read(position)) is not None:
        _, view, position = record
        expected = unread.popleft()
        assert view[: len(expected)] == expected
    assert not unread
    assert position == consumer.head


def test_a_pad_of_eight_bytes_is_stepped_over():
    """The smallest gap at the end has room for length and kind only; a sequence number would be out of it."""
    ring = Ring.create(4096)
    producer, consumer = Producer(ring), Consumer(ring)
    for size in (2024, 2032):
        producer.put(KIND_MESSAGE, bytes(size))
    assert producer.position == ring.capacity - 8
    consumer.release(consumer.head)
    producer.put(KIND_FRAMES, b"after it")
    record = consumer.read(4088)
    assert record is not None
    kind, view, position = record
    assert (kind, bytes(view)) == (KIND_FRAMES, b"after it")
    assert position == 4096 + 24 == consumer.head


def test_a_record_that_ends_with_the_ring_needs_no_pad():
    """An exact fit is the other edge of the same arithmetic."""
    ring = Ring.create(4096)
    producer, consumer = Producer(ring), Consumer(ring)
    for mark in (b"a", b"b"):
        producer.put(KIND_MESSAGE, mark * ring.largest)
    assert not producer.try_put(KIND_MESSAGE, b"")
    consumer.release(2048)
    assert producer.try_put(KIND_MESSAGE, b"c" * ring.largest)
    record = consumer.read(4096)
    assert record is not None
    assert bytes(record[1]) == b"c" * ring.largest


def test_what_never_fits_is_refused_at_once():
    """Waiting for room that cannot come would hang the pipeline."""
    ring = Ring.create(4096)
    producer = Producer(ring)
    with pytest.raises(ValueError, match="never fits"):
        producer.put(KIND_MESSAGE, bytes(ring.largest + 1))
    with pytest.raises(ValueError, match="never fits"):
        producer.try_put(KIND_MESSAGE, bytes(10 * ring.capacity))


@pytest.mark.parametrize("capacity", [0, -1, (1 << 32) + 1])
def test_an_impossible_capacity_is_refused(capacity):
    """A record's length has 32 bits; a larger ring would cut it without a word."""
    with pytest.raises(ValueError, match="are possible"):
        Ring.create(capacity)


def test_releasing_what_is_not_there_is_refused():
    """Going back, or ahead of the producer, would let it overwrite records that nobody has read."""
    ring = Ring.create(4096)
    producer, consumer = Producer(ring), Consumer(ring)
    producer.put(KIND_MESSAGE, b"x")
    consumer.release(24)
    for position in (0, 48):
        with pytest.raises(ValueError, match="cannot release"):
            consumer.release(position)


def test_a_descriptor_that_holds_no_ring_is_refused(tmp_path):
    """A mistake in handing descriptors over is to show at once, not as garbage records."""
    (tmp_path / "no-ring").write_bytes(bytes(8192))
    fd = os.open(tmp_path / "no-ring", os.O_RDWR)
    with pytest.raises(MirrorError, match="does not hold a ring"):
        Ring(fd, os.eventfd(0), os.eventfd(0))


def test_arm_rings_the_consumer_for_the_next_record_and_for_the_end():
    """The worker sleeps in poll, on many descriptors at once; a bell missed is a message that is late."""
    ring = Ring.create(4096)
    producer, consumer = Producer(ring), Consumer(ring)
    assert consumer.arm(0)
    assert not readable(consumer.fileno())
    producer.put(KIND_MESSAGE, b"x")
    assert readable(consumer.fileno())
    consumer.disarm()
    assert not readable(consumer.fileno())
    assert not consumer.arm(0), "there is a record already"
    assert consumer.arm(24)
    producer.close()
    assert readable(consumer.fileno())
    consumer.disarm()
    assert not consumer.arm(24), "it is closed already"


def test_arm_rings_the_producer_when_all_is_released():
    """The receiver acknowledges a chunk when its records are done with, and sleeps until then."""
    ring = Ring.create(4096)
    producer, consumer = Producer(ring), Consumer(ring)
    producer.put(KIND_MESSAGE, b"x")
    producer.put(KIND_MESSAGE, b"y")
    assert producer.arm(producer.position)
    consumer.release(24)
    assert not readable(producer.fileno()), "half of it is not all"
    consumer.release(48)
    assert readable(producer.fileno())
    producer.disarm()
    assert not producer.arm(producer.position)


def readable(fd: int) -> bool:
    """Whether a read from fd would not block."""
    return bool(select.select([fd], [], [], 0)[0])


def test_an_idle_consumer_uses_no_cpu():
    """A pipeline that watches a quiet network runs for weeks."""
    ring = Ring.create(4096)
    consumer = Consumer(ring)
    began, used = time.monotonic(), time.process_time()
    for _ in range(10):
        assert not consumer.wait(0, 100)
    assert time.monotonic() - began > 0.9, "it did not sleep"
    assert time.process_time() - used < 0.03


def test_a_blocked_producer_uses_no_cpu_and_goes_on_when_there_is_room(tmp_path):
    """A receiver that stalls for an hour must not cost a processor for an hour."""
    frames = [(1_700_000_000_000_000_000 + at, bytes(1400)) for at in range(2000)]
    path = write_pcap(tmp_path / "a.pcap", frames)
    ring = Ring.create(300_000)
    process = SPAWN.Process(target=peers.fill, args=(ring, str(path)))
    process.start()
    deadline = time.monotonic() + DEADLINE_S
    while not ring.stats().stalls:
        assert time.monotonic() < deadline
        process.join(0.01)
    used = cpu_s(process.pid)
    process.join(1)
    assert process.is_alive()
    assert cpu_s(process.pid) - used <= 0.03
    consumer = Consumer(ring)
    position = 0
    while not (consumer.closed and position == consumer.head):
        if (record := consumer.read(position)) is None:
            consumer.wait(position)
        else:
            position = record[2]
            consumer.release(position)
        assert time.monotonic() < deadline
    process.join(DEADLINE_S)
    assert process.exitcode == 0


def cpu_s(pid: int | None) -> float:
    """Processor seconds of a process so far (proc(5), stat: fields 14 and 15)."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_stalls_drops_and_high_water_are_counted():
    """The supervisor shows them; a full ring is the first thing to look at when something lags."""
    ring = Ring.create(4096)
    producer, consumer = Producer(ring), Consumer(ring)
    producer.put(KIND_MESSAGE, bytes(2000))
    producer.put(KIND_MESSAGE, bytes(2000))
    producer.wait_room(2000, 1)
    producer.drop(5)
    consumer.release(consumer.head)
    assert ring.stats() == (4096, 0, 2 * 2016, 2, 1, 5, False)
    producer.close()
    assert ring.stats().closed


def test_a_ring_gives_its_memory_and_descriptors_back():
    """A supervisor that restarts children for weeks must not run out of either."""
    before = set(os.listdir("/proc/self/fd"))
    for _ in range(5):
        ring = Ring.create(4096)
        Producer(ring).put(KIND_MESSAGE, b"x")
        del ring
    gc.collect()
    assert len(set(os.listdir("/proc/self/fd")) - before) <= 1  # the listing's own
