"""The door for programs: any file read, any format written, by the same code as in a run."""

import errno
import fcntl
import itertools
import os
import re
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assemble.message import Message
from capture.errors import ConfigError, DeliveryError, SourceError
from emit.building import record_of
from emit.entries import Half
from emit.formats import FORMATS
from emit.library import MessageWriter, open_messages
from emit.selection import Format
from tests.emit.builders import conversation, messages, request, response
from tests.emit.test_blockout import small_files
from tests.emit.test_file import failing
from tests.emit.test_formats import without_addresses

DOCUMENT = Path(__file__).parents[2] / "docs" / "recording.md"
HELD = ("id", "kind", "first_ns", "last_ns")


def write(path: Path, made: list[Message], kind: Format | None = None) -> Path:
    """Write messages as a program does."""
    with MessageWriter(str(path), kind) as writer:
        for message in made:
            writer.write(message)
    return path


def consume(whatever: Iterator[object]) -> None:
    """Have it happen."""
    for _each in whatever:
        pass


def key(message: Message) -> tuple[object, ...]:
    """Return what every format holds."""
    return tuple(getattr(message, name) for name in HELD)


@given(made=st.lists(messages(), max_size=6), path=st.permutations(FORMATS))
def test_what_a_format_holds_survives_every_other(
    tmp_path_factory: pytest.TempPathFactory, made: list[Message], path: list[Format]
):
    """From each format to each other one: ids, kinds, times; all bytes, if HAR does not say that it changes them."""
    made = [message.replace(id=at) for at, message in enumerate(made)]
    directory = tmp_path_factory.mktemp("l")
    found = made
    for kind in path:
        found = list(open_messages(str(write(directory / kind, found, kind))))
        assert sorted(map(key, found)) == sorted(map(key, made))
    kept = {message.id: message for message in found}
    for message in made:
        half = Half(record_of(message))
        if half.told() is None:
            assert kept[message.id].payload == message.payload


@pytest.mark.parametrize("kind", ["recording", "jsonl"])
@given(made=st.lists(messages(), max_size=10))
def test_our_own_formats_hold_everything(tmp_path_factory: pytest.TempPathFactory, kind: Format, made: list[Message]):
    """In every field."""
    assert list(open_messages(str(write(tmp_path_factory.mktemp("l") / "f", made, kind)))) == made


@pytest.mark.parametrize("kind", FORMATS)
def test_long_messages_and_many_are_written(tmp_path: Path, kind: Format):
    """More than the ring in between holds."""
    made = [*conversation(400), request(500), response(500, bytes(30_000_000)), *conversation(4)]
    found = list(open_messages(str(write(tmp_path / "f", made, kind))))
    assert [message.payload for message in found] == [message.payload for message in made]
    if kind == "gor":
        assert found[0] == without_addresses(made[0])


@pytest.mark.parametrize("kind", FORMATS)
def test_what_is_flushed_is_there(tmp_path: Path, kind: Format):
    """And what comes afterwards is appended."""
    writer = MessageWriter(str(tmp_path / "f"), kind)
    for message in conversation(6):
        writer.write(message)
    writer.flush()
    assert len(list(open_messages(str(tmp_path / "f")))) == 6
    writer.close()
    writer.close()
    write(tmp_path / "f", conversation(2), kind)
    assert len(list(open_messages(str(tmp_path / "f")))) == 8


def test_the_name_says_which_format(tmp_path: Path):
    """And who names none has to say it."""
    data = [
        write(tmp_path / f"a{ending}", conversation(2)).read_bytes()[:2]
        for ending in (".rec", ".jsonl", ".gor", ".har")
    ]
    assert data == [b"\x89R", b'{"', b"1 ", b'{"']
    with pytest.raises(ConfigError, match="name a format"):
        MessageWriter(str(tmp_path / "x"))


def test_a_time_is_a_moment_with_a_zone(tmp_path: Path):
    """Or nanoseconds; half-open."""
    second = 10**9
    path = str(write(tmp_path / "a.rec", [request(at, first_ns=at * second, last_ns=at * second) for at in range(10)]))
    assert [each.id for each in open_messages(path, start=2 * second, end=4 * second)] == [2, 3]
    moment = datetime(1970, 1, 1, 0, 0, 8, tzinfo=UTC)
    assert [each.id for each in open_messages(path, start=moment)] == [8, 9]
    with pytest.raises(ValueError, match="without a zone"):
        open_messages(path, start=datetime(1970, 1, 1))


def test_faults_are_raised_at_once(tmp_path: Path):
    """Not when somebody begins to read."""
    with pytest.raises(SourceError, match="cannot be read"):
        open_messages(str(tmp_path / "none"))
    with pytest.raises(DeliveryError, match="cannot write to"):
        MessageWriter(str(tmp_path / "none" / "a.rec"))


@pytest.mark.parametrize(
    ("refusing", "why"),
    [(small_files(300_000), "file too large"), (failing(errno.ENOSPC, 300_000), "no space left on device: make room")],
)
def test_a_full_disk_is_raised(tmp_path: Path, refusing: AbstractContextManager[Any], why: str):
    """What was written before is whole."""
    writer = MessageWriter(str(tmp_path / "a.rec"))
    with refusing, pytest.raises(DeliveryError, match=why):
        consume(writer.write(response(number, os.urandom(10_000))) for number in itertools.count())
    writer.close()
    found = list(open_messages(str(tmp_path / "a.rec")))
    assert [message.id for message in found] == list(range(len(found)))


def test_a_file_that_another_holds_is_waited_for(tmp_path: Path):
    """As workers do."""
    path = write(tmp_path / "a.jsonl", conversation(2))
    held = os.open(path, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    timer = threading.Timer(0.1, os.close, (held,))
    timer.start()
    write(path, conversation(2))
    timer.join()
    assert len(list(open_messages(str(path)))) == 4


def test_the_first_message_of_a_long_recording_is_there_at_once(tmp_path: Path):
    """However long it is, it is not read before."""
    path = write(tmp_path / "a.rec", conversation(20_000, 400))
    found = open_messages(str(path))
    assert next(found).id == 0
    read = int(re.search(r"rchar: (\d+)", Path("/proc/self/io").read_text())[1])  # type: ignore[index]
    assert len(list(itertools.islice(found, 10))) == 10
    assert int(re.search(r"rchar: (\d+)", Path("/proc/self/io").read_text())[1]) - read < 100_000  # type: ignore[index]
    found.close()  # type: ignore[attr-defined]
