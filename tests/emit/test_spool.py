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
from emit.spool import MAGIC, RECORD, SEGMENTS, Spool, SpoolSpec
from emit.window import Chunk
from emit.wire import chunk_name


def put(spool: Spool, *numbers: int, size: int = 300) -> None:
    """Append chunks by their numbers."""
    for number in numbers:
        frame = number.to_bytes(4, "big") * (size // 4)
        name = chunk_name(number.to_bytes(16, "big"))
        spool.put(Chunk(name, None, 0, number, 7, size=len(frame), kind=1, records=number), frame)


def rest(spool: Spool, lost: list[Chunk] | None = None) -> list[int]:
    """Read what is there, and check it; what stands for others is put aside."""
    found = []
    while (chunk := spool.next()) is not None:
        if chunk.buried:
            assert lost is not None
            lost.append(chunk)
            continue
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


def damaged(path: Path, at: int, data: bytes = b"") -> None:
    """Write over a file, there; a bit is changed unless it is said with what."""
    found = bytearray(path.read_bytes())
    data = data or bytes([found[at] ^ 0x10])
    found[at : at + len(data)] = data
    path.write_bytes(found)


WIDTH = RECORD.size + 300


@pytest.mark.parametrize("number", [4, 11])
@pytest.mark.parametrize("at", range(0, WIDTH, 3))
def test_damage_costs_one_chunk(tmp_path: Path, number: int, at: int):
    """Wherever it is: in the last file, or one before; how many messages that were is known, if its head leads on."""
    spool = opened(tmp_path, SEGMENTS * 1000)
    put(spool, *range(1, 13))
    spool.close()
    assert len(spool.sizes) == 4
    damaged(spool.file(1 + (number - 1) // 3), (number - 1) % 3 * WIDTH + at)
    again = opened(tmp_path, SEGMENTS * 1000)
    lost: list[Chunk] = []
    assert rest(again, lost) == [each for each in range(1, 13) if each != number]
    (gone,) = lost
    assert gone.end - gone.place == WIDTH
    assert again.trouble.startswith(("it is damaged", "it is shorter than it was"))
    assert gone.messages in ((0,) if at < 8 else (0, number) if 36 <= at < 52 else (number,))


def test_bytes_that_look_like_a_beginning_are_none(tmp_path: Path):
    """What is looked for, where a head is lost, is a chunk whose checksum is right."""
    spool = opened(tmp_path, 1 << 30)
    put(spool, 1, 2, 3, 4, size=200_000)
    spool.close()
    width = RECORD.size + 200_000
    damaged(spool.file(1), width, bytes(width + 10))
    for at in range(width + 60, 2 * width, 5000):
        damaged(spool.file(1), at, MAGIC)
    lost: list[Chunk] = []
    assert rest(opened(tmp_path, 1 << 30), lost) == [1, 4]
    assert [(each.place - (1 << 32), each.end - (1 << 32), each.messages) for each in lost] == [(width, 3 * width, 0)]


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


def unreadable(monkeypatch: pytest.MonkeyPatch, spool: Spool, number: int, start: int, end: int, code: int) -> None:
    """Have reads fail that touch these bytes of a segment."""
    read = os.pread

    def failing(fd: int, size: int, at: int) -> bytes:
        if spool.read_from == number and at < end and at + size > start:
            raise OSError(code, os.strerror(code))
        return read(fd, size, at)

    monkeypatch.setattr(os, "pread", failing)


@pytest.mark.parametrize(("start", "known"), [(0, False), (100, True)])
def test_a_read_that_fails_costs_one_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: int, known: bool):
    """A bad sector; of its neighbours nothing is lost, and where its head can be read it is known what it was."""
    spool = opened(tmp_path, 1 << 30)
    put(spool, 1, 2, 3, size=100_000)
    width = RECORD.size + 100_000
    unreadable(monkeypatch, spool, 1, width + start, width + start + 512, errno.EIO)
    lost: list[Chunk] = []
    assert rest(spool, lost) == [1, 3]
    assert [each.messages for each in lost] == ([2] if known else [0])
    assert "input/output error" in spool.trouble


def test_a_read_that_fails_for_another_reason_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """No descriptor is left, or a right is missing: what is there is there later on."""
    spool = opened(tmp_path)
    put(spool, 1, 2, 3)
    unreadable(monkeypatch, spool, 1, 0, 10, errno.EMFILE)
    with pytest.raises(OSError, match="Too many open files"):
        spool.next()
    monkeypatch.undo()
    assert rest(spool) == [1, 2, 3]


def test_a_chunk_is_looked_at_each_time_that_it_is_sent(tmp_path: Path):
    """What was damaged since is not sent; nor is what is cut off."""
    spool = opened(tmp_path)
    put(spool, 1, 2)
    first, second = spool.next(), spool.next()
    assert first is not None
    assert second is not None
    damaged(spool.file(1), RECORD.size + 5)
    with pytest.raises(OSError, match="it is damaged"):
        spool.get(first)
    assert spool.get(second) == second.frame
    os.truncate(spool.file(1), WIDTH + 100)
    with pytest.raises(OSError, match="shorter than it was"):
        spool.get(second)


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
