"""The engine of a replay against real sockets: everything arrives in order, and every fault has its outcome."""

from threading import Thread
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assemble.message import Message
from capture.counters import Counters
from capture.records import KIND_MESSAGE
from capture.ring import Producer, Ring
from emit.answers import AnswerWriter
from emit.pace import Pace
from emit.records import worker_counters
from tests import faults
from tests.emit.builders import part_bytes_of, records_of, request, ring_of
from tests.emit.replaying import MODES, Run, Told, check, replay, talk
from tests.targets import Arrival, Line, target, usual


@pytest.mark.parametrize("how", MODES, ids=["session", "pool"])
@pytest.mark.parametrize("script", faults.ANSWERED, ids=lambda script: script.__name__)
def test_every_proper_answer_delivers(how: dict[str, bool], script: Any):
    """Also where the target closes after each answer, whether it says so or not, and whatever the method."""
    messages = talk(3, 4) + talk(2, 3, method="POST")
    with target(script) as server:
        told = Told()
        counts = replay(messages, server.port, told, connections=4, **how)
    posts = [each for each in server.arrivals if each.method == b"POST"]
    assert len(posts) == len({each.target for each in posts}), "what may have side effects is sent once"
    if script is faults.closing_in_silence:  # nobody can tell what became of a request that it closed on
        check(counts, 18)
        assert counts["delivered"] >= 16
    else:
        assert counts["delivered"] == 18
        assert {status for _id, status, _size in told.answers} == {200}


FAULTS = {
    "failed_reset": (
        faults.closing, faults.resetting, faults.cut, faults.cut_chunks, faults.cut_head, faults.reset_within,
    ),
    "failed_garbage": (
        faults.garbage, faults.bad_length, faults.bad_chunk, faults.unending_head, faults.unending_interims,
        faults.unending_size,
    ),
    "failed_timeout": (faults.silent, faults.stalled_within, faults.unending_chunks),
}  # fmt: skip


@pytest.mark.parametrize("how", MODES, ids=["session", "pool"])
@pytest.mark.parametrize(
    ("reason", "script"),
    [(reason, script) for reason, scripts in FAULTS.items() for script in scripts],
    ids=lambda each: getattr(each, "__name__", each),
)
def test_every_fault_harms_its_own_request_only(how: dict[str, bool], reason: str, script: Any):
    """Every third request meets it; those of other connections, and the next of the same, are answered."""
    with target(lambda line, asked: (script if asked.target.endswith(b"/1") else usual)(line, asked)) as server:
        told = Told()
        counts = replay(
            talk(4, 3, method="POST"), server.port, told, timeout_s=0.3, longest_s=0.6, connections=8, **how
        )
    check(counts, 12)
    assert counts[reason] == 4
    assert counts["delivered"] == 8
    assert sorted(number for number, _why in told.failures) == [4, 5, 6, 7]
    assert {why for _number, why in told.failures} == {reason.removeprefix("failed_")}


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_only_what_is_safe_to_repeat_is_retried(method: str):
    with target(faults.at_first(2, faults.reset_within)) as server:
        counts = replay(talk(1, 1, method=method), server.port, retries=2)
    check(counts, 1)
    assert (counts.get("delivered", 0), counts.get("retried", 0)) == ((1, 2) if method == "GET" else (0, 0))
    assert len(server.arrivals) == (3 if method == "GET" else 1)


def test_retries_have_an_end():
    with target(faults.closing) as server:
        counts = replay(talk(1, 1), server.port, retries=2)
    assert (counts["failed_reset"], counts["retried"], len(server.arrivals)) == (1, 2, 3)


def expecting() -> Message:
    """Make a request whose client waits before it sends the body."""
    head = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\nExpect: 100-continue\r\n\r\n"
    return request(0, method="PUT").replace(payload=head + bytes(100_000), head=len(head))


def test_a_body_waits_for_100_and_does_not_wait_for_ever():
    asked = expecting()
    for answering in (True, False):
        with target() as server:
            if not answering:
                server.expected = lambda _line: None  # type: ignore[method-assign]
            counts = replay([asked], server.port)
            assert server.arrivals[0].payload == asked.payload
        assert counts["delivered"] == 1


def test_a_final_answer_instead_of_100_ends_the_request():
    asked = expecting()

    def refuse(line: Line) -> None:
        line.send(b"HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n")
        line.reader.read(1)

    told = Told()
    with target() as server:
        server.expected = refuse  # type: ignore[method-assign]
        counts = replay([asked, request(1, sport=asked.sport)], server.port, told)
        assert [head.split(b" ")[0] for _line, head in server.begun] == [b"PUT", b"GET"]
    assert counts["delivered"] == 2
    assert [status for _id, status, _size in told.answers] == [417, 200]
    assert counts["connections"] == 2, "a connection on which a body is due is of no more use"


