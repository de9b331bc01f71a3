"""Orders for a running child: the newest one, once, and never half of one."""

import multiprocessing
import os
from typing import Any

import pytest

from capture.errors import MirrorError
from capture.orders import HEAD, MOST_BYTES, Orders

SPAWN = multiprocessing.get_context("spawn")
ORDER = {"ports": [80, 8080], "filter": None, "hosts": ["10.0.0.0/8"], "sample": 12.5}


def reader_of(orders: Orders) -> Orders:
    """Open the same memory once more, as a child does."""
    return Orders(os.dup(orders.fd))


def test_an_order_is_taken_once_and_as_it_was_given():
    """Twice would open all interfaces again."""
    orders = Orders()
    reader = reader_of(orders)
    assert reader.take() is None
    orders.give(ORDER)
    assert reader.take() == ORDER
    assert reader.take() is None
    orders.give(ORDER)
    assert reader.take() == ORDER, "given again, it is to be obeyed again"


def test_only_the_newest_counts():
    """Two reloads in quick succession end with what the second one says."""
    orders = Orders()
    reader = reader_of(orders)
    orders.give({"ports": list(range(1000))})
    orders.give({"ports": [1]})
    assert reader.take() == {"ports": [1]}
    assert reader.take() is None


def test_a_successor_gets_the_order_that_is_in_force():
    """It starts from what the configuration said at first."""
    orders = Orders()
    orders.give(ORDER)
    assert reader_of(orders).take() == ORDER
    assert reader_of(orders).take() == ORDER
    assert orders.take() is None, "who gave it does not get it"


@pytest.mark.parametrize("before", [None, {"a": 1}, {"ports": [7] * 500}], ids=["none", "short", "long"])
@pytest.mark.parametrize("took", [False, True])
def test_half_an_order_is_never_taken(before, took):
    """The writer may be interrupted anywhere; a filter made of half a list is a wrong filter."""
    orders, other = Orders(), Orders()
    other.give({"x": 0})
    if before is not None:
        orders.give(before)
        other.give({"x": 1})
    reader = reader_of(orders)
    if took:
        reader.take()
    other.give(ORDER)
    whole = os.pread(other.fd, 1 << 16, 0) if before is not None else renumbered(other)
    for size in range(1, HEAD.size + HEAD.unpack_from(whole)[1]):
        os.pwrite(orders.fd, whole[:size], 0)
        assert reader.take() in (None, before if not took and size < 8 else None), f"after {size} bytes"
    os.pwrite(orders.fd, whole, 0)
    assert reader.take() == ORDER


def renumbered(orders: Orders) -> bytes:
    """Return the bytes of an order that is the first one."""
    first = Orders()
    first.give(ORDER)
    return os.pread(first.fd, 1 << 16, 0)


def write_many(orders: Orders, count: int) -> None:
    """Give orders as fast as it goes: what a child process runs."""
    for number in range(1, count + 1):
        orders.give({"number": number, "fill": "x" * (number % 3000), "again": number})


def test_a_reader_beside_a_busy_writer_sees_whole_orders_in_their_order():
    """Two processes, no lock."""
    orders = Orders()
    process = SPAWN.Process(target=write_many, args=(orders, 20_000))
    process.start()
    taken: list[dict[str, Any]] = []
    while not taken or taken[-1]["number"] < 20_000:
        alive = process.is_alive()
        order = orders.take()
        if order is not None:
            taken.append(order)
            assert order["again"] == order["number"]
            assert len(order["fill"]) == order["number"] % 3000
        assert alive or order is not None, "the last one never came"
    process.join(60)
    assert process.exitcode == 0
    numbers = [each["number"] for each in taken]
    assert numbers == sorted(set(numbers))


def test_an_order_that_is_too_large_is_refused_and_the_last_one_stays():
    """The supervisor says so; the child goes on as before."""
    orders = Orders()
    reader = reader_of(orders)
    orders.give(ORDER)
    with pytest.raises(MirrorError, match=f"at most {MOST_BYTES}"):
        orders.give({"filter": "x" * MOST_BYTES})
    assert reader.take() == ORDER
    orders.give({"ports": list(range(65536))})
    assert reader.take() == {"ports": list(range(65536))}, "every port there is fits"
