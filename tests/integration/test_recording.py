"""Recordings in whole runs: written by several workers, read again, cut short."""

import json
from pathlib import Path

import pytest

from assemble.message import Message, read_message
from emit.recording import Reader
from tests.emit.builders import as_line, read_lines
from tests.integration.jobs import configuration, errors, exchanges, pipeline, reading, writing
from tests.packets_files import write_pcap

WORKERS = "\n[workers]\ncount = 2\n"


def recording(path: str, compression: str = "none") -> str:
    """The output table that writes a recording."""
    return f'type = "file"\npath = "{path}"\nformat = "recording"\ncompression = "{compression}"'


def recorded(path: Path) -> list[Message]:
    """Read a recording as a library does."""
    with Reader(str(path)) as reader:
        return [read_message(record) for record in reader]


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_a_capture_becomes_a_recording_of_all_its_messages(tmp_path, compression):
    """The same as the JSON Lines beside it, by two workers in one file; a second run appends."""
    write_pcap(tmp_path / "shop.pcap", exchanges(300))
    outputs = recording("shop.rec", compression), writing("shop.jsonl")
    config = configuration(tmp_path / "m.toml", reading("shop.pcap") + WORKERS, *outputs)
    for runs in (1, 2):
        done = pipeline(tmp_path, "run", "--config", config, "--ledger", "ledger.json", "--strict")
        assert (done.returncode, errors(done)) == (0, [])
        assert json.loads((tmp_path / "ledger.json").read_text())["closed"]
        found = [as_line(message) for message in recorded(tmp_path / "shop.rec")]
        assert len(found) == 600 * runs
        lines = read_lines((tmp_path / "shop.jsonl").read_bytes())
        assert sorted(map(str, found)) == sorted(map(str, lines))


def test_a_file_that_is_no_recording_is_left_and_named(tmp_path):
    """A typing mistake in a path must not cost a file."""
    write_pcap(tmp_path / "shop.pcap", exchanges(3))
    (tmp_path / "notes.txt").write_text("my only copy")
    config = configuration(tmp_path / "m.toml", reading("shop.pcap"), recording("notes.txt"))
    done = pipeline(tmp_path, "run", "--config", config)
    assert done.returncode == 1
    assert "it is not a recording and stays as it is" in done.stderr
    assert (tmp_path / "notes.txt").read_text() == "my only copy"


def replaying(path: str) -> str:
    """The input table that reads recordings."""
    return f'type = "file"\npath = "{path}"'


def record(directory: Path, count: int = 300) -> Path:
    """Record some exchanges, and have them as JSON Lines too."""
    write_pcap(directory / "shop.pcap", exchanges(count))
    config = configuration(directory / "w.toml", reading("shop.pcap"), recording("shop.rec"), writing("shop.jsonl"))
    assert pipeline(directory, "run", "--config", config, "--strict").returncode == 0
    return directory / "shop.rec"


def test_a_recording_read_again_gives_the_same_lines(tmp_path):
    """Byte for byte what the first run gave."""
    record(tmp_path)
    config = configuration(tmp_path / "r.toml", replaying("shop.rec"), writing("again.jsonl"))
    done = pipeline(tmp_path, "run", "--config", config, "--ledger", "ledger.json", "--strict")
    assert (done.returncode, errors(done)) == (0, [])
    assert "reading shop.rec" in done.stderr
    assert "records read" in done.stderr
    assert "nothing was lost" in done.stderr
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "shop.jsonl").read_bytes()
    ledger = json.loads((tmp_path / "ledger.json").read_text())
    assert ledger["counters"]["reader"]["messages"] == 600


def test_a_recording_that_is_cut_is_read_to_the_cut(tmp_path):
    """A warning that says where, a loss in the ledger, and 3 with --strict."""
    path = record(tmp_path)
    path.write_bytes(path.read_bytes()[:-100])
    config = configuration(tmp_path / "r.toml", replaying("shop.rec"), writing("again.jsonl"))
    done = pipeline(tmp_path, "run", "--config", config, "--strict")
    assert done.returncode == 3
    assert "the recording is cut at byte" in done.stderr
    assert "1 files of messages that are cut" in done.stderr
    again, lines = (read_lines((tmp_path / name).read_bytes()) for name in ("again.jsonl", "shop.jsonl"))
    assert len(again) < len(lines)
    assert again == lines[: len(again)]


def test_a_missing_recording_is_one_line(tmp_path):
    """Before any process is started."""
    config = configuration(tmp_path / "r.toml", replaying("none.rec"), writing("o.jsonl"))
    done = pipeline(tmp_path, "run", "--config", config)
    assert (done.returncode, errors(done)) == (1, ["none.rec: no such file"])
