"""The end of a recording that is appended to: mended, and never more than that."""

import os
import unittest.mock
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emit.blocks import FILE_HEADER, file_header, seal
from emit.tail import LOOKED_AT, Tail, last_before

KEY = b"8 bytes."
BLOCK = seal(b"a body", (1, 1, 0, 0), "none", KEY)
WHOLE = file_header(KEY) + BLOCK * 3


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    """An empty file."""
    made = os.open(tmp_path / "r", os.O_RDWR | os.O_APPEND | os.O_CREAT)
    yield made
    os.close(made)


def content(fd: int) -> bytes:
    """Read a file."""
    return os.pread(fd, 1 << 22, 0)


def test_an_empty_file_is_begun_once(fd: int):
    """A second writer finds the key of the first."""
    first, second = Tail(fd), Tail(fd)
    assert first.mend() == second.mend() == first.mend() == 0
    assert content(fd) == file_header(first.key)
    assert first.key == second.key != b""


@pytest.mark.parametrize("cut", range(len(WHOLE)))
def test_what_is_whole_stays_and_what_is_not_goes(fd: int, cut: int):
    """At any byte: the file ends with a block, and can be appended to."""
    os.write(fd, WHOLE[:cut])
    tail = Tail(fd)
    blocks, rest = divmod(max(cut - FILE_HEADER.size, 0), len(BLOCK))
    if cut < FILE_HEADER.size:
        assert tail.mend() == cut
        assert content(fd) == file_header(tail.key)
        return
    assert tail.mend() == rest
    assert content(fd) == WHOLE[: FILE_HEADER.size + blocks * len(BLOCK)]
    assert tail.end == len(content(fd))
    assert tail.key == KEY


def test_damage_before_whole_blocks_is_left(fd: int):
    """They would be lost with it."""
    damaged = WHOLE[:40] + b"?" + WHOLE[41:]
    os.write(fd, damaged + b"rest")
    assert Tail(fd).mend() == 4
    assert content(fd) == damaged


@pytest.mark.parametrize("bad", [1, 2, 3])
def test_bodies_that_never_reached_the_disk_are_broken(fd: int, bad: int):
    """After a loss of power a file may have its length, and zeros."""
    good = FILE_HEADER.size + (3 - bad) * len(BLOCK)
    os.write(fd, WHOLE[:good] + (BLOCK[:-1] + b"\0") * bad)
    assert Tail(fd).mend() == bad * len(BLOCK)
    assert content(fd) == WHOLE[:good]


def test_only_the_end_is_verified(fd: int):
    """A recording of many gigabytes must not be read again to be appended to; what is damaged long since stays."""
    data = file_header(KEY) + (BLOCK[:-1] + b"\0") * 5 + BLOCK * LOOKED_AT
    os.write(fd, data)
    assert Tail(fd).mend() == 0
    assert content(fd) == data


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"GET / HTTP/1.1\r\n", "not a recording"),
        (bytes(100), "not a recording"),
        (b"\x89RTREC\r\n\x02", "not a recording"),
        (WHOLE[:30].replace(b"RTREC\r\n", b"RTREC\n\n"), "not a recording"),
    ],
)
def test_what_is_no_recording_is_not_touched(fd: int, data: bytes, why: str):
    """A wrong path must not cost a file."""
    os.write(fd, data)
    with pytest.raises(OSError, match=why):
        Tail(fd).mend()
    assert content(fd) == data


def test_what_others_append_is_followed(fd: int):
    """Several workers share a file; one that is killed leaves a piece, which the next cuts off."""
    tail = Tail(fd)
    tail.mend()
    block = seal(b"of another", (1, 1, 0, 0), "none", tail.key)
    os.write(fd, block + block[:-5])
    assert tail.mend() == len(block) - 5
    assert tail.end == FILE_HEADER.size + len(block)


def test_a_file_that_was_emptied_is_begun_again(fd: int):
    """Somebody truncated it: what is appended must be readable all the same."""
    tail = Tail(fd)
    tail.mend()
    os.ftruncate(fd, 0)
    tail.mend()
    assert content(fd) == file_header(tail.key)


def test_recordings_joined_by_cat_are_appended_to_with_the_last_key(fd: int):
    """Blocks of another key would not be found."""
    os.write(fd, WHOLE + file_header(b"another.") + seal(b"b", (1, 1, 0, 0), "none", b"another."))
    tail = Tail(fd)
    assert tail.mend() == 0
    assert tail.key == b"another."


@given(
    data=st.text("ab", max_size=40).map(str.encode),
    end=st.integers(0, 45),
    needle=st.sampled_from([b"a", b"ab", b"bab"]),
)
def test_the_last_occurrence_is_found_step_by_step(file: int, data: bytes, end: int, needle: bytes):
    """As if the file were in memory."""
    os.ftruncate(file, 0)
    os.pwrite(file, data, 0)
    with unittest.mock.patch("emit.tail.STEP_BYTES", 5):
        assert last_before(file, needle, min(end, len(data))) == data[:end].rfind(needle)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """An open file."""
    fd = os.open(tmp_path_factory.mktemp("t") / "f", os.O_RDWR | os.O_CREAT)
    yield fd
    os.close(fd)
