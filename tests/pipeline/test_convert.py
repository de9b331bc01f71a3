"""`pipeline convert` as people type it: what comes out, what is said, what is refused."""

import json
import os
from pathlib import Path

import pytest

from emit.library import MessageWriter, open_messages
from pipeline.convert import same
from tests.emit.builders import conversation, request, response
from tests.integration.jobs import errors, exchanges, finished, pipeline, start
from tests.packets_files import write_pcap
from tests.pipeline.test_cli import call


def recorded(path: Path, count: int = 20) -> Path:
    """Write a file of messages."""
    with MessageWriter(str(path)) as writer:
        for message in conversation(count):
            writer.write(message)
    return path


def ids(path: Path) -> list[tuple[int, str]]:
    """Return what is in a file."""
    return [(message.id, message.kind) for message in open_messages(str(path))]


@pytest.mark.parametrize("source", ["a.rec", "a.jsonl", "a.gor", "a.har"])
@pytest.mark.parametrize("target", ["b.rec", "b.jsonl", "b.gor", "b.har"])
def test_every_format_becomes_every_other(tmp_path: Path, source: str, target: str):
    """In two lines: what was read, what was written."""
    wanted = ids(recorded(tmp_path / source))
    done = pipeline(tmp_path, "convert", source, target)
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert lines[0] == f"read 20 messages from {source}"
    assert lines[1].startswith(f"wrote 20 messages to {target}")
    assert ("addresses and ports are not in it" in lines[1]) == target.endswith(".gor")
    assert len(lines) == 2
    assert ids(tmp_path / target) == wanted


def test_captures_are_converted_too(tmp_path: Path):
    """By the assembler; the ports are its own."""
    write_pcap(tmp_path / "a.pcap", exchanges(30))
    done = pipeline(tmp_path, "convert", "a.pcap", "a.rec", "--port", "80", "--compression", "zstd")
    assert (done.returncode, done.stderr.splitlines()[0]) == (0, "read 60 messages from a.pcap")
    assert len(ids(tmp_path / "a.rec")) == 60


def test_several_are_merged_and_what_is_there_is_appended_to(tmp_path: Path):
    """A second conversion truncates nothing."""
    for name in ("a.rec", "b.gor"):
        recorded(tmp_path / name)
    for runs in (1, 2):
        assert pipeline(tmp_path, "convert", "a.rec", "b.gor", "c.jsonl").returncode == 0
        assert len(ids(tmp_path / "c.jsonl")) == 40 * runs


def test_standard_input_and_output_are_files_too(tmp_path: Path):
    """Lines if nothing is said, any other format by its name; data only on standard output."""
    recorded(tmp_path / "a.rec")
    with (tmp_path / "a.rec").open("rb") as file:
        done = finished(start(tmp_path, "convert", "-", "-", stdin=file.fileno()))
    assert done.returncode == 0
    assert len([json.loads(line) for line in done.stdout.splitlines()]) == 20
    assert done.stderr.splitlines()[-1] == "wrote 20 messages to standard output"
    done = pipeline(tmp_path, "convert", "a.rec", "-", "--format", "har")
    assert len(json.loads(done.stdout)["log"]["entries"]) == 10
    os.mkfifo(tmp_path / "pipe")
    job = start(tmp_path, "convert", "pipe", "b.har")
    with (tmp_path / "pipe").open("wb") as pipe:
        pipe.write((tmp_path / "a.rec").read_bytes())
    assert finished(job).returncode == 0
    assert len(ids(tmp_path / "b.har")) == 20


def test_a_part_is_converted(tmp_path: Path):
    """From a moment to another, of what an expression wants; the rest is counted."""
    with MessageWriter(str(tmp_path / "a.rec")) as writer:
        for at in range(10):
            ns = (1_000_000_000 + at) * 10**9
            writer.write(request(at, first_ns=ns, last_ns=ns, target=f"/{at % 2}"))
            writer.write(response(at, first_ns=ns, last_ns=ns))
    args = ("--start", "+2s", "--end", "2001-09-09T01:46:48Z", "--where", "path == '/1'")
    done = pipeline(tmp_path, "convert", "a.rec", "b.jsonl", *args)
    assert done.stderr.splitlines() == [
        "read 12 messages from a.rec", "wrote 6 messages to b.jsonl; 6 were not wanted",
    ]  # fmt: skip
    assert [message.id for message in open_messages(str(tmp_path / "b.jsonl"))] == [3, 3, 5, 5, 7, 7]


