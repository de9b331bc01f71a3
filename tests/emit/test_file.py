"""Appending to a file: alone, with others, and when it cannot be written."""

import contextlib
import errno
import os
import resource
import select
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from unittest.mock import Mock

import pytest

from assemble.message import Message
from capture.counters import Counters
from capture.records import KIND_MESSAGE
from capture.ring import Consumer, Producer, Ring
from emit.file import CACHED_BYTES, MOST_TARGETS, PASSING, REST_S, WRITE_BEHIND_BYTES, FileOutput
from emit.records import OutputSpec, worker_counters
from emit.worker import output_class
from tests.emit.builders import as_line, conversation, read_lines, records_of, request, response, ring_of
from tests.emit.processes import Processes
from tests.emit.test_formats import read


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
    assert out.failure == "cannot write to /dev/full: no space left on device: make room"
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


# -- rotation

DAY_NS = 86_400 * 10**9


def rotating(directory: Path, ring: Ring, name: str = "%Y-%m-%d/%H%M", kind: str = "jsonl", **spec: Any) -> FileOutput:
    """Make an output whose files follow each other."""
    chosen = OutputSpec("file", 0, path=str(directory / name), format=kind, **spec)  # type: ignore[arg-type]
    made = output_class(chosen)(chosen, Consumer(ring), Counters(worker_counters(1)))
    assert isinstance(made, FileOutput)
    return made


def files(directory: Path) -> dict[str, list[Message]]:
    """Return what each file below a directory holds."""
    paths = sorted(path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): read(path)[0] for path in paths}


KINDS = ("jsonl", "recording", "gor", "har")


@pytest.mark.parametrize("kind", KINDS)
def test_each_message_is_in_the_file_of_its_own_time(tmp_path: Path, kind: str):
    """Whatever order they come in; around midnight those of two days alternate."""
    minutes = [0, 1, 0, 1, 2, 0, 1439, 1440, 1439, 1440, 0]
    made = [response(at, first_ns=DAY_NS + 60 * 10**9 * minute) for at, minute in enumerate(minutes)]
    out = rotating(tmp_path, ring_of(made), kind=kind)
    run(out)
    found = {name: [each.id for each in held] for name, held in files(tmp_path).items()}
    assert found == {
        "1970-01-02/0000": [0, 2, 5, 10], "1970-01-02/0001": [1, 3], "1970-01-02/0002": [4],
        "1970-01-02/2359": [6, 8], "1970-01-03/0000": [7, 9],
    }  # fmt: skip
    assert (out.tally.delivered, out.tally.undelivered) == (len(made), 0)
    assert (tmp_path / "1970-01-02").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("kind", KINDS)
def test_files_are_not_longer_than_allowed(tmp_path: Path, kind: str):
    """But for a message that alone is; a run that starts again goes on in the last one."""
    made = [*conversation(300), response(400, os.urandom(100_000)), *conversation(10)]
    for runs in (1, 2):
        run(rotating(tmp_path, ring_of(made), "m.x", kind, rotate_bytes=20_000))
        found = files(tmp_path)
        names = ["m.x", *(f"m.{number}.x" for number in range(1, len(found)))]
        assert sorted(found) == sorted(names)
        assert len(names) > 5
        whole = [each.payload for name in names for each in found[name]]
        assert whole == [each.payload for each in made] * runs
        sizes = [(tmp_path / name).stat().st_size for name in names]
        assert sum(size > 20_000 * (3 if kind == "har" else 1) for size in sizes) == runs


@pytest.mark.parametrize("kind", KINDS)
def test_a_message_in_parts_is_in_one_file(tmp_path: Path, kind: str):
    """However long it is, with others before and behind."""
    made = [*conversation(4), response(9, os.urandom(3_000_000), first_ns=DAY_NS), *conversation(4)]
    out = rotating(tmp_path, ring_of(made, 4 << 20), "%F", kind, rotate_bytes=1_000_000)
    run(out)
    found = files(tmp_path)
    assert [each.id for each in found["1970-01-02"]] == [9]
    assert sum(map(len, found.values())) == len(made)


def test_a_message_that_stops_short_ends_where_another_time_begins(tmp_path: Path):
    """Its writer died; its line is closed in its own file."""
    ring = Ring.create(1 << 20)
    producer = Producer(ring)
    for part in records_of(response(1, bytes(600_000), first_ns=0), 100_008)[:2]:
        assert producer.try_put(KIND_MESSAGE, part)
    for record in records_of(response(2, first_ns=DAY_NS)):
        assert producer.try_put(KIND_MESSAGE, record)
    producer.close()
    out = rotating(tmp_path, ring, "%F")
    run(out)
    assert out.locked is False
    assert (tmp_path / "1970-01-01").read_bytes().endswith(b',"aborted":true}\n')
    assert [each.id for each in read(tmp_path / "1970-01-02")[0]] == [2]


