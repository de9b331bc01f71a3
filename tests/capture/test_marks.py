"""The mark of a ring: exact for a successor, wherever the process before it died."""

import pytest

from capture.counters import Counters
from capture.marks import Mark
from capture.records import KIND_FRAMES
from capture.ring import Consumer, Producer, Ring


@pytest.mark.parametrize("noted", [0, 1, 2, 3])
def test_what_was_published_and_not_noted_is_counted(noted: int):
    """Whether it was read or not, and wherever in the ring it lies; the process died between the two."""
    ring = Ring.create(4096)
    mark, producer, consumer = Mark(), Producer(ring), Consumer(ring)
    amount = 0
    for at in range(40):
        producer.put(KIND_FRAMES, (at + 1).to_bytes(4, "little") + bytes(12 + 8 * (at * 37 % 60)))
        amount += at + 1
        if at % 4 >= noted:
            assert mark.recover(ring) == amount
        else:
            mark.note(producer.position, amount)
        consumer.release(consumer.head)
    assert mark.amount == amount


def test_a_page_of_something_else_is_refused():
    """Whatever stands there would be taken for an amount."""
    with pytest.raises(ValueError, match="not one of a mark"):
        Mark(Counters(("a", "b", "c", "d", "e")))
