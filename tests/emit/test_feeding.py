"""The receiver's side of the rings."""

from assemble.records import MESSAGE_HEADER
from capture.ring import Consumer, Ring
from emit.feeding import Feeder
from emit.joining import Budget, Joiner, Pending, Whole
from tests.emit.builders import drain, entry, header_of, request, response


def whole(body: bytes, part_bytes: int, number: int = 1) -> tuple[Whole, Pending]:
    """Make a message that came in one chunk and goes out in parts."""
    message = response(number, body)
    chunk = Pending(b"ack", None, None, decoded=True)
    made = Joiner(Budget(1 << 30, 1 << 30), part_bytes).add(
        0, MESSAGE_HEADER.pack(*header_of(message)), message.payload, chunk
    )
    assert made is not None
    return made, chunk


def release_all(ring: Ring) -> None:
    """Release everything there is."""
    consumer = Consumer(ring)
    consumer.release(consumer.head)


def test_a_message_larger_than_the_ring_goes_through_in_parts():
    """As room comes; its chunk is safe when the last part is released, not before."""
    ring = Ring.create(16 * 1024)
    feeder = Feeder([ring], Budget(1 << 30, 1 << 30))
    made, chunk = whole(bytes(100_000), feeder.decoder.part_bytes)
    feeder.put(made)
    turns = 0
    while feeder.queues[0]:
        assert not feeder.is_safe(chunk)
        release_all(ring)
        feeder.pump()
        turns += 1
    assert turns > 5
    assert not feeder.is_safe(chunk)
    release_all(ring)
    assert feeder.is_safe(chunk)
    assert feeder.take_counts()[0] == 1


def test_nothing_comes_between_the_parts():
    """Whoever reads the ring relies on it."""
    ring = Ring.create(16 * 1024)
    feeder = Feeder([ring], Budget(1 << 30, 1 << 30))
    feeder.put(whole(bytes(100_000), feeder.decoder.part_bytes)[0])
    assert feeder.decoder.run(entry(request(5)), 0)[1] == "full"
    while feeder.queues[0]:
        release_all(ring)
        feeder.pump()
    release_all(ring)
    start = feeder.producers[0].position
    assert feeder.decoder.run(entry(request(5)), 0)[1] is None
    assert drain(ring, start) == [request(5)]


def test_a_full_ring_wakes_when_there_is_room_and_not_at_every_record():
    """An eighth of the ring at a time: a full pipeline must not switch processes per record."""
    ring = Ring.create(64 * 1024)
    feeder = Feeder([ring], Budget(1 << 30, 1 << 30))
    body = b"".join(entry(request(number)) for number in range(2000))
    at, stop, _rings = feeder.decoder.run(body, 0)
    assert stop == "full"
    feeder.stalled(feeder.decoder.full)
    assert feeder.arm([])
    feeder.disarm()
    consumer = Consumer(ring)
    cursor = 0
    while feeder.arm([]):
        feeder.disarm()
        record = consumer.read(cursor)
        assert record is not None
        cursor = record[2]
        consumer.release(cursor)
    assert cursor >= ring.capacity // 8 - 1000
    feeder.pump()
    assert feeder.arm([]), "the wish is forgotten once it is fulfilled"
    feeder.disarm()
    assert feeder.decoder.run(body, at)[0] > at


def test_a_chunk_in_several_rings_waits_for_all():
    """The slowest worker decides when it is safe."""
    rings = [Ring.create(1 << 16) for _ in range(2)]
    feeder = Feeder(rings, Budget(1 << 30, 1 << 30))
    body = b"".join(entry(request(number)) for number in range(50))
    chunk = Pending(b"ack", None, None, decoded=True)
    for ring in feeder.decoder.run(body, 0)[2]:
        chunk.wrote(ring, feeder.producers[ring].position)
    assert set(chunk.ends) == {0, 1}
    assert feeder.arm([chunk])
    feeder.disarm()
    release_all(rings[0])
    assert not feeder.is_safe(chunk)
    release_all(rings[1])
    assert feeder.is_safe(chunk)


def test_nobody_sleeps_while_a_chunk_is_safe_and_not_acknowledged():
    """It may have become so after the last look: no descriptor would wake us, and the sender would wait in vain."""
    ring = Ring.create(1 << 16)
    feeder = Feeder([ring], Budget(1 << 30, 1 << 30))
    chunk = Pending(b"ack", None, None, decoded=True)
    feeder.decoder.run(entry(request(1)), 0)
    chunk.wrote(0, feeder.producers[0].position)
    assert feeder.arm([chunk])
    feeder.disarm()
    release_all(ring)
    assert not feeder.arm([chunk])


class Hasty:
    """A producer whose consumer releases everything just after one look."""

    def __init__(self) -> None:
        self.looks = 0
        self.armed: list[int] = []

    @property
    def released(self) -> int:
        """Nothing, and then all of it."""
        self.looks += 1
        return 0 if self.looks == 1 else 100

    def arm(self, position: int) -> bool:
        """Note the wish, which is fulfilled already."""
        self.armed.append(position)
        return False


def test_what_is_released_between_two_looks_is_not_slept_over():
    """An acknowledgement came a second late, once in a thousand."""
    feeder = Feeder([Ring.create(4096)], Budget(1 << 20, 1 << 20))
    hasty = Hasty()
    feeder.producers = [hasty]  # type: ignore[list-item]
    assert not feeder.arm([Pending(b"ack", None, None, {0: 100}, decoded=True)])
