"""To which messages a rule applies: the same as the sieve of an output says."""

from hypothesis import given
from hypothesis import strategies as st

from capture.ring import Consumer, Ring
from emit.judge import Judge
from emit.match import Matcher
from emit.sieve import Sieve
from emit.verdicts import Verdicts
from emit.where import parse
from emit.whole import MessageReader
from tests.emit.builders import fill, request, response

WHERES = [
    "path == '/1'", "status == 404", "path == '/1' and status == 404", "kind == 'response'", "size > 60",
    "method == 'GET' or status < 300", "body ~ 'x'", "not (host == 'shop' and path ~ '^/[02]')",
]  # fmt: skip


@given(
    st.sampled_from(WHERES),
    st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from([200, 404]), st.booleans(), st.binary(max_size=30)), max_size=12
    ),
)
def test_a_rule_applies_where_an_output_would_take_the_message(where: str, made: list[tuple[int, int, bool, bytes]]):
    """One language, one meaning; responses follow their requests, and stand alone if these were not seen."""
    messages = [
        request(number, body, f"/{number}") if asked else response(number, body, status)
        for number, status, asked, body in made
    ]
    ring = Ring.create(1 << 20)
    fill(ring, messages)
    consumer = Consumer(ring)
    reader = MessageReader(consumer, Sieve(consumer, Matcher(parse(where)), Verdicts.create()))
    wanted, cursor = [], 0
    while True:
        message, cursor = reader.next(cursor, consumer.head)
        if message is None:
            break
        wanted.append(message.payload)
    judge = Judge(Matcher(parse(where)), Verdicts.create())
    assert [each.payload for each in messages if judge.wants(each)] == wanted


def test_a_successor_knows_what_was_said_of_requests():
    """A reload between a request and its response changes nothing."""
    verdicts = Verdicts.create()
    assert Judge(Matcher(parse("path == '/1'")), verdicts).wants(request(5, target="/1"))
    later = Judge(Matcher(parse("path == '/1'")), verdicts)
    assert (later.wants(response(5)), later.wants(response(6))) == (True, False)
