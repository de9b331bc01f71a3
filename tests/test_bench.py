"""The logic of the benchmark: the sink's frames, the slope, the comparison of runs, the folding of stacks."""

import json
import sys
from dataclasses import asdict

import msgpack
import pytest

from emit.wire import chunk_id, frame_head, frame_tail
from scripts.benchmark import charts
from scripts.benchmark.flame import drawn, fold
from scripts.benchmark.pcap import Traffic, read_records, write
from scripts.benchmark.processes import Run, run
from scripts.benchmark.results import Row, compare, find, history, save, slope_ratio, table
from scripts.benchmark.shapes import DISPLACED_BY, SMALL, displace
from scripts.benchmark.sink import Frames, latencies_us


def frame(number: int, records: int, entries: bytes, tag: str = "ringtap.request") -> bytes:
    """Return a frame as the sender makes it."""
    name = chunk_id(b"12345678", number)
    return frame_head(tag) + len(entries).to_bytes(4, "big") + entries + frame_tail(name, records, compressed=False)


def entry(seconds: int, nanos: int) -> bytes:
    """Return one entry of a chunk."""
    moment = msgpack.ExtType(0, seconds.to_bytes(4, "big") + nanos.to_bytes(4, "big"))
    return msgpack.packb([moment, {"kind": "request", "payload": b"GET / HTTP/1.1\r\n\r\n"}])


@pytest.mark.parametrize("step", [1, 2, 7, 64, 1000, 10**6])
def test_the_sink_finds_every_frame_however_the_stream_is_cut(step):
    """A chunk that is not acknowledged stops the sender; one counted wrongly makes the figure false."""
    parts = [entry(1, 2) * 3, b"", b"\x93" * 300, entry(5, 6) * 1000]
    stream = b"".join(frame(at, 10 + at, part, "t" * (5 + 40 * at)) for at, part in enumerate(parts))
    frames = Frames(keep=True)
    ended = [pair for at in range(0, len(stream), step) for pair in frames.feed(memoryview(stream[at : at + step]))]
    assert ended == [(chunk_id(b"12345678", at).encode(), 10 + at) for at in range(len(parts))]
    assert frames.entries == parts


@pytest.mark.parametrize("data", [b"\x92\xa1t", b"\x93\x01\x02", b"\x93\xa1t\x90", bytes(400)])
def test_the_sink_refuses_what_is_not_packed_forward(data):
    """Counting on in a stream that is not understood would give any number."""
    with pytest.raises(ValueError, match="not PackedForward"):
        Frames().feed(memoryview(data))


def test_latency_is_arrival_less_event_time():
    """Seconds and nanoseconds of an EventTime are two numbers of four bytes."""
    found = latencies_us(2_000_000_000 + 5_000_000, entry(2, 0) + entry(1, 999_000_000))
    assert found == [(2_000_000_000, 5000), (1_999_000_000, 6000)]


def test_start_up_does_not_count_in_a_slope():
    """Half a second of start-up would hide a small file's real cost."""
    assert slope_ratio((1.5, 3.5), (0.25, 1.25)) == 2.0


def test_a_base_that_does_not_grow_ends_the_benchmark():
    """A ratio to noise is no figure."""
    with pytest.raises(SystemExit, match="longer files"):
        slope_ratio((1.0, 2.0), (1.0, 1.0))


@pytest.mark.parametrize(
    ("row", "verdict"),
    [
        (Row("p", "n", 2.0, "x", 2.0), "met"),
        (Row("p", "n", 2.1, "x", 2.0), "MISSED"),
        (Row("p", "n", 1.5, "GB", 1.5, at_least=True), "met"),
        (Row("p", "n", 1.4, "GB", 1.5, at_least=True), "MISSED"),
        (Row("p", "n", 9.9, "x"), ""),
    ],
)
def test_a_verdict_knows_which_side_is_good(row, verdict):
    """More gigabytes are better, more seconds are not."""
    assert row.verdict == verdict
    assert verdict in table("title", [row])


def kept(commit: str, rows: list[Row], quick: bool = False) -> dict:
    """Return a run as the history has it."""
    return {
        "date": f"2026-01-0{len(commit)}T00:00:00", "commit": commit, "machine": {"cpu": "c", "cores": 2},
        "quick": quick, "rows": [{**asdict(row), "verdict": row.verdict} for row in rows],
    }  # fmt: skip


