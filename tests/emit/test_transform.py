"""What a step is if it does not say otherwise."""

from tests.emit.builders import request
from tests.emit.steps import Suffix


def test_a_step_that_only_applies_needs_nothing_else():
    """Most steps hold nothing, wait for nothing, and have nothing to start: they write one method."""
    step = Suffix(b"!").make()
    assert step.apply(request(1), 0.0) == [request(1, b"!")]
    step.start(0.0)
    assert (step.collect(0.0), step.held, step.span, step.failure) == ((), 0, 0, None)
    assert (step.descriptors(), step.deadline(), step.take_counts()) == ({}, None, {})
    step.finish()
    step.close()