def test_few_files_are_open_at_a_time(tmp_path: Path):
    """A recording of a month, read at once, is thousands of minutes."""
    made = [response(at, first_ns=60 * 10**9 * at) for at in range(200)]
    out = rotating(tmp_path, ring_of(made))
    out.start(0.0)
    out.finish()
    head = out.consumer.head
    while not out.done(head):
        out.pump(head, 0.0)
        assert len(out.targets) <= MOST_TARGETS
    out.close()
    assert len(files(tmp_path)) == 200


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path):
    """With the messages that it costs."""
    (tmp_path / "1970-01-02").write_text("not a directory")
    out = rotating(tmp_path, ring_of([response(1, first_ns=0), response(2, first_ns=DAY_NS)]))
    run(out)
    assert out.failure == f"cannot write to {tmp_path}/1970-01-02: file exists"
    assert (out.tally.delivered, out.tally.undelivered) == (1, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_workers_rotate_together(tmp_path: Path, processes: Processes, kind: str):
    """Several processes, the same files, nothing lost, none too long."""
    made = [each.replace(first_ns=60 * 10**9 * (at // 400)) for at, each in enumerate(conversation(1600))]
    spec = {"path": str(tmp_path / "%H%M.x"), "format": kind, "rotate_bytes": 60_000}
    workers = [processes.worker(ring_of(made, 32 << 20), OutputSpec("file", 0, **spec)) for _ in range(3)]  # type: ignore[arg-type]
    assert [each.end() for each in workers] == [0, 0, 0]
    found = files(tmp_path)
    assert len(found) > 8
    for minute in range(4):
        ids = sorted(each.id for name, held in found.items() if name.startswith(f"000{minute}") for each in held)
        assert ids == sorted(each.id for each in made[400 * minute : 400 * minute + 400] * 3)
    limit = 60_000 * (3 if kind == "har" else 1)
    assert max((tmp_path / name).stat().st_size for name in found) <= limit


FORMATS: Final = ("jsonl", "recording", "gor", "har")


@contextlib.contextmanager
def failing(code: int, capacity: int) -> Iterator[list[int]]:
    """Have a disk refuse every byte beyond so many, which the list that is yielded holds; files can be overwritten."""
    room = [capacity]
    write, pwrite = os.write, os.pwrite

    def limited(data: Any, had: int = 0) -> int:
        count = min(len(data), had + room[0])
        if count == 0:
            raise OSError(code, os.strerror(code))
        room[0] -= max(count - had, 0)
        return count

    def at_place(fd: int, data: Any, at: int) -> int:
        return pwrite(fd, data[: limited(data, max(os.fstat(fd).st_size - at, 0))], at)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "write", lambda fd, data: write(fd, data[: limited(data)]))
        patch.setattr(os, "pwrite", at_place)
        yield room


def of_format(form: Any, path: Path, ring: Ring, **more: Any) -> FileOutput:
    """Make an output of a format."""
    spec = OutputSpec("file", 0, path=str(path), format=form, **more)
    made = output_class(spec)(spec, Consumer(ring), Counters(worker_counters(1)))
    assert isinstance(made, FileOutput)
    return made


@pytest.mark.parametrize("code", PASSING)
@pytest.mark.parametrize("form", FORMATS)
def test_a_disk_that_takes_something_again_is_gone_on_with(
    tmp_path: Path, form: str, code: int, caplog: pytest.LogCaptureFixture
):
    """Full for a while: what came meanwhile is counted, what comes later is written, and every message is whole."""
    ring = Ring.create(8 << 20)
    producer = Producer(ring)
    path = tmp_path / "m"
    out = of_format(form, path, ring)
    out.start(0.0)

    def put(first: int, now_s: float) -> None:
        for number in range(first, first + 20):
            for message in (request(number), response(number, bytes(3000))):
                assert producer.try_put(KIND_MESSAGE, records_of(message)[0])
        for turn in range(3):
            out.pump(out.consumer.head, now_s + turn / 100)

    put(0, 0.0)
    with failing(code, 30_000) as room:
        put(20, 1.0)
        assert out.safe == out.cursor == out.consumer.head, "nobody waits"
        put(40, 2.0)
        put(60, 1.0 + REST_S)  # in vain
        room[0] = 1 << 30
        put(80, 1.5 + REST_S)  # too early
        put(100, 3.0 + 2 * REST_S)
        out.finish()
        put(120, 4.0 + 2 * REST_S)
        out.close()
    assert out.failure is None
    assert os.strerror(code).lower() in (out.shortcoming or "")
    assert "was given up" in (type(out)(out.spec, out.consumer, out.counters).shortcoming or ""), "a successor's"
    found, source = read(path)
    assert (source.cut_at, source.refused) == (None, 0)
    asked = [each.id for each in found if each.kind == "request"]
    assert asked[:20] == list(range(20))
    assert asked[-40:] == list(range(100, 140))
    assert set(asked[20:-40]) <= set(range(20, 40)), "as far as it went"
    assert (out.tally.delivered, out.tally.undelivered) == (len(found), 280 - len(found))
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2, said
    assert "it is tried again every 5 s" in said[0]
    assert f"can be written again; {280 - len(found)} messages were not delivered" in said[1]


@pytest.mark.parametrize("form", FORMATS)
def test_a_disk_that_is_full_at_the_start_may_have_room_later(tmp_path: Path, form: str):
    """A service that starts again by itself; not even a directory can be made."""
    ring = Ring.create(8 << 20)
    producer = Producer(ring)
    out = of_format(form, tmp_path / "%Y" / "m", ring)
    out.start(0.0)
    for message in conversation(10):
        assert producer.try_put(KIND_MESSAGE, records_of(message)[0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "mkdir", Mock(side_effect=OSError(errno.ENOSPC, "No space left on device", "2023")))
        for turn in range(5):
            out.pump(out.consumer.head, turn / 10)
    assert (out.failure, out.tally.undelivered) == (None, 10)
    for message in conversation(10):
        assert producer.try_put(KIND_MESSAGE, records_of(message)[0])
    out.finish()
    for turn in range(3):
        out.pump(out.consumer.head, 1.0 + REST_S + turn / 10)
    assert out.done(out.consumer.head)
    out.close()
    assert (out.failure, out.tally.delivered) == (None, 10)
    assert len(read(tmp_path / "2023" / "m")[0]) == 10


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("cut", range(1, 6))
def test_a_message_in_parts_that_a_full_disk_cuts_counts_once(tmp_path: Path, form: str, cut: int):
    """Its first parts were written and taken back, its last ones come when there is room again."""
    ring = Ring.create(1 << 20)
    producer = Producer(ring)
    parts = records_of(response(9, bytes(600_000)), 100_008)
    out = of_format(form, tmp_path / "m", ring)
    out.start(0.0)

    def put(records: list[bytes], now_s: float) -> None:
        for record in records:
            assert producer.try_put(KIND_MESSAGE, record)
        for turn in range(3):
            out.pump(out.consumer.head, now_s + turn / 100)

    put(records_of(request(1)), 0.0)
    with failing(errno.ENOSPC, 10_000):
        put(parts[:cut], 1.0)
    put(parts[cut:], 2 * REST_S)
    out.finish()
    put(records_of(request(3)), 2 * REST_S + 1)
    assert out.done(out.consumer.head)
    out.close()
    found, source = read(tmp_path / "m")
    assert (source.cut_at, source.refused) == (None, 0)
    assert {1, 3} <= {each.id for each in found} <= {1, 3, 9}
    assert out.failure is None
    assert (out.tally.delivered, out.tally.undelivered) == (len(found), 3 - len(found))


@pytest.mark.parametrize("form", FORMATS)
def test_a_pipe_that_nobody_reads_holds_up_nobody_else(tmp_path: Path, form: str):
    """A turn comes to its end, and poll(2) says when there is room; what is read at last is all of it, once."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    made = [message for number in range(200) for message in (request(number), response(number, bytes(2000)))]
    out = of_format(form, path, ring_of(made, 8 << 20))
    out.start(0.0)
    out.finish()
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    taken = bytearray()
    poller = select.poll()
    waited = 0
    try:
        for turn in range(10_000):
            out.pump(out.consumer.head, float(turn))
            if out.done(out.consumer.head):
                break
            for fd, events in out.descriptors().items():
                assert events == select.POLLOUT
                poller.register(fd, events)
                if poller.poll(0):
                    out.on_ready(float(turn))
                else:
                    waited += 1
                    taken += os.read(reading, 30_000)
                poller.unregister(fd)
        assert out.done(out.consumer.head)
        out.close()
        while data := os.read(reading, 1 << 20):
            taken += data
    finally:
        os.close(reading)
    assert waited > 3
    assert (out.failure, out.tally.delivered) == (None, len(made))
    (tmp_path / "copy").write_bytes(taken)
    found, source = read(tmp_path / "copy")
    assert (source.cut_at, source.refused) == (None, 0)
    assert sorted((each.id, each.kind) for each in found) == sorted((each.id, each.kind) for each in made)
