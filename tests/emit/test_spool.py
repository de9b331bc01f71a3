"""Chunks on disk: in order, as they were, whatever a crash has left; and nobody else's."""

import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capture.errors import MirrorError
from emit.spool import SEGMENTS, Spool, SpoolSpec
from emit.window import Chunk
from emit.wire import chunk_name


def put(spool: Spool, *numbers: int, size: int = 300) -> None:
    """Append chunks by their numbers."""
    for number in numbers:
        frame = number.to_bytes(4, "big") * (size // 4)
        name = chunk_name(number.to_bytes(16, "big"))
        spool.put(Chunk(name, None, 0, number, 7, size=len(frame), kind=1, records=number), frame)


def rest(spool: Spool) -> list[int]:
    """Read what is there, and check it."""
    found = []
    while (chunk := spool.next()) is not None:
        number = chunk.messages
        assert chunk.name == chunk_name(number.to_bytes(16, "big"))
        assert spool.get(chunk) == chunk.frame == number.to_bytes(4, "big") * (chunk.size // 4)
        found.append(number)
    return found


def opened(path: Path, most_bytes: int = 1 << 20, **more: int | str) -> Spool:
    """Open a spool."""
    spool = Spool(SpoolSpec(str(path), most_bytes, **more))  # type: ignore[arg-type]
    spool.open()
    return spool


def test_what_is_left_is_there_in_the_next_run(tmp_path: Path):
    """In order, from the first that was not delivered on, through several files; for its owner's eyes."""
    spool = opened(tmp_path / "new" / "spool", SEGMENTS * 1000)
    put(spool, *range(20))
    assert len(spool.sizes) > 3
    for _ in range(7):
        chunk = spool.next()
        assert chunk is not None
    spool.release(chunk.end)
    files = list(spool.directory.iterdir())
    assert {stat.S_IMODE(each.stat().st_mode) for each in files} == {0o600}
    assert stat.S_IMODE(spool.directory.stat().st_mode) == 0o700
    spool.close()
    again = opened(tmp_path / "new" / "spool", SEGMENTS * 1000)
    assert rest(again) == list(range(7, 20))
    again.release(again.tail)
    assert again.empty
    assert again.used_bytes == 0
    put(again, 50)
    again.close()
    assert rest(opened(tmp_path / "new" / "spool")) == [50]


@settings(deadline=None)
@given(cut=st.integers(0, 400), damage=st.booleans())
def test_a_crash_in_mid_write_costs_what_was_being_written(
    tmp_path_factory: pytest.TempPathFactory, cut: int, damage: bool
):
    """Cut anywhere, or with other bytes in it: it is cut off, and written over."""
    path = tmp_path_factory.mktemp("spool")
    spool = opened(path)
    put(spool, 1, 2, 3)
    spool.close()
    file = spool.file(1)
    data = file.read_bytes()
    each = len(data) // 3
    if damage:
        at = min(2 * each + cut, len(data) - 1)
        file.write_bytes(data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :])
    else:
        file.write_bytes(data[: len(data) - max(min(cut, each), 1)])
    again = opened(path)
    assert rest(again) == [1, 2]
    put(again, 4)
    again.close()
    assert rest(opened(path)) == [1, 2, 4]


def test_damage_in_the_middle_costs_the_rest_of_its_file_and_is_counted(tmp_path: Path):
    """Where one ends that cannot be read nobody knows; other files are whole."""
    spool = opened(tmp_path, SEGMENTS * 1000)
    put(spool, *range(12))
    spool.close()
    data = bytearray(spool.file(2).read_bytes())
    data[60] ^= 1
    spool.file(2).write_bytes(data)
    again = opened(tmp_path, SEGMENTS * 1000)
    found = rest(again)
    assert found[0] == 0
    assert found[-1] == 11
    assert again.lost_bytes == len(data)


def test_it_has_one_owner(tmp_path: Path):
    """Two that append to one file, or send the same: refused in one line."""
    first = opened(tmp_path)
    with pytest.raises(MirrorError, match=r"spool .*worker-0: another output or pipeline uses it"):
        opened(tmp_path)
    with pytest.raises(MirrorError, match="another output or pipeline uses it"):
        Spool(first.spec).check()
    first.close()
    Spool(first.spec).check()
    opened(tmp_path)


def test_a_directory_that_cannot_be_is_said(tmp_path: Path):
    """In one line."""
    (tmp_path / "file").write_text("")
    with pytest.raises(MirrorError, match=r"spool .*: not a directory"):
        opened(tmp_path / "file")


def test_it_is_full_at_some_time(tmp_path: Path):
    """As many bytes as were allowed, and a chunk; there is room again when something is delivered."""
    spool = opened(tmp_path, 8000)
    number = 0
    while spool.room:
        put(spool, number := number + 1)
    assert 8000 <= spool.used_bytes < 8500
    for _ in range(4):
        chunk = spool.next()
        assert chunk is not None
        spool.release(chunk.end)
    assert spool.room


def test_what_a_worker_has_left_that_there_is_no_longer_is_sent_by_another(tmp_path: Path):
    """A run with fewer workers sends all that is there."""
    for worker in range(3):
        spool = opened(tmp_path, worker=f"worker-{worker}", number=worker, workers=3)
        put(spool, 10 * worker, 10 * worker + 1)
        spool.close()
    only = opened(tmp_path, worker="worker-0", number=0, workers=1)
    assert rest(only) == [0, 1, 10, 11, 20, 21]


def refusing(monkeypatch: pytest.MonkeyPatch, *names: str, room: int = 0, code: int = errno.ENOSPC) -> None:
    """Have calls of `os` take so many bytes, and then nothing."""
    left = [room]

    def limited(real: Any) -> Any:
        def call(fd: int, data: Any, *at: int) -> int:
            count: int = min(len(data), left[0])
            if not count:
                raise OSError(code, os.strerror(code))
            left[0] -= count
            return int(real(fd, data[:count], *at))

        return call

    for name in names:
        monkeypatch.setattr(os, name, limited(getattr(os, name)))


@pytest.mark.parametrize("room", [0, 1, 60, 200])
def test_what_a_full_disk_takes_of_a_chunk_is_cut_off(tmp_path: Path, room: int):
    """Wherever it ends; the next one is behind the last that is whole."""
    spool = opened(tmp_path)
    put(spool, 1, 2)
    size = spool.file(1).stat().st_size
    with pytest.MonkeyPatch.context() as patch:
        refusing(patch, "pwrite", room=room)
        with pytest.raises(OSError, match="No space left"):
            put(spool, 3)
    assert spool.file(1).stat().st_size == size
    put(spool, 4)
    assert rest(spool) == [1, 2, 4]
    spool.close()
    assert rest(opened(tmp_path)) == [1, 2, 4]


def test_a_disk_too_full_to_note_what_is_delivered_is_given_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Files that nobody needs go all the same; the next run finds what is left, and at most one file again."""
    spool = opened(tmp_path, SEGMENTS * 1000)
    put(spool, *range(20))
    for _ in range(10):
        chunk = spool.next()
        assert chunk is not None
    used = spool.used_bytes
    refusing(monkeypatch, "pwrite")
    with pytest.raises(OSError, match="No space left"):
        spool.release(chunk.end)
    assert spool.used_bytes < used - 2000
    monkeypatch.undo()
    spool.close()
    found = rest(opened(tmp_path, SEGMENTS * 1000))
    assert found[-10:] == list(range(10, 20))
    assert len(found) <= 13


def test_a_disk_that_cannot_be_read_costs_a_file_of_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As damage does; nobody ends of it."""
    spool = opened(tmp_path, SEGMENTS * 1000)
    put(spool, *range(12))
    first = spool.next()
    assert first is not None
    read = os.pread

    def failing(fd: int, size: int, at: int) -> bytes:
        if spool.read_from == 1:
            raise OSError(errno.EIO, "Input/output error")
        return read(fd, size, at)

    monkeypatch.setattr(os, "pread", failing)
    found = rest(spool)
    assert found == list(range(found[0], 12))
    assert 1 < found[0] < 6
    assert spool.lost_bytes > 0
    with pytest.raises(OSError, match="Input/output"):
        spool.get(first)
    monkeypatch.undo()
    os.truncate(spool.file(1), 100)
    with pytest.raises(OSError, match="shorter than it was"):
        spool.get(first)


def test_dead_letters_are_whole_lines_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A full disk must not leave half of one, to which the next is glued."""
    spool = opened(tmp_path)
    path = spool.bury(b"one\n")
    refusing(monkeypatch, "write", room=5)
    with pytest.raises(OSError, match="No space left"):
        spool.bury(b"two and three\n")
    monkeypatch.undo()
    assert spool.bury(b"four\n") == path
    assert path.read_bytes() == b"one\nfour\n"
