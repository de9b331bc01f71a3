"""The merge: every frame once, by time, no input's order changed, whatever the chunks and the batches are."""

import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capture.frames import DONE, FULL, MOST, Merger
from capture.records import KIND_FRAMES
from capture.ring import Consumer, Producer, Ring
from tests.capture.batches import Got, unpack, unpack_all

UNBOUNDED = 1 << 40
FrameList = list[tuple[int, bytes]]


def chunk(frames: FrameList) -> tuple[bytes, bytes]:
    """Pack frames as next_batch does, their times in nanoseconds."""
    data, meta = b"", b""
    for ts_ns, frame in frames:
        meta += struct.pack("=IIII", ts_ns // 10**9, ts_ns % 10**9, len(data), len(frame))
        data += frame
    return data, meta


def run(inputs: list[list[FrameList]], merger: Merger, limit: int = UNBOUNDED) -> list[bytes]:
    """Push each input's chunks as the merger asks for them; return the payloads."""
    waiting = [list(chunks) for chunks in inputs]
    for source, chunks in enumerate(waiting):
        merger.announce(source, chunks[0][0][0] if chunks else 0)
    payloads = []
    while True:
        hungry = merger.gather(limit)
        if hungry in (FULL, DONE):
            if merger.frames:
                assert merger.size <= limit
                payloads.append(merger.payload())
            if hungry == DONE:
                return payloads
        elif waiting[hungry]:
            data, meta = chunk(waiting[hungry].pop(0))
            merger.push(data, meta, link=1 + hungry, unit_ns=1)
        else:
            merger.finish()


def oracle(inputs: list[list[FrameList]]) -> list[Got]:
    """Merge in the plainest way: the earliest of the next frames, the first input if they are equal."""
    queues = [[frame for part in chunks for frame in part] for chunks in inputs]
    out = []
    while any(queues):
        source = min((queue[0][0], number) for number, queue in enumerate(queues) if queue)[1]
        ts_ns, data = queues[source].pop(0)
        out.append(Got(ts_ns, data, 1 + source, source))
    return out


frames = st.tuples(st.integers(0, 40), st.binary(max_size=30))
chunks = st.lists(st.lists(frames, min_size=1, max_size=6), max_size=4)


@given(st.lists(chunks, min_size=1, max_size=6), st.integers(1, 9), st.integers(1, 80))
def test_merging_gives_what_the_plainest_merge_gives(inputs, batch_frames, batch_bytes):
    """Times repeat and go backward in real captures; neither may change the order within a file."""
    merger = Merger(len(inputs), batch_frames, batch_bytes)
    payloads = run(inputs, merger)
    assert unpack_all(payloads) == oracle(inputs)
    for payload in payloads:
        _, got = unpack(payload)
        assert len(got) <= batch_frames
        assert sum(len(frame.data) for frame in got) <= batch_bytes or len(got) == 1


def test_many_inputs_are_merged_in_order():
    """The heap has more than three places in real use: a directory of an hour's captures."""
    inputs = [[[(at * 100 + source * 37 % 100, bytes([source]))] for at in range(20)] for source in range(50)]
    assert unpack_all(run(inputs, Merger(50, 100, 10_000))) == oracle(inputs)


@given(st.lists(st.integers(0, 300), min_size=1, max_size=30), st.integers(60, 300))
def test_frames_too_large_for_the_ring_are_counted_and_the_rest_keep_their_numbers(sizes, limit):
    """With a tiny ring a frame may never fit; the ledger closes, and `--frame N` means the same frame."""
    given_frames = [(at, bytes(size)) for at, size in enumerate(sizes)]
    merger = Merger(1, 10, 1000)
    seen = {}
    for payload in run([[given_frames]], merger, limit):
        first, got = unpack(payload)
        seen |= {first + at: frame for at, frame in enumerate(got)}
    too_large = [size for size in sizes if 16 + 24 + size > limit]
    assert seen == {at + 1: Got(at, data, 1, 0) for at, data in given_frames if 16 + 24 + len(data) <= limit}
    assert (merger.dropped_frames, merger.dropped_bytes) == (len(too_large), sum(too_large))


def test_skipped_frames_do_not_come_out():
    """A file that is read again after a fault begins behind what it has given already."""
    merger = Merger(1, 10, 1000)
    merger.announce(0, 0)
    assert merger.gather(UNBOUNDED) == 0
    merger.push(*chunk([(1, b"old"), (2, b"new")]), link=1, unit_ns=1, skip=1)
    assert merger.gather(UNBOUNDED) == 0
    merger.finish()
    assert merger.gather(UNBOUNDED) == DONE
    assert unpack(merger.payload()) == (1, [Got(2, b"new", 1, 0)])


def test_microseconds_become_nanoseconds():
    """The unit is the input's; the record's is always the same."""
    merger = Merger(1, 10, 1000)
    merger.announce(0, 0)
    merger.gather(UNBOUNDED)
    merger.push(b"x", struct.pack("=IIII", 4_000_000_000, 999_999, 0, 1), link=1, unit_ns=1000)
    merger.gather(UNBOUNDED)
    assert unpack(merger.payload())[1][0].ts_ns == 4_000_000_000_999_999_000


def test_batches_in_the_ring_are_those_of_the_library():
    """One code path builds both; this holds the two ends of it together."""
    given_frames = [(at, bytes([at]) * at) for at in range(100)]
    merger, ring = Merger(1, 7, 1000), Ring.create(65536)
    producer, consumer = Producer(ring), Consumer(ring)
    merger.announce(0, 0)
    while (hungry := merger.gather(ring.largest)) != DONE:
        if hungry == FULL:
            merger.write(producer)
        elif ring.stats().records == 0:
            merger.push(*chunk(given_frames), link=1, unit_ns=1)
        else:
            merger.finish()
    merger.write(producer)
    payloads, position = [], 0
    while (record := consumer.read(position)) is not None:
        kind, view, position = record
        assert kind == KIND_FRAMES
        payloads.append(bytes(view))
    assert unpack_all(payloads) == unpack_all(run([[given_frames]], Merger(1, 7, 1000)))


def gathered(frames: FrameList) -> Merger:
    """Give a merger that has gathered these frames into one batch."""
    merger = Merger(1, 100, 1 << 20)
    merger.announce(0, 0)
    assert merger.gather(UNBOUNDED) == 0
    merger.push(*chunk(frames), link=1, unit_ns=1)
    assert merger.gather(UNBOUNDED) == 0
    return merger


def records(consumer: Consumer) -> list[bytes]:
    """Take what is in a ring."""
    out = []
    while (record := consumer.read(consumer.tail)) is not None:
        kind, view, position = record
        assert kind == KIND_FRAMES
        out.append(bytes(view))
        consumer.release(position)
    return out


def test_a_batch_that_fits_is_written_without_waiting_as_it_is_with():
    """A live source writes this way; its records are no others."""
    given_frames = [(at, bytes([at]) * at) for at in range(60)]
    ring = Ring.create(1 << 16)
    merger, consumer = gathered(given_frames), Consumer(ring)
    assert merger.try_write(Producer(ring)) is True
    assert [unpack(record) for record in records(consumer)] == [unpack(gathered(given_frames).payload())]
    assert (merger.frames, merger.frame_bytes) == (0, 0)
    with pytest.raises(ValueError, match="empty"):
        merger.try_write(Producer(ring))


def test_a_batch_that_never_fits_is_given_up():
    """It would stop the capture for good."""
    ring = Ring.create(4096)
    merger = gathered([(1, bytes(5000))])
    assert merger.try_write(Producer(ring)) is False
    assert (merger.frames, ring.stats().records, records(Consumer(ring))) == (0, 0, [])


@pytest.mark.parametrize("seed", range(5))
def test_batches_that_find_no_room_leave_no_trace_and_those_that_do_are_whole(seed):
    """A reader that falls behind costs frames, never the frames beside them, nor the numbers that name them."""
    chance = random.Random(seed)
    ring, merger = Ring.create(4096), Merger(1, 100, 1 << 20)
    producer, consumer = Producer(ring), Consumer(ring)
    merger.announce(0, 0)
    number, read, written, lost = 1, [], [], 0
    for turn in range(2000):
        count = chance.randrange(1, 8)
        assert merger.gather(UNBOUNDED) == 0
        frames = [(turn, chance.randbytes(chance.randrange(200))) for _ in range(count)]
        merger.push(*chunk(frames), link=1, unit_ns=1)
        assert merger.gather(UNBOUNDED) == 0
        before = ring.stats()
        if merger.try_write(producer):
            written.append((number, [data for _, data in frames]))
            assert ring.stats().records == before.records + 1
        else:
            lost += 1
            assert ring.stats() == before
        number += count
        if chance.random() < 0.2:
            read += records(consumer)
    read += records(consumer)
    assert [(first, [frame.data for frame in got]) for first, got in map(unpack, read)] == written
    assert min(lost, len(written)) > 200


def test_misuse_is_refused():
    """The arrays behind it have no other guard."""
    for bad in ((0, 1, 1), (70_000, 1, 1), (1, 0, 1), (1, 1, 0), (1, MOST + 1, 1), (1, 1, MOST + 1)):
        with pytest.raises(ValueError, match=r"possible|at least|from one"):
            Merger(*bad)
    merger = Merger(1, 10, 1000)
    for call in (
        merger.finish,
        merger.payload,
        lambda: merger.push(b"", b"", 1, 1),
        lambda: merger.announce(1, 0),
    ):
        with pytest.raises(ValueError, match=r"hungry|empty|too many"):
            call()
    with pytest.raises(ValueError, match="empty"):
        merger.write(Producer(Ring.create(4096)))
    merger.announce(0, 0)
    for data, meta, skip in (
        (b"a", struct.pack("=IIII", 0, 0, 0, 2), 0),
        (b"a", struct.pack("=IIII", 0, 0, 2**32 - 1, 1), 0),
        (b"a", struct.pack("=IIII", 0, 0, 0, 1), 1),
    ):
        with pytest.raises(ValueError, match=r"outside|is empty"):
            merger.push(data, meta, 1, 1, skip)
    merger.push(b"a", struct.pack("=IIII", 0, 0, 0, 1), 1, 1)
    with pytest.raises(ValueError, match="hungry"):
        merger.push(b"a", struct.pack("=IIII", 0, 0, 0, 1), 1, 1)


def test_a_batch_larger_than_the_ring_is_refused():
    """It would wait for ever."""
    merger = Merger(1, 10, 1 << 20)
    merger.announce(0, 0)
    merger.gather(UNBOUNDED)
    merger.push(bytes(5000), struct.pack("=IIII", 0, 0, 0, 5000), 1, 1)
    merger.gather(UNBOUNDED)
    with pytest.raises(ValueError, match="never fits"):
        merger.write(Producer(Ring.create(4096)))
