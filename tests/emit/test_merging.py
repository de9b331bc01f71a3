"""Several files as one stream, with few of them open; parts of it; again and again."""

import itertools
import logging
import os
import resource
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assemble.message import Message, read_message
from capture.errors import SourceError
from capture.streams import Stop
from emit.merging import Merge
from emit.selection import FOREVER, Moment, Selection
from tests.emit.builders import conversation, request
from tests.emit.test_formats import as_gor, as_har, as_jsonl
from tests.emit.test_recording import write

SECOND = 1_000_000_000


def merged(*paths: Path, **selection: Any) -> list[Message]:
    """Read files to their end."""
    merge = Merge([str(path) for path in paths], Selection(**selection))
    try:
        found = [read_message(entry.record) for entry in merge.entries()]
        assert merge.active == {}
        assert merge.counts["records"] >= len(found)
        return found
    finally:
        merge.close()


def timed(*times: int, number: int = 0) -> list[Message]:
    """Make requests that began and were whole at these times."""
    return [request(number + at, first_ns=ns, last_ns=ns) for at, ns in enumerate(times)]


@given(times=st.lists(st.lists(st.integers(0, 50), max_size=12), min_size=1, max_size=6))
def test_files_are_merged_as_if_all_were_sorted(tmp_path_factory: pytest.TempPathFactory, times: list[list[int]]):
    """Equal times come in the order of the files."""
    directory = tmp_path_factory.mktemp("m")
    made = [timed(*sorted(each), number=100 * at) for at, each in enumerate(times)]
    for at, each in enumerate(made):
        (directory / str(at)).write_bytes(as_jsonl(each))
    wanted = sorted(itertools.chain(*made), key=lambda message: message.last_ns)
    assert merged(*(directory / str(at) for at in range(len(made)))) == wanted


def test_formats_are_merged_with_each_other(tmp_path: Path):
    """What was recorded with another tool is no other evening."""
    write(tmp_path / "a", timed(10, 50))
    for at, (name, to_bytes) in enumerate({"b": as_jsonl, "c": as_gor, "d": as_har}.items()):
        (tmp_path / name).write_bytes(to_bytes(timed(20 + at, 60 + at, number=10 * at + 10)))
    assert [each.id for each in merged(*(tmp_path / name for name in "abcd"))] == [0, 10, 20, 30, 1, 11, 21, 31]


def test_files_that_follow_each_other_are_not_open_together(tmp_path: Path):
    """A day in rotated files may be thousands of them, and a process may open a thousand."""
    files = 300
    paths = [write(tmp_path / f"{at:03}", timed(10 * at, 10 * at + 9, number=2 * at)) for at in range(files)]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 20, hard))
    try:
        found = merged(*reversed(paths))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert [each.id for each in found] == list(range(2 * files))


def test_the_order_of_one_recording_is_kept(tmp_path: Path):
    """Responses come after their requests, whatever their times say."""
    made = timed(50, 10, 30, 20)
    assert merged(write(tmp_path / "r", made)) == made