def test_compare_shows_changes_and_changed_verdicts():
    """What it is for: to see what a commit did."""
    old = kept("aaa", [Row("main", "null", 2.0, "x", 1.6), Row("main", "gone", 1.0, "x")])
    new = kept("bbbb", [Row("main", "null", 1.5, "x", 1.6), Row("main", "new", 1.0, "x")])
    text = compare(old, new)
    assert "-25%" in text
    assert "MISSED -> met" in text
    assert "gone" not in text
    assert "new" not in text
    assert "different" not in text
    assert "different" in compare(old, {**new, "quick": True})


def test_a_run_is_found_by_number_commit_or_date():
    """Nobody remembers file names."""
    runs = [kept("aaa", []), kept("bbbb", [])]
    assert find(runs, "-1") is runs[1]
    assert find(runs, "aa") is runs[0]
    assert find(runs, "2026-01-04") is runs[1]
    with pytest.raises(SystemExit, match="no such run"):
        find(runs, "c")


def test_a_saved_run_is_in_the_history(tmp_path):
    """Runs are compared over weeks."""
    path = save(tmp_path, [Row("main", "null", 1.5, "x", 1.6)], 12.34, True, {"walls_s": [1]})
    (line,) = history(tmp_path)
    assert line["rows"][0]["verdict"] == "met"
    assert {"cpu", "cores", "kernel"} <= line["machine"].keys()
    assert json.loads(path.read_text()) == {**line, "raw": {"walls_s": [1]}}


def test_charts_are_drawn_from_the_latest_whole_run(tmp_path):
    """Figures of small files are no figures."""
    rows = [
        Row("main", "null", 1.5, "x tcpdump", 1.6),
        Row("cpu", "null: assembler", 0.3, "s"),
        Row("shapes", "10^4 messages", 1.0, "us per message"),
        Row("shapes", "10^5 messages", 0.9, "us per message"),
    ]
    paths = charts.draw([kept("aaa", rows), kept("bbbb", rows), kept("cc", rows, quick=True)], tmp_path)
    assert [path.name for path in paths] == [f"performance-{name}.svg" for name in ("ratios", "sizes", "stages")]
    assert all("commit bbbb" in path.read_text() for path in paths)
    with pytest.raises(SystemExit, match="nothing to draw"):
        charts.draw([kept("cc", rows, quick=True)], tmp_path)


def test_stacks_are_added_up_from_the_outermost_function():
    """perf writes the innermost first."""
    sample = "worker \n\t ffff read (/lib/libc.so.6)\n\t 5555 [unknown] (/usr/bin/python3)\n\n"
    root = fold((sample * 3 + "capture \n\t 1 main (/x)\n").splitlines())
    assert root.samples == 4
    assert root.below["worker"].below["[python3]"].below["read"].samples == 3
    assert "read: 3 samples, 75.0 %" in drawn(root, "title")


def test_displaced_segments_stay_within_reach(tmp_path):
    """Every tenth is late by up to a thousand places; all others keep their order."""
    path = tmp_path / "a.pcap"
    traffic = Traffic(SMALL.request, SMALL.response, connections=10, exchanges=300)
    with path.open("wb") as file:
        write(file, traffic)
    before = [record[16:] for record in read_records(path)]
    displace(path, traffic)
    after = [record[16:] for record in read_records(path)]
    place = {record: at for at, record in enumerate(after)}
    assert sorted(before) == sorted(after)
    late = {at for at, record in enumerate(before) if place[record] > at}
    assert len(late) > len(before) // 20
    assert max(place[record] - at for at, record in enumerate(before)) <= DISPLACED_BY
    rest = [place[record] for at, record in enumerate(before) if at % 10]
    assert rest == sorted(rest)


def test_cpu_time_of_every_python_process_is_known():
    """Children are gone before anybody could look them up in /proc."""
    child = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'sum(range(10**6))'], check=True)"
    result = run([sys.executable, "-c", child])
    assert isinstance(result, Run)
    assert result.total_cpu_s > 0.01
    assert result.cpu_of("py") == result.total_cpu_s


def test_a_command_that_fails_ends_the_benchmark_with_what_it_said():
    """A figure of a run that failed is worse than none."""
    with pytest.raises(SystemExit, match="out of paper"):
        run([sys.executable, "-c", "raise SystemExit('out of paper')"])
