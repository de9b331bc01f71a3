"""The account that every output keeps, and the policy "drop"."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capture.counters import Counters
from capture.records import KIND_MESSAGE
from capture.ring import Consumer, Producer, Ring
from emit.null import NullOutput
from emit.output import Output, Tally
from emit.records import OUTCOMES, OutputSpec, worker_counters
from tests.emit.builders import records_of, request, response, ring_of

outcomes = st.lists(st.tuples(st.sampled_from(OUTCOMES), st.integers(0, 9)))


@given(outcomes, st.lists(st.integers(0, 12), max_size=20), st.data())
def test_every_message_is_booked_once_whoever_comes_first(
    known: list[tuple[str, int]], released: list[int], data: st.DataObject
):
    """Outcomes may be known before the ring is released, or after: the sums close in the end."""
    tally = Tally()
    booked = dict.fromkeys([*OUTCOMES, "added"], 0)
    total = sum(count for _name, count in known)
    steps = [("known", each) for each in known] + [("release", count) for count in released]
    left = total
    for what, step in data.draw(st.permutations(steps)):
        if what == "known":
            setattr(tally, step[0], getattr(tally, step[0]) + step[1])
            continue
        count = min(step, left)
        left -= count
        for name, amount in tally.book(count).items():
            booked[name] += amount
    for name, amount in tally.book(left).items():
        booked[name] += amount
    assert booked == {name: sum(c for n, c in known if n == name) for name in booked}
    assert tally == Tally()


@given(outcomes, st.integers(0, 30), st.data())
def test_added_messages_are_booked_with_their_outcomes(known: list[tuple[str, int]], added: int, data: st.DataObject):
    """At any time what is booked is what was released and added; and in the end it is all."""
    tally = Tally()
    total = sum(count for _name, count in known)
    added = min(added, total)
    released = booked = booked_added = 0
    steps = [*known, *[("released", 1)] * (total - added), ("added", added)]
    for name, amount in data.draw(st.permutations(steps)):
        released += amount if name == "released" else 0
        if name != "released":
            tally.know(name, amount)
        counted = tally.book(amount if name == "released" else 0)
        booked_added += counted.pop("added")
        booked += sum(counted.values())
        assert booked == released + booked_added - tally.owed
    assert (booked, booked_added, tally) == (total, added, Tally())


class Slow(Output):
    """Takes as many records as it is told to."""

    allowed = 0

    @property
    def safe(self) -> int:
        return self.cursor

    def take(self, head: int) -> None:
        while self.allowed and self.cursor < head and (record := self.consumer.read(self.cursor)) is not None:
            self.cursor = record[2]
            self.allowed -= 1
            self.tally.delivered += 1


def slow(policy: str, capacity: int = 65536) -> tuple[Slow, Producer]:
    """Make an output that takes nothing for now."""
    ring = Ring.create(capacity)
    spec = OutputSpec("null", 0, policy=policy)  # type: ignore[arg-type]
    return Slow(spec, Consumer(ring), Counters(worker_counters(1))), Producer(ring)


def test_an_output_that_blocks_drops_nothing():
    """The ring fills, and whoever fills it decides."""
    output, producer = slow("block")
    for number in range(100):
        producer.try_put(KIND_MESSAGE, records_of(request(number))[0])
    output.pump(producer.position, 0.0)
    assert (output.cursor, output.tally.dropped) == (0, 0)


def test_an_output_that_drops_is_never_more_than_half_a_ring_behind():
    """One slow output must not fill the ring for the others; what it misses is counted."""
    output, producer = slow("drop")
    written = 0
    while producer.position < output.capacity // 2:
        producer.try_put(KIND_MESSAGE, records_of(request(written))[0])
        written += 1
        output.pump(producer.position, 0.0)
        if producer.position <= output.capacity // 2:
            assert output.tally.dropped == 0
    assert output.tally.dropped > 0
    assert producer.position - output.cursor <= output.capacity // 2
    output.allowed = 1000
    output.pump(producer.position, 0.0)
    assert output.tally.dropped + output.tally.delivered == written


def test_dropping_never_splits_a_message():
    """Half a message is worse than none."""
    output, producer = slow("drop")
    for record in records_of(response(1, bytes(40_000)), 2400) + records_of(request(2)):
        assert producer.try_put(KIND_MESSAGE, record)
    output.pump(producer.position, 0.0)
    output.allowed = 1
    output.pump(producer.position, 0.0)
    assert (output.tally.dropped, output.tally.delivered) == (1, 1)


def test_an_output_that_has_failed_counts_all_that_still_comes():
    """The pipeline drains and the ledger closes, however much is lost."""
    output, producer = slow("block")
    for number in range(10):
        producer.try_put(KIND_MESSAGE, records_of(request(number))[0])
    output.allowed = 4
    output.pump(producer.position, 0.0)
    output.fail("the reason")
    output.fail("another")
    output.pump(producer.position, 0.0)
    assert (output.tally.delivered, output.tally.undelivered) == (4, 6)
    assert output.done(producer.position)
    assert output.failure == "the reason"


def limited(limit: float, over_limit: str, policy: str = "block") -> tuple[NullOutput, int]:
    """Make an output with a limit, over a ring with 100 exchanges."""
    made = [each for number in range(100) for each in (request(number), response(number))]
    ring = ring_of(made)
    spec = OutputSpec("null", 0, limit=limit, over_limit=over_limit, policy=policy)  # type: ignore[arg-type]
    consumer = Consumer(ring)
    return NullOutput(spec, consumer, Counters(worker_counters(1))), consumer.head


def test_what_is_over_a_limit_that_drops_is_counted():
    """Here and now, as the next second has traffic of its own."""
    output, head = limited(30, "drop")
    output.start(7.0)
    output.pump(head, 7.0)
    assert (output.tally.delivered, output.tally.limited, output.resumes_s) == (60, 140, None)
    assert output.done(head)


def test_what_is_over_a_limit_that_waits_is_taken_when_its_time_has_come():
    """Evenly, and not a message is lost; the worker is told when to come again."""
    output, head = limited(30, "wait")
    output.start(7.0)
    now_s, calls = 7.0, 0
    while not output.done(head):
        before = output.tally.delivered
        output.pump(head, now_s)
        assert output.tally.delivered > before, "it is not told to come too early"
        assert output.tally.delivered <= 2 * (3 + (now_s - 7.0) * 30 + 1)
        now_s, calls = output.resumes_s or now_s, calls + 1
        assert calls < 200
    assert (output.tally.delivered, output.tally.limited, output.resumes_s) == (200, 0, None)
    assert now_s - 7.0 == pytest.approx((100 - 3) / 30, rel=0.01)


def test_an_output_that_waits_and_drops_is_not_further_behind_than_any_other():
    """The limit holds it up, the policy says what becomes of the rest."""
    output, head = limited(10, "wait", "drop")
    output.capacity = head
    output.start(7.0)
    output.pump(head, 7.0)
    assert output.tally.dropped + output.tally.delivered > 80
    assert head - output.cursor <= head // 2


def test_what_a_failed_output_had_waiting_is_not_delivered():
    """Nothing is worth waiting for any more."""
    output, head = limited(10, "wait")
    output.start(7.0)
    output.pump(head, 7.0)
    assert output.resumes_s is not None
    output.fail("the reason")
    output.pump(head, 7.0)
    assert (output.tally.delivered, output.tally.undelivered, output.resumes_s) == (2, 198, None)
    assert output.done(head)