@given(st.lists(st.integers(1, 400_000), min_size=1, max_size=4), st.integers(16, 20))
@settings(max_examples=15)
def test_large_requests_come_whole_through_a_small_ring(sizes: list[int], capacity_bits: int):
    messages = []
    for number, size in enumerate(sizes):
        head = b"POST /%d HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (number, size)
        asked = request(number, method="POST", target=f"/{number}")
        messages.append(asked.replace(payload=head + b"%d" % number * size, head=len(head)))
    ring = Ring.create(1 << capacity_bits)

    def produce() -> None:
        producer = Producer(ring)
        for message in messages:
            for record in records_of(message, part_bytes_of(ring)):
                producer.put(KIND_MESSAGE, record)
        producer.close()

    writer = Thread(target=produce)
    with target() as server:
        run = Run(ring, server.port, authority=None)
        writer.start()
        try:
            run.until(lambda: run.consumer.closed and run.engine.quiet and run.cursor == run.consumer.head)
        finally:
            run.consumer.release(run.consumer.head)
            writer.join(10)
            run.engine.close()
    assert sorted(each.payload for each in server.arrivals) == sorted(each.payload for each in messages)


def test_what_was_not_captured_whole_is_not_sent():
    with target() as server:
        counts = replay([request(0).replace(complete=False, missing=5), request(1)], server.port)
        assert [each.target for each in server.arrivals] == [b"/"]
    assert (counts["failed_incomplete"], counts["undelivered"], counts["delivered"]) == (1, 1, 1)


def test_copies_are_sent_on_connections_of_their_own():
    with target() as server:
        told = Told()
        counts = replay(talk(2, 5), server.port, told, multiply=3, copy_header="X-Copy", copy_parameter="n")
    assert counts["delivered"] == 10
    assert server.accepted == 6
    for arrivals in server.by_connection():
        assert len(arrivals) == 5
        copies = {tuple(each.values(b"x-copy")) for each in arrivals}
        assert len(copies) == 1
        number = copies.pop()
        assert all((b"?n=%b" % number[0] in each.target) if number else (b"?" not in each.target) for each in arrivals)
    assert len(told.answers) == 10


def test_copies_that_fail_are_counted_beside_the_outcome():
    with target(lambda line, asked: (faults.closing if asked.values(b"x-copy") else usual)(line, asked)) as server:
        counts = replay(talk(2, 2, method="POST"), server.port, multiply=2, copy_header="X-Copy")
    assert (counts["delivered"], counts["copies_failed"]) == (4, 4)


@pytest.mark.parametrize("pace", [{"rate": 200.0}, {"speed": 10.0}], ids=["rate", "speed"])
def test_requests_are_sent_in_the_order_of_their_times_and_not_before(pace: dict[str, float]):
    """40 requests, 5 ms apart: at ten times the speed also where every second one is late in the recording."""
    messages = [request(n, target=f"/{n}", first_ns=10**18 + n * 50_000_000) for n in range(40)]
    swapped = messages[1::2] + messages[::2] if "speed" in pace else messages
    told = Told()
    with target() as server:
        replay(swapped, server.port, told, pace=Pace.create(**pace), pooled=True, connections=1)
    assert [each.target for each in server.arrivals][3:] == [b"/%d" % n for n in range(40)][3:]
    assert len(told.lateness) == 40
    assert min(told.lateness) >= 0
    begun = server.arrivals[3].at_s
    assert server.arrivals[-1].at_s - begun > 36 * 0.005 * 0.8


def test_cookies_of_the_target_take_the_place_of_captured_ones():
    def log_in(line: Line, asked: Arrival) -> bool:
        line.send(b"HTTP/1.1 200 OK\r\nSet-Cookie: sid=mine; Path=/\r\nContent-Length: 0\r\n\r\n")
        return True

    asked = [
        request(n, sport=40_000).replace(payload=b"GET / HTTP/1.1\r\nCookie: a=b; sid=captured\r\n\r\n", head=45)
        for n in range(3)
    ]
    for wanted, expected in ((True, b"a=b; sid=mine"), (False, b"a=b; sid=captured")):
        with target(log_in) as server:
            replay(asked, server.port, target_cookies=wanted)
        assert [each.values(b"cookie")[0] for each in server.arrivals] == [b"a=b; sid=captured", expected, expected]


