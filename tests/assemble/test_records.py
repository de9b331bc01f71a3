"""The message record: the constants that other code leans on, and words for people."""

from assemble.records import PART_BYTES, REFUSALS
from assemble.tally import ASSEMBLE_COUNTERS


def test_a_part_can_be_encoded_alone():
    """See PART_BYTES: base64 works on three bytes at a time."""
    assert PART_BYTES % 3 == 0


def test_every_refusal_has_words():
    """`inspect --frame` says them; a counter's name alone explains nothing."""
    assert set(REFUSALS) == {name for name in ASSEMBLE_COUNTERS if name.startswith("refused_")}
