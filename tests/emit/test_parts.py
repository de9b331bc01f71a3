"""Parts that become messages, and parts that do not."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from assemble.message import Message, read_message
from emit.parts import Parts
from tests.emit.builders import records_of, response


def joined(parts: Parts, records: list[bytes]) -> list[Message]:
    """Return what becomes whole."""
    found = [parts.add(record) for record in records]
    return [read_message(record) for record in found if record is not None]


@given(cuts=st.lists(st.integers(1, 4), min_size=1, max_size=6))
def test_messages_that_stop_short_cost_their_parts(cuts: list[int]):
    """The next one is not glued to them, and every part is counted once."""
    made = [response(at, bytes([at]) * 40) for at in range(len(cuts))]
    records = [records_of(message, 24)[:cut] for message, cut in zip(made, cuts, strict=True)]
    whole = [message for message, cut in zip(made, cuts, strict=True) if cut == len(records_of(message, 24))]
    parts = Parts(1000)
    assert joined(parts, list(itertools.chain(*records))) == whole
    parts.give_up()
    assert parts.refused == sum(cuts) - sum(len(records_of(message, 24)) for message in whole)


def test_parts_out_of_order_are_refused():
    """Nobody knows what is missing."""
    first, *_others, last = records_of(response(1, bytes(60)), 24)
    parts = Parts(1000)
    assert joined(parts, [first, last]) == []
    assert (parts.refused, "1 of 4 parts" in parts.why) == (2, True)


def test_messages_that_are_too_long_are_not_held():
    """All of their parts are refused."""
    records = records_of(response(1, bytes(60)), 24)
    parts = Parts(50)
    assert joined(parts, records) == []
    assert parts.refused == len(records)
    assert parts.body == b""