def test_redirects_to_the_same_target_are_followed_where_that_is_wanted():
    def turn(line: Line, asked: Arrival) -> bool:
        if asked.target == b"/there":
            return usual(line, asked)
        place = b"/there" if asked.target == b"/here" else b"http://elsewhere.example/"
        line.send(b"HTTP/1.1 302 Found\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % place)
        return True

    messages = [request(1, target="/here", method="POST"), request(2, target="/away")]
    for most, statuses in ((0, [302, 302]), (3, [200, 302])):
        told = Told()
        with target(turn) as server:
            counts = replay(messages, server.port, told, redirects=most)
        assert counts["delivered"] == 2
        assert [status for _id, status, _size in sorted(told.answers)] == statuses
        assert (b"GET", b"/there") in [(each.method, each.target) for each in server.arrivals] or not most


def test_a_loop_of_redirects_has_an_end():
    def loop(line: Line, _asked: Arrival) -> bool:
        line.send(b"HTTP/1.1 307 Again\r\nLocation: /\r\nContent-Length: 0\r\n\r\n")
        return True

    told = Told()
    with target(loop) as server:
        replay([request(1)], server.port, told, redirects=4)
    assert (len(server.arrivals), [status for _id, status, _size in told.answers]) == (5, [307])


def writer() -> AnswerWriter:
    """Make what would take answers."""
    return AnswerWriter(Producer(Ring.create(1 << 16)), Counters(worker_counters(1)))


def test_answers_are_kept_as_they_came():
    with target(faults.with_interims) as server:
        run = Run(ring_of([request(7)]), server.port, writer=writer())
        run.finish()
        port = server.port
    [(number, status, sent_ns, ended_ns, src, sport, dst, dport, payload, head, complete)] = run.engine.answers
    assert (number, status, complete) == (7, 200, True)
    assert payload == b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    assert head == len(payload) - 2
    assert (src, sport, dst) == (b"\x7f\0\0\1", port, b"\x7f\0\0\1")
    assert 0 < dport != port
    assert 1_600_000_000 * 10**9 < sent_ns < ended_ns
    assert run.engine.waiting_bytes == len(payload)


def test_of_a_long_answer_the_rest_is_missing():
    def long(line: Line, _asked: Arrival) -> bool:
        line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + bytes(1_000_000))
        return True

    with target(long) as server:
        run = Run(ring_of([request(7)]), server.port, writer=writer(), max_answer=5000)
        run.finish()
    [(*_fields, payload, head, complete)] = run.engine.answers
    assert (len(payload), head, complete) == (5000, 44, False)


def test_failures_are_answers_too():
    with target(faults.closing) as server:
        run = Run(ring_of([request(7, method="POST")]), server.port, writer=writer())
        run.finish()
    [(number, status, *_rest, payload, _head, complete)] = run.engine.answers
    assert (number, status, payload, complete) == (7, 0, b"", False)


@pytest.mark.parametrize("how", MODES)
@pytest.mark.parametrize("pace", [{}, {"rate": 5.0}, {"speed": 0.1}], ids=str)
def test_what_waits_for_its_time_is_given_up_when_the_run_ends(how: dict[str, bool], pace: dict[str, float]):
    """What is under way is answered, what comes later is given up too; what has no time is sent as ever."""
    messages = [request(n, sport=40_000 + n % 3, first_ns=10**18 + n * 10**8) for n in range(60)]
    with target() as server:
        run = Run(ring_of(messages), server.port, pace=Pace.create(**pace), **how)
        run.until(lambda: bool(server.arrivals))
        run.engine.stop()
        counts = run.finish()
    sent = len(server.arrivals)
    assert counts["delivered"] == sent
    assert (sent == 60) == (not pace)
    assert counts.get("failed_left", 0) == counts.get("undelivered", 0) == 60 - sent


def test_no_more_is_taken_than_the_queue_holds():
    messages = [request(n, b"x" * 10_000, sport=40_000 + n) for n in range(200)]
    with target(faults.silent) as server:
        run = Run(ring_of(messages), server.port, queue_bytes=100_000, connections=2, timeout_s=60.0)
        try:
            for _each in range(20):
                run.step()
            assert 100_000 <= run.engine.queued_bytes < 120_000
            assert not run.engine.hungry
            run.engine.leave()
            counts = run.engine.take_counts()
            assert counts["failed_left"] == counts["undelivered"] <= 2
        finally:
            run.engine.close()
        assert server.open_now <= 2
