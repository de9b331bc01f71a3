"""What a step is if it does not say otherwise."""

import pytest

from emit.transform import head_of
from tests.emit.builders import request
from tests.emit.steps import Suffix


def test_a_step_that_only_applies_needs_nothing_else():
    """Most steps hold nothing, wait for nothing, and have nothing to start: they write one method."""
    step = Suffix(b"!").make()
    assert step.apply(request(1), 0.0) == [request(1, b"!")]
    step.start(0.0)
    assert (step.collect(0.0), step.held, step.span, step.failure, step.unfinished) == ((), 0, 0, None, False)
    assert (step.descriptors(), step.deadline(), step.take_counts()) == ({}, None, {})
    assert step.tell(request(1))
    step.finish()
    step.close()


@pytest.mark.parametrize(
    ("payload", "head"),
    [
        (b"GET / HTTP/1.1\r\nA: b\r\n\r\nbody\r\n\r\n", 24),
        (b"GET / HTTP/1.1\nA: b\n\nbody", 21),
        (b"GET / HTTP/1.1\nA: b\r\n\nbody\n\r\n", 22),
        (b"GET / HTTP/1.1\r\n\r\n", 18),
        (b"GET / HTTP/1.1\r\nA: b\r\n", 22),
        (b"", 0),
    ],
)
def test_a_head_ends_with_the_first_empty_line(payload: bytes, head: int):
    """Whoever writes a message by hand may end lines with a line feed alone (RFC 9112 section 2.2)."""
    assert head_of(payload) == head
