"""The connections of a replay: one for each captured one, or shared; a target that is not there, or not yet."""

import time

import pytest

from assemble.records import FLAG_OPENS, MESSAGE_HEADER
from capture.records import KIND_MESSAGE
from capture.ring import Producer, Ring
from emit.pace import Pace
from tests.emit.builders import fill, records_of, request, ring_of
from tests.emit.replaying import MODES, Run, check, replay, talk
from tests.targets import target


@pytest.mark.parametrize("how", MODES, ids=["session", "pool"])
@pytest.mark.parametrize("connections", [1, 3, 64])
def test_everything_arrives_once_and_each_connection_in_order(how: dict[str, bool], connections: int):
    with target() as server:
        counts = replay(talk(9, 20), server.port, connections=connections, **how)
    assert counts == {
        "delivered": 180,
        "delivered_bytes": sum(len(m.payload) for m in talk(9, 20)[::2]),
        "responses": 180,
        "connections": server.accepted,
    }
    assert sorted(each.target for each in server.arrivals) == sorted(
        b"/%d/%d" % (f, n) for f in range(9) for n in range(20)
    )
    for flow in range(9):
        mine = [int(each.target.split(b"/")[2]) for each in server.arrivals if each.target.startswith(b"/%d/" % flow)]
        assert mine == list(range(20))
    assert server.faults == []
    if not how["pooled"]:
        for arrivals in server.by_connection():
            assert len({each.target.split(b"/")[1] for each in arrivals}) == 1, "a connection for each captured one"
        if connections == 64:
            assert server.accepted == 9


def reused(count: int, each: int) -> Ring:
    """Make requests of captured connections that follow each other with the same addresses."""
    ring = Ring.create(1 << 20)
    producer = Producer(ring)
    for number in range(count * each):
        asked = request(number, target=f"/{number}", sport=40_000, first_ns=10**18 + number * 10**8)
        [record] = records_of(asked)
        fields = list(MESSAGE_HEADER.unpack_from(record))
        fields[8] |= FLAG_OPENS if number % each == 0 else 0
        assert producer.try_put(KIND_MESSAGE, MESSAGE_HEADER.pack(*fields) + record[MESSAGE_HEADER.size :])
    return ring


@pytest.mark.parametrize("how", MODES, ids=["session", "pool"])
@pytest.mark.parametrize("pace", [{}, {"speed": 100.0}], ids=["max", "timed"])
def test_captured_connections_with_the_same_addresses_follow_each_other(how: dict[str, bool], pace: dict[str, float]):
    """Ports are used again within minutes: each has a connection of its own, once the earlier one is done."""
    with target() as server:
        run = Run(reused(3, 4), server.port, pace=Pace.create(**pace), **how)
        run.until(lambda: run.cursor == run.consumer.head and run.engine.quiet)
        assert run.engine.connected == 1, "the earlier ones are closed"
        assert run.finish()["delivered"] == 12
    assert [each.target for each in server.arrivals] == [b"/%d" % number for number in range(12)]
    lengths = [len(each) for each in server.by_connection()]
    assert lengths == ([12] if how["pooled"] else [4, 4, 4])


@pytest.mark.parametrize("how", MODES, ids=["session", "pool"])
def test_all_of_them_are_given_up_where_nobody_is(how: dict[str, bool]):
    with target(listening=False) as server:
        counts = Run(reused(3, 4), server.port, retry_s=0.2, **how).finish()
    assert counts["failed_unreachable"] == 12


@pytest.mark.parametrize("how", MODES, ids=["session", "pool"])
def test_a_target_that_is_not_there_is_waited_for_then_given_up(how: dict[str, bool]):
    with target(listening=False) as server:
        counts = replay(talk(5, 4), server.port, retry_s=0.3, **how)
    check(counts, 20)
    assert counts["failed_unreachable"] == 20


@pytest.mark.parametrize("how", MODES, ids=["session", "pool"])
def test_a_target_that_comes_late_gets_everything(how: dict[str, bool]):
    with target(listening=False) as server:
        run = Run(ring_of(talk(5, 4)), server.port, retry_s=15.0, **how)
        run.until(lambda: run.engine.breaker.failures >= 2)
        server.listen()
        counts = run.finish()
    assert counts["delivered"] == 20
    assert len(server.arrivals) == 20


@pytest.mark.parametrize("how", MODES, ids=["session", "pool"])
def test_a_target_that_returns_gets_what_comes_then(how: dict[str, bool]):
    with target(listening=False) as server:
        ring = ring_of(talk(5, 4), close=False)
        run = Run(ring, server.port, retry_s=0.2, **how)
        run.until(lambda: run.engine.quiet)
        assert run.counts["failed_unreachable"] == 20
        assert run.engine.breaker.broken
        server.listen()
        run.until(lambda: run.engine.breaker.may_try(time.monotonic_ns(), 0))
        fill(ring, talk(5, 4))
        counts = run.finish()
    check(counts, 40)
    assert counts["delivered"] == 20, "they wait for what the attempt brings"


@pytest.mark.parametrize("how", MODES, ids=["session", "pool"])
def test_no_request_is_begun_while_it_is_held(how: dict[str, bool]):
    with target() as server:
        run = Run(ring_of(talk(5, 4)), server.port, connections=2, **how)
        run.engine.hold(True)
        for _each in range(10):
            run.step()
        assert server.arrivals == []
        run.engine.hold(False)
        assert run.finish()["delivered"] == 20
