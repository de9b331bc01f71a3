"""Appending to a file: alone, with others, and when it cannot be written."""

import contextlib
import errno
import os
import resource
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from assemble.message import Message
from capture.counters import Counters
from capture.ring import Consumer
from emit.file import CACHED_BYTES, WRITE_BEHIND_BYTES, FileOutput
from emit.records import OutputSpec, worker_counters
from tests.emit.builders import as_line, conversation, read_lines, response, ring_of


def output(path: Path, made: list[Message], capacity: int = 8 << 20) -> FileOutput:
    """Make a file output over a ring that holds `made`."""
    return FileOutput(
        OutputSpec("file", 0, path=str(path)), Consumer(ring_of(made, capacity)), Counters(worker_counters(1))
    )


def run(made: FileOutput) -> None:
    """Write everything, as the worker would."""
    head = made.consumer.head
    made.start(0.0)
    made.finish()
    for _turn in range(1000):
        made.pump(head, 0.0)
        if made.done(head):
            break
    assert made.done(head)
    made.close()


def test_messages_become_lines_of_a_private_file(tmp_path: Path):
    """Recorded traffic holds secrets: the file is its owner's."""
    made = conversation(500)
    out = output(tmp_path / "m.jsonl", made)
    run(out)
    assert read_lines((tmp_path / "m.jsonl").read_bytes()) == [as_line(message) for message in made]
    assert stat.S_IMODE((tmp_path / "m.jsonl").stat().st_mode) == 0o600
    assert (out.tally.delivered, out.tally.undelivered) == (500, 0)


def test_what_exists_is_never_truncated(tmp_path: Path):
    """A second run appends, and leaves the file's mode alone."""
    path = tmp_path / "m.jsonl"
    path.write_bytes(b'{"old":1}\n')
    path.chmod(0o644)
    run(output(path, conversation(2)))
    assert path.read_bytes().startswith(b'{"old":1}\n')
    assert path.read_bytes().count(b"\n") == 3
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_line_that_was_left_unfinished_is_ended(tmp_path: Path):
    """A killed run may leave half a line: the next one must not be glued to it."""
    path = tmp_path / "m.jsonl"
    path.write_bytes(b'{"old":1}\n{"id":"00')
    run(output(path, conversation(2)))
    lines = path.read_bytes().split(b"\n", 2)
    assert lines[1] == b'{"id":"00'
    assert len(read_lines(lines[2])) == 2


@pytest.mark.parametrize("name", ["missing/m.jsonl", "."])
def test_a_path_that_cannot_be_opened_is_named(tmp_path: Path, name: str):
    """One line that says which path and why, and how many messages that costs."""
    out = output(tmp_path / name, conversation(7))
    run(out)
    assert out.failure is not None
    assert str(tmp_path / name) in out.failure
    assert os.strerror(errno.ENOENT if "/" in name else errno.EISDIR).lower() in out.failure
    assert (out.tally.delivered, out.tally.undelivered) == (0, 7)


def test_a_device_that_is_full_is_named():
    """Nothing is delivered, and it says so."""
    out = output(Path("/dev/full"), conversation(7))
    run(out)
    assert out.failure == "cannot write to /dev/full: no space left on device"
    assert (out.tally.delivered, out.tally.undelivered) == (0, 7)


MOST_BYTES: Final = 300_000


@contextlib.contextmanager
def small_files() -> Iterator[None]:
    """Let no file grow beyond MOST_BYTES: the same to a writer as a full disk.  Python ignores SIGXFSZ."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MOST_BYTES, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_fills_up_keeps_whole_lines(tmp_path: Path):
    """Every line that fits is kept and counted; the one that does not is taken back."""
    made = conversation(3000)
    out = output(tmp_path / "m.jsonl", made)
    with small_files():
        run(out)
    text = (tmp_path / "m.jsonl").read_bytes()
    whole = len(read_lines(text))
    assert MOST_BYTES - 1000 < len(text) <= MOST_BYTES
    assert read_lines(text) == [as_line(message) for message in made[:whole]]
    assert (out.tally.delivered, out.tally.undelivered) == (whole, 3000 - whole)


def test_a_line_of_many_writes_is_taken_back_as_a_whole(tmp_path: Path):
    """The disk fills in the middle of a message of several blocks: no half line stays."""
    made = [*conversation(2), response(9, bytes(3_000_000)), *conversation(1)]
    out = output(tmp_path / "m.jsonl", made)
    with small_files():
        run(out)
    assert read_lines((tmp_path / "m.jsonl").read_bytes()) == [as_line(message) for message in made[:2]]
    assert (out.tally.delivered, out.tally.undelivered) == (2, 2)


def test_outputs_that_share_a_file_take_turns(tmp_path: Path):
    """While one is inside a line, the other waits, and goes on afterwards."""
    path = tmp_path / "m.jsonl"
    large = response(1, bytes(3_000_000))
    first, second = output(path, [large], 4 << 20), output(path, conversation(2))
    for each in (first, second):
        each.start(0.0)
    head = first.consumer.head
    first.cursor = first.lines.fill(0, head, 1)
    assert first.flush()
    second.pump(second.consumer.head, 0.0)
    assert second.deadline() is not None
    assert not second.done(second.consumer.head)
    for _turn in range(10):
        first.pump(head, 0.0)
    assert first.done(head)
    second.pump(second.consumer.head, 1.0)
    assert second.done(second.consumer.head)
    assert read_lines(path.read_bytes()) == [as_line(message) for message in [large, *conversation(2)]]
    for each in (first, second):
        each.close()


def test_a_long_recording_does_not_fill_the_page_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Beside production it would push out what production has cached; every byte is advised about at least twice."""
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "posix_fadvise", lambda _fd, begin, size, _advice: told.append((begin, begin + size)))
    made = output(tmp_path / "m.jsonl", [response(n, bytes(60_000)) for n in range(1000)], 128 << 20)
    run(made)
    size = (tmp_path / "m.jsonl").stat().st_size
    assert size > 2 * CACHED_BYTES
    for at in range(0, size - CACHED_BYTES, 1 << 20):
        assert sum(begin <= at < end for begin, end in told) >= 2
    assert len(told) <= size // WRITE_BEHIND_BYTES
