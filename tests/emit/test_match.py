"""Expressions applied to messages: against the obvious evaluator, and what traffic can make of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assemble.message import Message
from capture.ring import Consumer
from emit.lines import LineWriter
from emit.match import Matcher
from emit.sieve import Sieve
from emit.verdicts import Verdicts
from emit.where import parse
from tests.emit.builders import as_line, read_lines, replayed, request, response, ring_of
from tests.emit.filters import Tree, exchanged, trees, wanted, write


def passed(where: str, made: list[Message], capacity: int = 1 << 20) -> list[dict[str, object]]:
    """Return the lines of what an output with that filter writes."""
    consumer = Consumer(ring_of(made, capacity))
    sieve = Sieve(consumer, Matcher(parse(where)), Verdicts.create())
    lines = LineWriter(consumer, 1 << 20, sieve)
    assert lines.fill(0, consumer.head, 1 << 30, True) == consumer.head
    found = read_lines(bytes(lines.view()))
    assert len(found) + sieve.take_outcomes()[0] == len(made)
    return found


def holds(where: str, *made: Message) -> list[bool]:
    """Judge messages that have different ids or kinds."""
    found = passed(where, list(made))
    return [as_line(message) in found for message in made]


@given(trees, st.lists(exchanged(), max_size=12))
def test_verdicts_are_those_of_the_obvious_evaluator(tree: Tree, made: list[Message]):
    """A filter that is wrong in a corner mirrors what should stay, or loses what should not."""
    verdicts = wanted(tree, made)
    assert passed(write(tree), made) == [as_line(m) for m, verdict in zip(made, verdicts, strict=True) if verdict]


def test_a_body_is_what_was_on_the_wire():
    """Chunked stays chunked, binary stays binary: nothing is decoded behind anybody's back."""
    chunked = request(1, b"2\r\nyx\r\n2\r\ncd\r\n0\r\n\r\n")
    binary = request(2, bytes(range(256)))
    assert holds(r"body ~ 'yxcd'", chunked, binary) == [False, False]
    assert holds(r"body ~ 'yx\r\n2\r\ncd'", chunked, binary) == [True, False]
    assert holds(r"body ~ '\x00\x01' and body ~ '\xfe\xff$'", chunked, binary) == [False, True]


def test_plain_text_is_found_anywhere_and_a_pattern_in_the_beginning_only():
    """The limit is what docs/filters.md says, so that no body holds the worker up."""
    far = request(1, b"a" * 100_000 + b"needle")
    assert holds("body ~ 'needle'", far) == [True]
    assert holds("body ~ 'need[l]e'", far) == [False]
    assert holds("body !~ 'need[l]e'", far) == [True]
    assert holds("body ~ '^a' and not body ~ '^needle'", far) == [True]


@pytest.mark.parametrize("payload", [b"", b"\n", b"GET", b"GET / HTTP/1.1\r\nHost", b"\r\n\r\n\r\n", b"\xff" * 40])
def test_a_message_that_ends_anywhere_is_judged_within_its_bytes(payload: bytes):
    """Incomplete messages are messages too, and their lengths may say more than there is."""
    cut = request(1).replace(payload=payload, complete=False)
    for head in (0, 1, len(payload), len(payload) + 100):
        where = "host or header('x') or cookie('x') or param('x') or query or body or path"
        assert len(passed(f"({where}) and kind or kind", [cut.replace(head=head)])) == 1


def test_ten_thousand_header_lines_are_read_once_per_comparison():
    """Heads of a megabyte are allowed, and the last line counts."""
    head = b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 10_000 + b"Last: 1\r\n\r\n"
    assert holds("header('last') == '1'", request(1).replace(payload=head, head=len(head))) == [True]


def test_what_a_message_does_not_have_makes_each_comparison_false():
    """Also !=, !~ and <: who wants what has no such thing writes not."""
    asked = request(1)
    for comparison in ("status != 1", "status < 999", "status", "query != 'x'", "header('x') !~ 'y'"):
        assert holds(f"kind == 'request' and {comparison}", asked) == [False]
        assert holds(f"kind == 'request' and not {comparison}", asked) == [True]


def test_a_response_is_judged_by_its_request_unless_status_or_kind_are_named():
    """One rule decides what an expression is about."""
    asked, answer = request(1, target="/api/x"), response(1, status=503)
    for where in ("path ~ '^/api'", "src == '10.0.0.1'", "dport == 8080", "header('Host') == 'shop'"):
        assert holds(where, asked, answer) == [True, True]
    assert holds("path ~ '^/api' and status >= 500", asked, answer) == [False, True]
    assert holds("kind == 'response' and src == '10.0.0.1'", asked, answer) == [False, False]
    assert holds("header('Server') == 'shop'", asked, answer) == [False, False]
    assert holds("kind == 'response' and header('Server') == 'shop'", asked, answer) == [False, True]


def test_an_answer_replayed_is_judged_like_a_response():
    """Whoever wants an exchange wants what a replay of it gave; whoever wants failures, those of the target too."""
    asked, answer = request(1, target="/api/x"), replayed(1, status=503)
    assert holds("path ~ '^/api'", asked, answer) == [True, True]
    assert holds("path ~ '^/other'", asked, answer) == [False, False]
    assert holds("path ~ '^/api' and status >= 500", asked, answer) == [False, True]
    assert holds("kind == 'replayed' and header('Server')", asked, response(1), answer) == [False, False, True]
    assert holds("kind == 'replayed' and not status", asked, answer, replayed(1, status=0)) == [False, False, True]
    assert holds("kind in ['request', 'response']", asked, response(1), answer) == [True, True, False]


def test_a_response_whose_request_was_not_seen_has_nothing_of_it():
    """It is as if every comparison about the request were false."""
    answer = response(1, status=503)
    assert holds("path ~ '^/api'", answer) == [False]
    assert holds("not path ~ '^/api'", answer) == [True]
    assert holds("status >= 500 and not path ~ '^/health'", answer) == [True]
    assert holds("status >= 500 and path !~ '^/health'", answer) == [False]


@pytest.mark.parametrize(
    ("where", "verdict"),
    [
        ("src == '10.0.0.1'", True), ("src != '10.0.0.1'", False), ("src != '10.0.0.2'", True), ("src", True),
        ("src in '10.0.0.0/30'", True), ("src in '10.0.0.2/31'", False), ("src in '10.0.0.0/31'", True),
        ("src in ['::/0', '11.0.0.0/8']", False), ("dst in '192.0.0.0/9'", False),
        ("dst in '192.168.255.0/29'", True),
        ("dport == 8080", True), ("dport != 8080", False), ("dport < 8080", False), ("dport <= 8080", True),
        ("dport > 8079", True), ("dport >= 8081", False), ("dport in [80, 8080]", True), ("sport in [80]", False),
        ("host == 'SHOP'", True), ("host ~ '^SH'", True), ("method == 'get'", False),
        ("header('hOST') == 'shop'", True),
    ],
)  # fmt: skip
def test_addresses_numbers_and_case_are_compared_as_documented(where: str, verdict: bool):
    """Each operator at its edge."""
    assert holds(where, request(1)) == [verdict]
