"""The command line: one line per error, exit codes, nothing heavy where nothing heavy is needed."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.cli import _output, run_command_line
from tests.integration.jobs import exchanges
from tests.packets_files import write_pcap


def call(*arguments: str) -> int:
    """Run one command in this process and return its exit code."""
    with pytest.raises(SystemExit) as ended:
        run_command_line(arguments)
    return int(ended.value.code or 0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("frob",), "No such command 'frob'."),
        (("run",), "Missing option '--config' / '-c'."),
        (
            ("run", "--config", "none.toml"),
            "none.toml: cannot be read: No such file or directory; `pipeline init` writes one",
        ),
        (("receive",), '--to: missing; write a file name, a URL, "-" for standard output, or "null"'),
        (
            ("receive", "--to", "ftp://x"),
            'receive: output.0.address: "ftp://x" is not possible; write a URL like "http://',
        ),
        (("receive", "--to", "null", "--listen", "x"), "receive: input.listen: "),
        (("inspect", "no.pcap", "--frame", "0"), "Invalid value for '--frame'"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(capsys, monkeypatch, tmp_path, arguments, said):
    """No box, no traceback, no page of help."""
    monkeypatch.chdir(tmp_path)
    assert call(*arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"pipeline: error: {said}")


def test_a_missing_capture_is_exit_code_1(capsys):
    """The command was right; the file is not there."""
    assert call("inspect", "no.pcap") == 1
    assert capsys.readouterr().err == "pipeline: error: no.pcap: no such file\n"


def test_version_and_help(capsys):
    """Both go to standard output."""
    assert call("--version") == 0
    assert capsys.readouterr().out.startswith("ringtap ")
    assert call("--help") == 0
    shown = capsys.readouterr().out
    assert all(command in shown for command in ("run", "check", "init", "inspect", "receive", "replay", "convert"))


def test_init_writes_what_check_accepts_and_never_overwrites(capsys, monkeypatch, tmp_path):
    """The first two commands of a new user."""
    monkeypatch.chdir(tmp_path)
    write_pcap(tmp_path / "capture.pcap", exchanges(1))
    assert call("init") == 0
    written = (tmp_path / "mirror.toml").read_text()
    assert call("check", "--config", "mirror.toml") == 0
    assert "The configuration is valid." in capsys.readouterr().out
    assert call("init") == 2
    assert "exists already and is left as it is" in capsys.readouterr().err
    assert (tmp_path / "mirror.toml").read_text() == written
    assert call("init", "no/such/directory/m.toml") == 1


def test_children_and_help_load_nothing_heavy():
    """A spawned child imports the main module again: what that loads, every child would pay for."""
    code = "import sys, pipeline.__main__; print(sorted({'typer', 'pydantic', 'rich'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert found.stdout == "[]\n"
    stages = code.replace("pipeline.__main__", "capture.process, assemble.process, emit.worker")
    found = subprocess.run([sys.executable, "-c", stages], capture_output=True, text=True, check=True, timeout=30)
    assert found.stdout == "[]\n"


def test_a_reader_that_goes_away_is_no_traceback(tmp_path):
    """`pipeline inspect … | head` ends quietly."""
    path = write_pcap(tmp_path / "shop.pcap", exchanges(2000))
    command = Path(sys.executable).parent / "pipeline"
    job = subprocess.Popen([command, "inspect", str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert job.stdout is not None
    assert job.stderr is not None
    assert job.stdout.readline().startswith(b"time (UTC)")
    job.stdout.close()
    said = job.stderr.read()
    job.stderr.close()
    assert job.wait(timeout=30) == 1
    assert said == b""


@pytest.mark.parametrize(
    ("to", "kind"),
    [("a.rec", "recording"), ("a.jsonl", "jsonl"), ("a.gor", "gor"), ("a.har", "har"), ("messages", "jsonl")],
)
def test_what_is_received_is_stored_as_the_name_says(to, kind):
    """And as lines, if it says nothing."""
    assert _output(to) == {"type": "file", "path": to, "format": kind}
