"""Which messages are in a sample: statistics over many values, and that nothing but the value counts."""

import itertools
import math
import random
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assemble.message import Message
from capture.ring import Consumer
from emit.lines import LineWriter
from emit.sampler import Sampler
from emit.sampling import parse_by
from emit.sieve import Sieve
from emit.verdicts import Verdicts
from tests.emit.builders import read_lines, request, response, ring_of

BY = ("exchange", "flow", "client", "header('X-User')", "param('user')", "cookie('sid')")
SAME: Final = {
    "exchange": [1, 4, 5, 6, 8, 10],
    "flow": [0, 1, 3, 4, 5, 6, 7],
    "client": [1, 3, 5],
    "header('X-User')": [0, 7, 11],
    "param('user')": [0, 7, 11],
    "cookie('sid')": [0, 7, 11],
}
"""Of twelve visits, those that are in a sample of a half."""


def kept(made: Sequence[Message], percent: float, by: str, begin: float = 0) -> list[str]:
    """Return the ids and kinds of what is in the sample, in a worker of its own."""
    consumer = Consumer(ring_of(made, 16 << 20))
    sieve = Sieve(consumer, None, Verdicts.create(), Sampler(percent, parse_by(by), begin))
    lines = LineWriter(consumer, 1 << 20, sieve)
    assert lines.fill(0, consumer.head, 1 << 30, True) == consumer.head
    found = [f"{line['id']} {line['kind']}" for line in read_lines(bytes(lines.view()))]
    assert sieve.take_outcomes() == (0, len(made) - len(found), 0)
    return found


def visit(number: int, user: str | int | None, client: int = 0, body: bytes = b"") -> Message:
    """Make a request of a user, who is named in its target, a field and a cookie."""
    if user is None:
        made = request(number, body)
    else:
        made = request(number, body, f"/a?b=1&user={user}&c=2")
        fields = f"\r\nx-user: {user}\r\nCookie: a=b; sid={user}\r\n\r\n".encode()
        payload = made.payload.replace(b"\r\n\r\n", fields, 1)
        made = made.replace(payload=payload, head=len(payload) - len(body))
    return made.replace(src=IPv4Address("10.0.0.0") + client, sport=1024 + number % 60_000)


def answer(asked: Message, status: int = 200) -> Message:
    """Make the response to a request."""
    made = response(asked.id, status=status)
    return made.replace(src=asked.dst, sport=asked.dport, dst=asked.src, dport=asked.sport)


@pytest.mark.parametrize("by", BY)
@pytest.mark.parametrize("percent", [0.5, 10, 50, 99.5])
def test_a_sample_has_the_size_that_was_asked_for(by: str, percent: float):
    """Of ids, ends, addresses and names as they are in the world: numbered, and much like each other."""
    count = 20_000
    made = [visit(number, f"user-{number:05}", number) for number in range(count)]
    share = percent / 100
    expected, deviation = count * share, math.sqrt(count * share * (1 - share))
    assert abs(len(kept(made, percent, by)) - expected) < 5 * deviation


@pytest.mark.parametrize("by", BY)
def test_a_larger_sample_has_all_of_a_smaller_one(by: str):
    """Whoever goes from 1% to 5% keeps the users that are being watched."""
    made = [visit(number, number, number) for number in range(5000)]
    samples = [set(kept(made, percent, by)) for percent in (0.01, 1, 5, 33.3, 33.31, 90, 99.99)]
    assert all(small <= large for small, large in itertools.pairwise(samples))


@pytest.mark.parametrize("by", BY)
@pytest.mark.parametrize("parts", [(50, 50), (100 / 3, 100 / 3, 100 / 3), (0.1, 0.2, 29.7, 70), (0.01, 99.99)])
def test_samples_that_begin_where_others_end_share_all(by: str, parts: tuple[float, ...]):
    """Each message is at one output, whatever their sums are in binary."""
    made = [visit(number, number, number) for number in range(3000)]
    begins = [0.0, *itertools.accumulate(parts)][:-1]
    found = [kept(made, percent, by, begin) for percent, begin in zip(parts, begins, strict=True)]
    assert sorted(itertools.chain(*found)) == sorted(kept(made, 99.999_999_9, by))
    assert len(set(itertools.chain(*found))) == len(made)
    assert all(abs(len(each) / len(made) - percent / 100) < 0.06 for each, percent in zip(found, parts, strict=True))


def test_a_sample_at_the_very_end_is_one():
    """A beginning that is nearly everything is no error."""
    assert kept([request(number) for number in range(100)], 1e-12, "exchange", 99.999_999_999_99) == []


