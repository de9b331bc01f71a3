"""The table of first bytes: no entry can match what an HTTP/1.x start line begins with, whatever follows."""

import pytest

from assemble.patterns import PATTERNS, Pattern
from assemble.tally import ASSEMBLE_COUNTERS

TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
TEXT = frozenset([9, *range(32, 127), *range(128, 256)])  # behind the method, or in a reason


def places(pattern: Pattern) -> list[frozenset[int]]:
    """Give the bytes allowed at each place of a head, read by other means than the module's own."""
    out: list[frozenset[int]] = []
    quoted = False
    for part in pattern.head.split("'"):
        if quoted:
            out += [frozenset([byte]) for byte in part.encode()]
        for item in () if quoted else part.split():
            sides = [(choice + "-" + choice).split("-")[:2] for choice in item.replace("..", "00-ff").split("|")]
            out.append(frozenset(byte for low, high in sides for byte in range(int(low, 16), int(high, 16) + 1)))
        quoted = not quoted
    return out


def may_begin_a_request(heads: list[frozenset[int]]) -> bool:
    """Tell whether some bytes of a head are the first of a method, a space and a target."""
    in_method, behind = True, False
    for number, allowed in enumerate(heads):
        behind = (behind and bool(allowed & TEXT)) or (in_method and number > 0 and 32 in allowed)
        in_method = in_method and bool(allowed & TOKEN)
    return in_method or behind


def may_begin_a_response(heads: list[frozenset[int]]) -> bool:
    """Tell whether some bytes of a head are the first of a status line."""
    return all(byte in allowed for byte, allowed in zip(b"HTTP/1.", heads, strict=False))


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda p: f"{p.name}: {p.head}")
def test_no_pattern_matches_what_a_start_line_begins_with(pattern):
    """Lines are told from HTTP at their end; all else must be told by the bytes of the pattern themselves."""
    heads = places(pattern)
    assert pattern.rest or not (may_begin_a_request(heads) or may_begin_a_response(heads))


def test_the_check_of_the_table_sees_what_it_should():
    """A check that passes everything would show nothing."""
    for head, may in [("'GET /'", True), ("'A' 20 01", False), ("'A' 20 80", True), ("20 41", False), ("'A' ..", True)]:
        assert may_begin_a_request(places(Pattern("x", 0, head))) == may, head
    assert may_begin_a_response(places(Pattern("x", 0, "40-50 'TTP/1.'")))


def test_every_name_is_a_counter():
    """A name without a row in the ledger would be an index into something else."""
    assert {f"skipped_{pattern.name}" for pattern in PATTERNS} <= set(ASSEMBLE_COUNTERS)
