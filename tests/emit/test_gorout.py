"""Appending in GoReplay's format."""

import os
from pathlib import Path

import pytest

from emit.gor import SEPARATOR
from tests.emit.builders import conversation, request, ring_of
from tests.emit.test_file import run
from tests.emit.test_formats import as_gor, read
from tests.emit.test_wholeout import output


def test_files_are_those_of_goreplay(tmp_path: Path):
    """To the byte."""
    run(output(tmp_path / "f", ring_of(conversation(20)), "gor"))
    assert (tmp_path / "f").read_bytes() == as_gor(conversation(20))


def test_messages_with_the_separator_are_counted_and_not_written(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """GoReplay would take one for two."""
    made = [request(1), request(2, SEPARATOR), request(3, SEPARATOR[1:] * 2), request(4)]
    out = output(tmp_path / "f", ring_of(made), "gor")
    run(out)
    assert [each.id for each in read(tmp_path / "f")[0]] == [1, 4]
    assert (out.tally.delivered, out.tally.undelivered, out.failure) == (2, 2, None)
    assert caplog.text.count("it has the three monkeys in it") == 1


def test_what_the_format_cannot_say_is_counted(tmp_path: Path):
    """Nobody can tell from the file that something is missing."""
    out = output(tmp_path / "f", ring_of([request(1), request(2, complete=False, missing=7)]), "gor")
    run(out)
    assert (out.tally.delivered, out.counters["output0_altered"]) == (2, 1)


def test_a_file_of_goreplay_is_gone_on_with(tmp_path: Path):
    """Also one that has never had an end."""
    whole = b"1 beb21f410a93305bf711861e 1678172411997745000 28000\nGET / HTTP/1.1\r\n\r\n" + SEPARATOR
    (tmp_path / "f").write_bytes(whole + whole[:-5])
    run(output(tmp_path / "f", ring_of(conversation(2)), "gor"))
    assert (tmp_path / "f").read_bytes() == whole + as_gor(conversation(2))


def test_a_pipe_gets_all_of_it(tmp_path: Path):
    """Whoever reads it may store it."""
    os.mkfifo(tmp_path / "pipe")
    far = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    run(output(tmp_path / "pipe", ring_of(conversation(50)), "gor"))
    assert os.read(far, 1 << 16) == as_gor(conversation(50))
    os.close(far)
