"""From the ring to requests: what is held there, what is counted, and in which order it comes out."""

from hypothesis import given
from hypothesis import strategies as st

from capture.ring import Consumer, Ring
from emit.match import Matcher
from emit.pace import Pace
from emit.records import HttpSpec
from emit.requests import Requests
from emit.sieve import Sieve
from emit.verdicts import Verdicts
from emit.where import parse
from tests.emit.builders import fill, request, response, ring_of
from tests.emit.replaying import Told


def taking(ring: Ring, where: str | None = None, told: Told | None = None, **options: object) -> Requests:
    """Make what takes requests out of a ring; nobody sends them."""
    consumer = Consumer(ring)
    sieve = None if where is None else Sieve(consumer, Matcher(parse(where)), Verdicts.create())
    return Requests(HttpSpec("h", 1, **options), consumer, sieve, told, None)  # type: ignore[arg-type]


def test_requests_are_held_and_responses_are_not():
    ring = ring_of([response(9), request(1), response(1), request(2)])
    told = Told()
    requests = taking(ring, told=told)
    head = Consumer(ring).head
    cursor = requests.take(0, head)
    assert cursor == head
    assert requests.take_counts() == {"responses": 2}
    assert requests.take_counts() == {}
    assert (requests.queued, requests.queued_bytes) == (2, len(request(1).payload) + len(request(2).payload))
    assert 0 < requests.safe(cursor) < cursor, "the ring is needed from the first request on"
    assert told.sent_ == [(1, b"GET", b"/"), (2, b"GET", b"/")]
    assert told.originals == [(9, 200), (1, 200)]
    requests.let_go(cursor)
    assert requests.safe(cursor) == cursor


def test_interim_responses_are_not_what_an_answer_is_compared_with():
    told = Told()
    ring = ring_of([request(1), response(1, status=100), response(1)])
    taking(ring, told=told).take(0, Consumer(ring).head)
    assert told.originals == [(1, 200)]


@given(st.lists(st.integers(1, 300), min_size=1, max_size=30), st.integers(1, 2000))
def test_the_queue_is_bounded_in_bytes(sizes: list[int], most: int):
    messages = [request(number, b"x" * size) for number, size in enumerate(sizes)]
    ring = ring_of(messages)
    requests = taking(ring, queue_bytes=most)
    cursor = requests.take(0, Consumer(ring).head)
    largest = max(len(each.payload) for each in messages)
    assert requests.queued_bytes < most + largest
    assert requests.hungry == (requests.queued_bytes < most)
    if requests.hungry:
        assert cursor == Consumer(ring).head
    else:
        assert requests.take(cursor, Consumer(ring).head) == cursor


def test_requests_far_ahead_of_their_time_stay_in_the_ring():
    """A schedule of hours does not become memory."""
    messages = [request(n, first_ns=10**18 + n * 10**9) for n in range(100)]
    ring = ring_of(messages)
    requests = taking(ring, pace=Pace.create(speed=1.0))
    requests.take(0, Consumer(ring).head)
    assert 2 <= requests.queued <= 3
    assert not requests.hungry


def test_what_is_not_wanted_is_passed_over_with_its_response():
    wanted, other = request(1, method="GET"), request(2, method="POST")
    ring = ring_of([wanted, other, response(1), response(2)])
    requests = taking(ring, "method == 'GET'")
    requests.take(0, Consumer(ring).head)
    assert requests.queued == 1
    assert requests.take_counts() == {"responses": 1}


def test_parts_without_a_beginning_are_counted_once():
    ring = Ring.create(1 << 17)
    fill(ring, [request(1, b"x" * 60_000, method="POST")])
    consumer = Consumer(ring)
    first = consumer.read(0)
    assert first is not None
    requests = taking(ring)
    requests.take(first[2], consumer.head)
    assert requests.take_counts() == {"strays": 1}
    assert requests.queued == 0


def test_a_request_under_way_is_forgotten_when_it_is_abandoned():
    ring = Ring.create(1 << 17)
    fill(ring, [request(1, b"x" * 60_000, method="POST"), request(2)])
    consumer = Consumer(ring)
    first = consumer.read(0)
    assert first is not None
    requests = taking(ring)
    cursor = requests.take(0, first[2])
    assert requests.safe(cursor) == cursor or requests.safe(cursor) == 0
    requests.abandon_part()
    assert requests.safe(cursor) == cursor
    requests.take(cursor, consumer.head)
    assert requests.take_counts() == {"strays": 1}
    assert requests.queued == 1
