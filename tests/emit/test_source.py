"""Streams of pieces: every piece once, whatever the reads give, and none that is too long is held."""

import gzip
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capture.errors import SourceError
from capture.streams import Stop
from emit.formats import open_source
from emit.jsonlines import LineSource
from emit.source import MOST_SAID, Opened, StreamSource
from tests.emit.builders import conversation
from tests.emit.test_formats import WRITERS, as_jsonl


class Scripted(LineSource):
    """Gives what a test says, read by read."""

    def __init__(self, path: Path, reads: list[bytes]) -> None:
        super().__init__(str(path))
        self.reads = list(reads)

    def read(self, size: int) -> bytes:
        return self.reads.pop(0) if self.reads else b""


@pytest.fixture(scope="module")
def nothing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty file."""
    path = tmp_path_factory.mktemp("s") / "f"
    path.write_bytes(b"")
    return path


@given(
    reads=st.lists(st.text("ab|-", min_size=1, max_size=7).map(str.encode), max_size=12),
    separator=st.sampled_from([b"|", b"-|-", b"||"]),
    most=st.integers(0, 5),
)
def test_pieces_are_those_of_a_split(nothing: Path, reads: list[bytes], separator: bytes, most: int):
    """Wherever reads end; one that is too long is named, and its place is right."""
    source = Scripted(nothing, reads)
    found = list(source.pieces(separator, most))
    source.close()
    data = b"".join(reads)
    *whole, rest = data.split(separator)
    pieces = [*whole, rest] if len(rest) > most else whole
    at = 0
    for (piece, place), wanted in zip(found, pieces, strict=True):
        assert place == at
        assert piece == (wanted if len(wanted) <= most else None)
        at += len(wanted) + len(separator)
    assert (source.rest, source.rest_at) == ((rest, at) if len(rest) <= most else (b"", 0))


@pytest.mark.parametrize(("name", "begin"), [("jsonl", b'{"id":"'), ("gor", b"1 0000000000000001 1 1\n")])
def test_a_last_piece_that_is_too_long_is_counted(tmp_path: Path, name: str, begin: bytes):
    """It had no place in the ledger: without a separator behind it, nobody ever said that it was too long."""
    (tmp_path / "f").write_bytes(WRITERS[name](conversation(2)) + begin + b"x" * 9_000_000)
    with open_source(str(tmp_path / "f"), name, most_bytes=1000) as source:  # type: ignore[arg-type]
        assert len(list(source)) == 2
    assert (source.records, source.refused) == (3, 1)


def test_faults_are_told_a_few_times(nothing: Path, caplog: pytest.LogCaptureFixture):
    """A file full of them must not fill the log; all are counted."""
    source = StreamSource.__new__(LineSource)
    LineSource.__init__(source, str(nothing))
    for number in range(100):
        source.refuse(f"line {number}")
    source.close()
    assert len(caplog.records) == MOST_SAID
    assert caplog.text.rstrip().endswith("more is only counted")
    assert (source.records, source.refused) == (100, 100)


@pytest.mark.parametrize("path", ["missing", ".", "a\0b"])
def test_what_cannot_be_opened_is_one_line(tmp_path: Path, path: str):
    """Which file, and why."""
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(SourceError, match="cannot be read"):
        Opened(str(tmp_path / path))
    assert len(os.listdir("/proc/self/fd")) == before


def test_what_is_looked_at_is_read_all_the_same(tmp_path: Path):
    """Once from the beginning."""
    (tmp_path / "f").write_bytes(b"abcdef")
    opened = Opened(str(tmp_path / "f"))
    assert opened.begin(4, lambda _data: False) == b"abcd"
    assert [opened.stream.read(3) for _ in range(4)] == [b"abc", b"d", b"ef", b""]
    assert opened.stream.ready()
    opened.close()


def test_a_stream_that_ends_early_is_cut(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """What was unpacked before is handed on."""
    data = gzip.compress(as_jsonl(conversation(200)))
    (tmp_path / "f").write_bytes(data[: len(data) // 2])
    with LineSource(str(tmp_path / "f")) as source:
        found = list(source)
    assert 50 < len(found) < 200
    assert source.cut_at is not None
    assert "the gzip data ends early" in caplog.text


@pytest.mark.parametrize("name", ["jsonl", "gor", "har"])
def test_who_is_told_to_stop_takes_nothing_for_lost(tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture):
    """What was not read yet is no fault of the file."""
    (tmp_path / "f").write_bytes(WRITERS[name](conversation(6000)))
    stop = Stop()
    with open_source(str(tmp_path / "f"), name, stop=stop) as source:  # type: ignore[arg-type]
        records = iter(source)
        next(records)
        stop.set()
        assert sum(1 for _ in records) < 5000
    stop.close()
    assert (source.cut_at, source.lost_bytes, source.refused, caplog.text) == (None, 0, 0, "")
