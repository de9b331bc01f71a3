"""A fixed set of generated captures: exact messages, ids, pairs and times, whatever the network and the tap did.

`python -m generator MODE FIRST COUNT` in tests/ runs as many more as wanted; see generator/__main__.py.
"""

from dataclasses import replace
from typing import Final

import packets
import pytest
from engines import by_compiled
from generator.cases import make_case, smaller
from generator.seen import Seen
from generator.spoken import CLIENT
from generator.tap import Captured
from generator.truth import check_whole
from generator.wire import Passing

SEEDS: Final = {"whole": 120, "loss": 100, "late": 60, "wild": 40}
REFERENCE_SEEDS: Final = {"whole": 40, "loss": 40, "late": 20, "wild": 10}  # it takes four times as long
STEP: Final = 10


@pytest.mark.parametrize(("mode", "first"), [(m, s) for m, n in SEEDS.items() for s in range(0, n, STEP)])
def test_what_was_said_comes_out(mode: str, first: int) -> None:
    """The generator knows what was said and what was captured: nothing else may come out."""
    failed = {seed: found for seed in range(first, first + STEP) if (found := make_case(mode, seed).complaints())}
    assert not failed


@pytest.mark.parametrize(("mode", "first"), [(m, s) for m, n in REFERENCE_SEEDS.items() for s in range(0, n, STEP)])
def test_the_reference_gives_what_was_said(mode: str, first: int) -> None:
    """What is said to agree with the reference is right only if the reference is."""
    cases = [make_case(mode, seed) for seed in range(first, first + STEP)]
    failed = {case.seed: found for case in cases if (found := case.complaints("reference"))}
    assert not failed


@pytest.mark.parametrize("mode", SEEDS)
def test_a_seed_alone_makes_the_case(mode: str) -> None:
    """A failure that cannot be had again is worth nothing."""
    one, two = make_case(mode, 5), make_case(mode, 5)
    assert one.bytes_of() == two.bytes_of()
    assert make_case(mode, 6).bytes_of() != one.bytes_of()


def test_a_frame_that_is_missing_is_complained_of() -> None:
    """The check is no check if it does not see a lost segment."""
    case = make_case("whole", 3)
    lost = next(c.passing for c in case.frames if c.data)
    fewer = replace(case, frames=[c for c in case.frames if c.passing is not lost])
    got = by_compiled(fewer.bytes_of(), link=case.link)
    assert not check_whole(case.lines, case.frames, by_compiled(case.bytes_of(), link=case.link))
    assert check_whole(case.lines, case.frames, got)


def test_the_first_frame_that_carried_a_byte_is_known() -> None:
    """Times, ids and contents all hang on it."""
    first = Captured(0, Passing(CLIENT, 0, b"abc", packets.ACK, 0, 1), 1, b"abc")
    second = Captured(0, Passing(CLIENT, 1, b"XYZ", packets.ACK, 0, 2), 2, b"XYZ")
    seen = Seen(6, [first, second])
    assert seen.present(0, 6) == b"abcZ"
    assert seen.carriers(0, 4) == [first, second]
    assert seen.holes(0, 6) == [(4, 6)]


def test_a_smaller_case_still_fails() -> None:
    """What is left after dropping frames is what a person has to look at."""
    case = make_case("loss", 2)
    wanted = case.frames[len(case.frames) // 2]
    small = smaller(case, lambda c: wanted in c.frames)
    assert small.frames == [wanted]
