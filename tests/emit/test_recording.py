"""Recordings by path: everything comes back, and of a file that is cut or damaged, everything that is whole."""

import contextlib
import logging
import os
import resource
import signal
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assemble.message import Message, read_message
from assemble.records import MESSAGE_HEADER, PART_BYTES
from capture.errors import DeliveryError, SourceError
from emit.blocks import BLOCK_HEADER, BLOCK_MAGIC, FILE_HEADER, Compression, file_header, read_block_header, seal
from emit.recording import Reader, Writer
from emit.source import MOST_SAID
from tests.emit.builders import conversation, header_of, messages, records_of, request, response

COMPRESSIONS: Final = ("none", "gzip", "zstd")
KEY: Final = b"8 bytes."
ROOT: Final = Path(__file__).parents[2]


def record_of(message: Message) -> bytes:
    """Return a message as one record, however long it is."""
    return MESSAGE_HEADER.pack(*header_of(message)) + message.payload


def write(path: Path, made: list[Message], compression: Compression = "none", each: int = 1000) -> Path:
    """Record messages, `each` to a block."""
    with Writer(str(path), compression) as writer:
        for at, message in enumerate(made, start=1):
            writer.write(record_of(message))
            if at % each == 0:
                writer.flush()
    return path


def read(path: Path, **limits: Any) -> list[Message]:
    """Read a whole recording."""
    with Reader(str(path), **limits) as reader:
        return [read_message(record) for record in reader]


@pytest.mark.parametrize("compression", COMPRESSIONS)
@given(made=st.lists(messages(), max_size=20), each=st.integers(1, 20))
def test_every_field_comes_back(
    tmp_path_factory: pytest.TempPathFactory, compression: Compression, made: list[Message], each: int
):
    """What is replayed is what was recorded, in that order."""
    path = write(tmp_path_factory.mktemp("r") / "r", made, compression, each)
    assert read(path) == made


@pytest.mark.parametrize("size", [PART_BYTES - 100, PART_BYTES, PART_BYTES + 1, 3 * PART_BYTES + 5])
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_long_messages_come_back(tmp_path: Path, compression: Compression, size: int):
    """They are stored in parts, over several blocks."""
    made = [request(1), response(2, os.urandom(size)), request(3)]
    assert read(write(tmp_path / "r", made, compression)) == made


def test_a_recording_is_private(tmp_path: Path):
    """Recorded traffic holds secrets."""
    assert write(tmp_path / "r", []).stat().st_mode & 0o777 == 0o600


def test_what_is_there_is_appended_to(tmp_path: Path):
    """Nothing whole is ever cut off; compression may change on the way."""
    made = conversation(30)
    for at, compression in enumerate(COMPRESSIONS):
        write(tmp_path / "r", made[10 * at : 10 * at + 10], compression)  # type: ignore[arg-type]
    assert read(tmp_path / "r") == made


