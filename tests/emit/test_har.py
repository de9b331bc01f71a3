"""HAR files as streams: bounded, whatever they hold, and read as far as they are JSON."""

import json
import tracemalloc
from pathlib import Path

import pytest

from assemble.message import Message, read_message
from emit.har import MOST_DEPTH, HarSource
from tests.emit.builders import conversation
from tests.emit.test_exchanges import BROWSER
from tests.emit.test_formats import as_har


def read(path: Path, data: bytes, most_bytes: int = 1 << 20) -> tuple[list[Message], HarSource]:
    """Read these bytes as a file."""
    path.write_bytes(data)
    with HarSource(str(path), most_bytes=most_bytes) as source:
        return [read_message(record) for record in source], source


def test_only_entries_of_the_log_are_read(tmp_path: Path):
    """Other lists may have the same name; keys may come in any order, with white space."""
    log = {"pages": [{"entries": [BROWSER]}], "entries": [BROWSER, BROWSER], "comment": {"log": {"entries": [BROWSER]}}}
    text = json.dumps({"x": {"entries": [BROWSER]}, "log": log}, indent=2)
    found, source = read(tmp_path / "f", text.encode())
    assert len(found) == 4
    assert (source.refused, source.cut_at) == (0, None)


def test_entries_are_read_one_by_one(tmp_path: Path):
    """A day of traffic does not fit into memory."""
    data = as_har(conversation(6000))
    (tmp_path / "f").write_bytes(data)
    with HarSource(str(tmp_path / "f")) as source:
        records = iter(source)
        next(records)
        assert source.position < 200_000
        tracemalloc.start()
        try:
            assert sum(1 for _ in records) == 5999
            assert tracemalloc.get_traced_memory()[1] < 2_000_000 < len(data)
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize(
    "entry",
    [
        b'{"a":' + b"[" * (MOST_DEPTH + 5), b'{"a":[' + b"0," * 300_000,
        b'{"a":"' + b"x" * 6_000_000, b'{"a":[' + b"{}," * 150_000,
    ],
)  # fmt: skip
def test_entries_of_strangers_are_bounded(tmp_path: Path, entry: bytes):
    """Before they are held: in depth, in values, in bytes."""
    tracemalloc.start()
    try:
        found, source = read(tmp_path / "f", as_har(conversation(2))[:-4] + b"," + entry)
        assert tracemalloc.get_traced_memory()[1] < 40_000_000
    finally:
        tracemalloc.stop()
    assert len(found) <= 2
    assert source.cut_at is not None


@pytest.mark.parametrize(
    "data", [b"[]", b"7", b'{"log":7}', b'{"log":{"entries":{}}}', b'{"log":{"entries":[7,null,[]]}}']
)
def test_other_json_holds_no_entries(tmp_path: Path, data: bytes):
    """Nothing is found in it, and nothing breaks."""
    found, source = read(tmp_path / "f", data)
    assert found == []
    assert source.cut_at is None


@pytest.mark.parametrize("junk", [b"}", b"nonsense", b"\xff\xfe", b'{"log":{"entries":[tru'])
def test_what_is_no_json_ends_it(tmp_path: Path, junk: bytes, caplog: pytest.LogCaptureFixture):
    """It is told, and counted as cut."""
    _found, source = read(tmp_path / "f", b'{"log":{"entries":[' + junk)
    assert source.cut_at is not None
    assert source.lost_bytes > 0
    assert "after entry 0" in caplog.text


def test_entries_that_cannot_be_read_cost_themselves(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """The others are read, and the log tells which it was."""
    text = json.dumps({"log": {"entries": [BROWSER, {"request": {}}, BROWSER]}})
    found, source = read(tmp_path / "f", text.encode())
    assert len(found) == 4
    assert (source.records, source.refused) == (5, 1)
    assert "entry 2 is no exchange" in caplog.text