@pytest.mark.parametrize("to_file", ["recording", "jsonl"])
def test_from_one_moment_to_another(tmp_path: Path, to_file: str):
    """About when a message began; half-open; times, or counted from the first message of all."""
    made = [timed(*(SECOND * each for each in (100, 110, 120))), timed(*(SECOND * each for each in (105, 115, 125)))]
    for at, each in enumerate(made):
        if to_file == "recording":
            write(tmp_path / str(at), each, each=1)
        else:
            (tmp_path / str(at)).write_bytes(as_jsonl(each))
    for start in (Moment(110 * SECOND), Moment(10 * SECOND, True)):
        for end in (Moment(120 * SECOND), Moment(20 * SECOND, True)):
            found = merged(tmp_path / "0", tmp_path / "1", start=start, end=end)
            assert [each.first_ns // SECOND for each in found] == [110, 115]


def test_rounds_follow_each_other(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """Each is the whole of all files; faults are told in the first one only."""
    caplog.set_level(logging.WARNING)
    (tmp_path / "a").write_bytes(as_jsonl(timed(0, 40)) + b"nonsense\n")
    (tmp_path / "b").write_bytes(as_jsonl(timed(10, 20, 30, number=5)))
    found = merged(tmp_path / "a", tmp_path / "b", loop=3)
    assert [each.first_ns for each in found] == [10 * at for at in range(15)]
    assert len({each.id for each in found}) == 15
    assert caplog.text.count("line 3") == 1


def test_for_ever_is_as_long_as_somebody_reads(tmp_path: Path):
    """And of files without a message, not at all."""
    (tmp_path / "a").write_bytes(as_jsonl(timed(0, 10)))
    merge = Merge([str(tmp_path / "a")], Selection(loop=FOREVER))
    first = list(itertools.islice(merge.entries(), 2000))
    merge.close()
    assert [each.first_ns for each in first] == [10 * at for at in range(2000)]
    (tmp_path / "a").write_bytes(b"")
    assert merged(tmp_path / "a", loop=FOREVER) == []


def test_long_gaps_are_shortened_over_all_files(tmp_path: Path):
    """What another file has in between is no gap."""
    (tmp_path / "a").write_bytes(as_jsonl(timed(0, 1000)))
    (tmp_path / "b").write_bytes(as_jsonl(timed(500, 5000, number=5)))
    found = merged(tmp_path / "a", tmp_path / "b", longest_gap_ns=600)
    assert [each.first_ns for each in found] == [0, 500, 1000, 1600]


def test_all_files_are_judged_before_the_first_message(tmp_path: Path):
    """A wrong name among many is found at once, and nothing stays open."""
    write(tmp_path / "a", timed(1))
    (tmp_path / "b").write_text("my only copy")
    before = os.listdir("/proc/self/fd")
    with pytest.raises(SourceError, match="b: is not a recording"):
        Merge([str(tmp_path / name) for name in ("a", "b")])
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_what_is_counted_is_that_of_all_files(tmp_path: Path):
    """Also of those that are closed again."""
    write(tmp_path / "a", conversation(20), each=2)
    os.truncate(tmp_path / "a", (tmp_path / "a").stat().st_size - 3)
    (tmp_path / "b").write_bytes(as_jsonl(conversation(4)) + b"{}\n")
    merge = Merge([str(tmp_path / "a"), str(tmp_path / "b")])
    found = list(merge.entries())
    merge.close()
    assert len(found) == 18 + 4
    counts = merge.counts
    assert (counts["records"], counts["records_refused"], counts["recordings_cut"]) == (23, 1, 1)
    assert counts["bytes_read"] == merge.bytes_total


def test_memory_does_not_grow_with_the_files(tmp_path: Path):
    """A recording of a million messages is read in the memory of a few blocks."""
    paths = [write(tmp_path / str(at), conversation(15_000, 800), each=1000) for at in range(2)]
    assert sum(path.stat().st_size for path in paths) > 16_000_000
    merge = Merge([str(path) for path in paths])
    tracemalloc.start()
    try:
        assert sum(1 for _ in merge.entries()) == 30_000
        assert tracemalloc.get_traced_memory()[1] < 6_000_000
    finally:
        tracemalloc.stop()
        merge.close()


def test_rounds_end_when_the_files_have_become_empty(tmp_path: Path):
    """Or when that is wanted: nobody is to wait for a message that never comes."""
    (tmp_path / "a").write_bytes(as_jsonl(timed(0, 10)))
    for wish in (lambda _stop: (tmp_path / "a").write_bytes(b""), Stop.set):
        (tmp_path / "a").write_bytes(as_jsonl(timed(0, 10)))
        stop = Stop()
        merge = Merge([str(tmp_path / "a")], Selection(loop=FOREVER), stop)
        found = merge.entries()
        assert len(list(itertools.islice(found, 20))) == 20
        wish(stop)
        assert len(list(found)) < 3
        merge.close()
        stop.close()