def test_a_file_cut_at_any_byte_yields_what_is_whole(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """A full disk or a kill cuts where it likes; the reader says where, and appending goes on."""
    made = conversation(6, 16)
    data = write(tmp_path / "r", made, each=2).read_bytes()
    ends, at = [], FILE_HEADER.size
    while at < len(data):
        said = read_block_header(data[at : at + BLOCK_HEADER.size], data[12:20])
        assert said is not None
        at += said.length
        ends.append(at)
    assert len(ends) == 3
    for cut in range(len(data)):
        path = tmp_path / "cut"
        path.write_bytes(data[:cut])
        blocks = sum(end <= cut for end in ends)
        whole = ends[blocks - 1] if blocks else FILE_HEADER.size if cut >= FILE_HEADER.size else 0
        caplog.clear()
        with Reader(str(path)) as reader:
            assert [read_message(record) for record in reader] == made[: 2 * blocks]
            assert reader.lost_bytes == cut - whole
            assert reader.cut_at == (whole if cut > whole or cut < FILE_HEADER.size else None)
        if cut > whole:
            assert f"cut at byte {whole}: the last {cut - whole} bytes" in caplog.text
        write(path, made[:1])
        assert read(path) == [*made[: 2 * blocks], made[0]]
        assert ("cut" in caplog.text) == (cut != whole) or cut == 0


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_flipped_bit_costs_its_block_at_most(tmp_path: Path, compression: Compression):
    """What a reader hands on is what was written; the rest is counted to the byte."""
    made = conversation(6, 16)
    data = write(tmp_path / "r", made, compression, each=2).read_bytes()
    first = read_block_header(data[24:72], data[12:20])
    assert first is not None
    for bit in range(8 * FILE_HEADER.size, 8 * (FILE_HEADER.size + first.length), 3):
        broken = bytearray(data)
        broken[bit // 8] ^= 1 << bit % 8
        (tmp_path / "b").write_bytes(broken)
        with Reader(str(tmp_path / "b")) as reader:
            assert [read_message(record) for record in reader] == made[2:]
            assert (reader.lost_bytes, reader.cut_at) == (first.length, None)


def test_many_faults_are_told_a_few_times(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """A log is not to be filled by one bad file."""
    block = seal(b"?", (1, 1, 0, 0), "none", KEY)
    (tmp_path / "r").write_bytes(file_header(KEY) + block * 100)
    with Reader(str(tmp_path / "r")) as reader:
        assert list(reader) == []
        assert reader.refused == 100
    assert len(caplog.records) == MOST_SAID
    assert "only counted" in caplog.records[-1].message


WRITING: Final = """
import sys
from emit.recording import Writer
from tests.emit.builders import conversation, records_of
made = [records_of(message)[0] for message in conversation(100)]
with Writer(sys.argv[1], sys.argv[2]) as writer:
    while True:
        for record in made:
            writer.write(record)
        writer.flush()
        print(flush=True)
"""


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_writer_that_is_killed_leaves_what_it_has_flushed(tmp_path: Path, compression: Compression):
    """And the next one goes on behind it."""
    path, made = tmp_path / "r", conversation(100)
    environment = os.environ | {"PYTHONPATH": "."}
    command = [sys.executable, "-c", WRITING, str(path), compression]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, env=environment) as job:
        assert job.stdout is not None
        flushed = sum(1 for _line, _turn in zip(job.stdout, range(50), strict=False))
        job.send_signal(signal.SIGKILL)
        flushed += sum(1 for _line in job.stdout)
    found = read(path)
    assert len(found) >= 100 * flushed
    assert found == (made * (len(found) // 100 + 1))[: len(found)]
    write(path, made[:3])
    assert read(path) == found + made[:3]


@contextlib.contextmanager
def small_files(most_bytes: int) -> Iterator[None]:
    """Let no file grow beyond a size: the same to a writer as a full disk.  Python ignores SIGXFSZ."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_keeps_what_is_whole(tmp_path: Path):
    """The block that does not fit is taken back, and appending goes on when there is room."""
    path, made = tmp_path / "r", conversation(1000)
    with small_files(100_000), pytest.raises(DeliveryError, match="r: cannot be written: file too large"):
        write(path, made, each=100)
    found = read(path)
    assert len(found) >= 100
    assert found == made[: len(found)]
    with Reader(str(path)) as reader:
        assert (len(list(reader)), reader.lost_bytes) == (len(found), 0)
    write(path, made[:5])
    assert read(path) == found + made[:5]


def test_a_file_has_one_writer_at_a_time(tmp_path: Path):
    """Two would cut off what the other is writing."""
    with Writer(str(tmp_path / "r")), pytest.raises(DeliveryError, match="somebody else"):
        Writer(str(tmp_path / "r"))


@pytest.mark.parametrize("name", ["missing/r", ".", "text"])
def test_a_path_that_cannot_be_written_is_one_line(tmp_path: Path, name: str):
    """And what is there is left."""
    (tmp_path / "text").write_text("my only copy")
    with pytest.raises(DeliveryError) as error:
        Writer(str(tmp_path / name))
    assert str(tmp_path / name) in str(error.value)
    assert "\n" not in str(error.value)
    assert (tmp_path / "text").read_text() == "my only copy"


def test_a_time_window_is_half_open(tmp_path: Path):
    """Blocks outside are not even read: a long recording is entered in the middle at once."""
    made = [request(n, first_ns=1000 * n, last_ns=1000 * n + 5) for n in range(100)]
    path = write(tmp_path / "r", made, each=10)
    assert read(path, start_ns=20_000, end_ns=30_000) == made[20:30]
    assert read(path, start_ns=99_000) == made[99:]
    assert read(path, end_ns=1) == made[:1]
    data = bytearray(path.read_bytes())
    data[24 + 48] ^= 1  # in the body of the first block
    path.write_bytes(data)
    with Reader(str(path), start_ns=10_000) as reader:
        assert len(list(reader)) == 90
        assert reader.lost_bytes == 0


def test_a_window_does_not_split_long_messages(tmp_path: Path):
    """Their parts have the times of the whole."""
    made = [request(1, first_ns=0, last_ns=1), response(2, bytes(3 * PART_BYTES), first_ns=10, last_ns=2000)]
    path = write(tmp_path / "r", [*made, request(3, first_ns=1000, last_ns=1001)])
    assert read(path, start_ns=10, end_ns=11) == made[1:]
    with Reader(str(path), start_ns=1000) as reader:
        assert len(list(reader)) == 1
        assert reader.refused == 0


def parts_of(size: int, count: int) -> list[bytes]:
    """Return the records of a message that is stored in parts."""
    return records_of(response(7, bytes(size)), size // count // 24 * 24)


def recorded(path: Path, *records: bytes) -> Path:
    """Write records as they are."""
    body = b"".join(len(each).to_bytes(4, "little") + each for each in records)
    path.write_bytes(file_header(KEY) + seal(body, (len(records), 0, 0, 2**62), "none", KEY))
    return path


@pytest.mark.parametrize(
    "order",
    [[0, 1], [1, 2, 3], [0, 2], [0, 0, 1, 3], [3, 2, 1, 0], [0, 1, 2, 2]],
    ids=str,
)
def test_parts_without_their_message_are_counted(tmp_path: Path, order: list[int]):
    """A writer died in the middle of a long message; what is after it is unharmed."""
    parts, other = parts_of(1000, 4)[:4], records_of(request(1))[0]
    path = recorded(tmp_path / "r", *(parts[at] for at in order), other)
    with Reader(str(path)) as reader:
        assert list(reader) == [other]
        assert reader.refused == len(order)
        assert (reader.records, reader.joined) == (len(order) + 1, 0)


def test_parts_with_something_between_are_no_message(tmp_path: Path):
    """Whoever was inside it is gone: nobody writes to a file while another is."""
    parts, other = parts_of(1000, 4), records_of(request(1))[0]
    with Reader(str(recorded(tmp_path / "r", *parts[:2], other, *parts[2:]))) as reader:
        assert list(reader) == [other]
        assert reader.refused == len(parts)


def test_messages_over_the_limit_are_refused(tmp_path: Path):
    """Memory has a bound, whoever wrote the file; the messages around it are unharmed."""
    made = [request(1), response(2, bytes(5 * PART_BYTES)), request(3)]
    path = write(tmp_path / "r", made, "zstd")
    tracemalloc.start()
    with Reader(str(path), most_message_bytes=2 * PART_BYTES) as reader:
        assert [read_message(record) for record in reader] == [made[0], made[2]]
        assert reader.refused == 6
    assert tracemalloc.get_traced_memory()[1] < 12 * PART_BYTES
    tracemalloc.stop()


def test_hostile_parts_do_not_cost_memory(tmp_path: Path):
    """Very many very small parts are joined as they come."""
    fields = header_of(response(7, bytes(100)))
    fields[15], fields[19] = 100_000, 2**32 - 1
    records = []
    for part in range(20_000):
        fields[17], fields[18] = part, part
        records.append(MESSAGE_HEADER.pack(*fields) + b"x")
    tracemalloc.start()
    with Reader(str(recorded(tmp_path / "r", *records))) as reader:
        assert list(reader) == []
        assert reader.refused == 20_000
    assert tracemalloc.get_traced_memory()[1] < 30 << 20
    tracemalloc.stop()


def next_version() -> bytes:
    """Return the header of a file that a later program has written."""
    head = file_header(KEY)[:8] + b"\x02" + file_header(KEY)[9:20]
    return head + zlib.crc32(head).to_bytes(4, "little")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\xd4\xc3\xb2\xa1" + bytes(40), "is not a recording"),
        (b'{"id":"00"}\n', "is not a recording"),
        (file_header(KEY)[:23] + b"?", "is not a recording"),
        (next_version(), "version 2; this program reads version 1"),
    ],
)
def test_what_is_no_recording_is_said_in_one_line(tmp_path: Path, data: bytes, why: str):
    """The wrong file, or a newer one."""
    (tmp_path / "r").write_bytes(data)
    with pytest.raises(SourceError, match=why):
        Reader(str(tmp_path / "r"))


@pytest.mark.parametrize("name", ["missing", ".", "pipe"])
def test_what_cannot_be_opened_is_said_in_one_line(tmp_path: Path, name: str):
    """A pipe is not waited for: a recording is a file."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SourceError, match="cannot be read"):
        Reader(str(tmp_path / name))


@given(data=st.data())
def test_no_file_raises_anything_else(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject):
    """Whatever is in it: messages, counts, or one line."""
    base = file_header(KEY) + seal(
        b"".join(len(r).to_bytes(4, "little") + r for r in parts_of(500, 3)), (3, 1, 0, 2**62), "gzip", KEY
    )
    mixed = bytearray(base * 2)
    for _change in range(data.draw(st.integers(0, 5))):
        mixed[data.draw(st.integers(0, len(mixed) - 1))] = data.draw(st.integers(0, 255))
    mixed += data.draw(st.sampled_from([b"", BLOCK_MAGIC, file_header(KEY)[:9], BLOCK_MAGIC * 30]))
    path = tmp_path_factory.mktemp("r") / "r"
    path.write_bytes(mixed)
    logging.disable(logging.WARNING)
    try:
        with contextlib.suppress(SourceError), Reader(str(path)) as reader:
            for record in reader:
                read_message(record)
            assert 0 <= reader.lost_bytes <= len(mixed)
    finally:
        logging.disable(logging.NOTSET)
