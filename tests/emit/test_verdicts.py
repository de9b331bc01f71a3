"""The memory of requests: bounded, exact, and not lost with the process that filled it."""

import multiprocessing
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capture.errors import MirrorError
from emit.verdicts import REMEMBERED, Verdicts


def again(verdicts: Verdicts) -> Verdicts:
    """Attach to the same memory, as a worker that is started later does."""
    return Verdicts(os.dup(verdicts.memory.fd))


def test_exactly_the_latest_requests_are_known():
    """The limit is stated, so it holds: not one fewer by bad luck with hashes, not one more."""
    verdicts = Verdicts.create()
    for number in range(REMEMBERED + 1000):
        verdicts.put(number * 0x9E3779B97F4A7C15 % 2**64, number)
    for number in range(REMEMBERED + 1000):
        found = verdicts.get(number * 0x9E3779B97F4A7C15 % 2**64)
        assert found == (None if number < 1000 else number)


@given(st.lists(st.tuples(st.sampled_from([0, 1, 2, 2**32, 2**33, 2**63, 2**64 - 1]), st.integers(0, 2**64 - 1))))
def test_what_was_put_last_is_what_is_got(puts: list[tuple[int, int]]):
    """Ids of other senders may be anything, and come again."""
    verdicts = Verdicts.create()
    for name, known in puts:
        verdicts.put(name, known)
    for each in (verdicts, again(verdicts)):
        assert {name: each.get(name) for name, _ in puts} == dict(puts)
        assert each.get(77) is None


def test_another_process_goes_on_with_what_is_known():
    """A worker that is killed takes nothing with it, also after the memory has been filled once."""
    verdicts = Verdicts.create()
    for number in range(REMEMBERED):
        verdicts.put(number, 1)
    child = multiprocessing.get_context("spawn").Process(target=_put, args=(verdicts,))
    child.start()
    child.join(30)
    assert child.exitcode == 0
    after = again(verdicts)
    assert [after.get(number) for number in (0, 9, 10, REMEMBERED - 1)] == [None, None, 1, 1]
    assert [after.get(REMEMBERED + number) for number in (0, 9, 10)] == [2, 2, None]


def _put(verdicts: Verdicts) -> None:
    for number in range(10):
        verdicts.put(REMEMBERED + number, 2)
    os._exit(0)


def test_a_descriptor_of_something_else_is_refused(tmp_path):
    """Reading beyond a file's end would be a crash."""
    path = tmp_path / "short"
    path.write_bytes(b"x")
    with pytest.raises(MirrorError):
        Verdicts(os.open(path, os.O_RDWR))