def test_what_a_format_cannot_hold_is_said(tmp_path: Path):
    """With how many messages that costs; --strict makes it an exit code."""
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"
    with MessageWriter(str(tmp_path / "a.rec")) as writer:
        writer.write(response(1).replace(payload=chunked, head=47))
        writer.write(request(2, "\n🐵🙈🙉\n".encode()))
        writer.write(request(3, complete=False, missing=5))
    done = pipeline(tmp_path, "convert", "a.rec", "b.har", "--strict")
    assert done.returncode == 0
    assert done.stderr.splitlines()[-1].startswith("wrote 3 messages to b.har; 1 changed: bodies in chunks")
    done = pipeline(tmp_path, "convert", "a.rec", "b.gor", "--strict")
    assert done.returncode == 3
    assert (
        "wrote 2 messages to b.gor; 1 could not be written; addresses and ports are not in it, "
        "nor that 1 messages are not complete" in done.stderr
    )


def test_what_cannot_be_read_is_counted(tmp_path: Path):
    """In the line about what was read, and for --strict."""
    path = recorded(tmp_path / "a.jsonl")
    path.write_bytes(path.read_bytes() + b'{"a":1}\n{"b')
    done = pipeline(tmp_path, "convert", "a.jsonl", "b.rec", "--strict")
    assert done.returncode == 3
    assert "read 20 messages from a.jsonl; 1 files of messages that are cut" in done.stderr
    assert "1 records refused" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("a.rec",), "write at least two files"),
        (("a.rec", "b"), "b: write --format, or a name that ends with .rec"),
        (("a.rec", "./a.rec"), "./a.rec: is one of the files that are read"),
        (("a.rec", "link.rec"), "link.rec: is one of the files that are read"),
        (("a.pcap", "b.rec", "--start", "+1s"), "--start: captures are read as a whole"),
        (("a.rec", "b.rec", "--port", "80"), "--port: is about captures"),
        (("a.rec", "b.rec", "--start", "noon"), "convert: input.start: "),
        (("a.rec", "b.rec", "--where", "path =="), "convert: output.0.where: "),
        (("a.rec", "b.gor", "--compression", "gzip"), "convert: output.0.compression: "),
        (("a.rec", "b.x", "--format", "xml"), "Invalid value for '--format'"),
    ],
)
def test_wrong_wishes_are_one_line_and_exit_code_2(tmp_path, monkeypatch, capsys, arguments, said):
    """Before anything is read or written."""
    monkeypatch.chdir(tmp_path)
    recorded(tmp_path / "a.rec")
    os.link(tmp_path / "a.rec", tmp_path / "link.rec")
    write_pcap(tmp_path / "a.pcap", exchanges(1))
    before = sorted(path.name for path in tmp_path.iterdir())
    assert call("convert", *arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"pipeline: error: {said}")
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_files_that_are_not_there_or_not_ours_are_exit_code_1(tmp_path: Path):
    """In one line, and the target is not made."""
    (tmp_path / "notes").write_text("my only copy")
    for name, said in (("none.rec", "none.rec: no such file"), ("notes", "notes: ")):
        done = pipeline(tmp_path, "convert", name, "b.rec")
        assert done.returncode == 1
        assert any(each.startswith(said) for each in errors(done)), done.stderr
    (tmp_path / "c.har").write_text("{}")
    recorded(tmp_path / "a.rec")
    done = pipeline(tmp_path, "convert", "a.rec", "c.har")
    assert done.returncode == 1
    assert "stays as it is" in done.stderr
    assert (tmp_path / "c.har").read_text() == "{}"


def test_two_names_of_one_file_are_told(tmp_path: Path):
    """And standard input is none."""
    path = recorded(tmp_path / "a.rec")
    assert same(str(path), str(tmp_path / "." / "a.rec"))
    assert not same("-", str(path))
    assert not same(str(path), str(tmp_path / "none"))