def test_percentages_are_told_apart_to_a_hundredth():
    """Of a million requests, 0.01% are a hundred."""
    made = [request(number) for number in range(80_000)]
    found = [len(kept(made, percent, "exchange")) for percent in (0.01, 0.02)]
    assert 1 <= found[0] < found[1] <= 40


@pytest.mark.parametrize("by", ["header('x-user')", "param('user')", "cookie('sid')", "client"])
def test_a_user_is_in_or_out_for_good(by: str):
    """On every connection, in every worker, and with every other field changed."""
    users = [f"u{number}" for number in range(300)]
    made = [visit(7 * number + turn, user, number) for number, user in enumerate(users) for turn in (0, 3)]
    random.Random(1).shuffle(made)
    halves = [each for part in (made[:300], made[300:]) for each in kept(part, 30, by)]
    assert sorted(halves) == sorted(kept(made, 30, by))
    numbers = {int(each.split()[0], 16) for each in halves}
    assert all((7 * number in numbers) == (7 * number + 3 in numbers) for number in range(300))
    assert 40 < len(numbers) / 2 < 140


def test_the_verdicts_are_the_same_on_every_machine():
    """A change of the hash would exchange everybody's users at an update."""
    made = [visit(number, f"user-{number}", number) for number in range(12)]
    found = {by: [int(each.split()[0], 16) for each in kept(made, 50, by)] for by in BY}
    assert found == SAME


@pytest.mark.parametrize("by", BY)
@given(data=st.data(), percent=st.sampled_from([10, 50, 90]), where_parts=st.booleans())
def test_responses_follow_their_requests(by: str, data: st.DataObject, percent: float, where_parts: bool):
    """Half an exchange is of no use; interim and late responses follow, too, and so do messages in parts."""
    users = data.draw(st.lists(st.sampled_from([None, "", "a", "b", "carol", "d" * 40]), min_size=1, max_size=12))
    made, waiting = [], []
    for number, user in enumerate(users):
        asked = visit(number, user, number % 3, bytes(100_000 if where_parts and number % 4 == 0 else 0))
        made.append(asked)
        waiting += [answer(asked, 100), answer(asked)]
        while waiting and data.draw(st.booleans()):
            made.append(waiting.pop(0))
    found = kept([*made, *waiting], percent, by)
    requests = [each.split()[0] for each in found if each.endswith("request")]
    responses = [each.split()[0] for each in found if each.endswith("response")]
    assert sorted(responses) == sorted(requests * 2)


@pytest.mark.parametrize("by", BY[:3])
def test_a_response_whose_request_was_not_seen_is_judged_as_that_would_have_been(by: str):
    """What it is chosen by is there on both."""
    asked = [visit(number, None, number) for number in range(2000)]
    requests = {each.split()[0] for each in kept(asked, 20, by)}
    assert {each.split()[0] for each in kept([answer(each) for each in asked], 20, by)} == requests


@pytest.mark.parametrize("by", BY[3:])
@pytest.mark.parametrize("user", [None, ""])
def test_who_has_no_value_is_chosen_by_connection(by: str, user: str | None):
    """Everybody who is not logged in would else be in, or out, all together; a response alone is one of them."""
    asked = [visit(number, user, number) for number in range(4000)]
    requests = kept(asked, 20, by)
    assert requests == kept(asked, 20, "flow")
    assert 650 < len(requests) < 950
    alone = kept([answer(each) for each in asked], 20, by)
    assert [each.split()[0] for each in alone] == [each.split()[0] for each in requests]


def test_a_response_that_has_the_field_is_not_chosen_by_it():
    """It is the request's field that counts."""
    asked = [visit(number, f"user-{number}") for number in range(200)]
    answers = [answer(each) for each in asked]
    answers = [each.replace(payload=each.payload.replace(b"Server:", b"X-User:"), head=each.head) for each in answers]
    found = kept([each for pair in zip(asked, answers, strict=True) for each in pair], 30, "header('x-user')")
    assert len(found) == 2 * len({each.split()[0] for each in found}) > 0


def test_both_directions_of_a_flow_and_both_families():
    """An end is an address and a port, whoever sends."""
    made = []
    for number in range(3000):
        one, other = IPv6Address(number), IPv6Address("2001:db8::") + number
        asked = request(number, src=one, dst=other)
        made += [asked, answer(asked)]
    for by in ("flow", "client"):
        found = kept(made, 40, by)
        assert len(found) == 2 * len({each.split()[0] for each in found})
        assert 2000 < len(found) < 2800
