"""Formats in whole runs: written by several workers, in files that follow each other, killed, and read again."""

import json
import os
import signal
from collections import Counter
from pathlib import Path

import pytest

from assemble.message import Message
from emit.formats import open_source
from emit.library import MessageWriter, open_messages
from tests.emit.builders import conversation
from tests.integration.jobs import (
    START_NS,
    all_gone,
    configuration,
    errors,
    exchanges,
    finished,
    pipeline,
    processes_under,
    reading,
    start,
    wait_until,
    watching,
)
from tests.packets_files import write_pcap

KINDS = ("jsonl", "recording", "gor", "har")


def writing(path: str, kind: str, more: str = "") -> str:
    """The output table that writes a format."""
    return f'type = "file"\npath = "{path}"\nformat = "{kind}"\n{more}'


def replaying(path: str, more: str = "") -> str:
    """The input table that reads files of messages."""
    return f'type = "file"\npath = "{path}"\n{more}'


def held(directory: Path) -> dict[str, Counter[tuple[int, str]]]:
    """Return what is in each file below a directory, by id and kind."""
    paths = sorted(path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): count(list(open_messages(str(path)))) for path in paths}


def count(messages: list[Message]) -> Counter[tuple[int, str]]:
    """Count messages by id and kind."""
    return Counter((message.id, message.kind) for message in messages)


@pytest.mark.parametrize("kind", KINDS)
def test_files_depend_on_the_traffic_alone(tmp_path, kind):
    """Not on the number of workers, nor on when it is run; every message is in the file of its own time."""
    frames = [(ts_ns + number // 600 * 61 * 10**9, data) for number, (ts_ns, data) in enumerate(exchanges(300))]
    write_pcap(tmp_path / "shop.pcap", frames)
    found = []
    for workers in (1, 3):
        source = f"{reading('shop.pcap')}\n[workers]\ncount = {workers}\n"
        config = configuration(tmp_path / "m.toml", source, writing(f"w{workers}/%Y-%m-%d/%H%M.x", kind))
        done = pipeline(tmp_path, "run", "--config", config, "--strict")
        assert (done.returncode, errors(done)) == (0, [])
        found.append(held(tmp_path / f"w{workers}"))
    assert found[0] == found[1]
    assert list(found[0]) == [f"2023-11-14/22{minute}.x" for minute in (13, 14, 15)]
    assert START_NS == 1_700_000_000 * 10**9
    assert sum(each.total() for each in found[0].values()) == 600


@pytest.mark.parametrize("kind", KINDS)
def test_full_files_are_followed_by_others(tmp_path, kind):
    """By three workers together: nothing is lost, nothing doubled, and a pattern reads them all again."""
    write_pcap(tmp_path / "shop.pcap", exchanges(600))
    output = writing("out/m.x", kind, 'rotate_size = "16KiB"')
    (tmp_path / "out").mkdir()
    config = configuration(tmp_path / "m.toml", f"{reading('shop.pcap')}\n[workers]\ncount = 3\n", output)
    done = pipeline(tmp_path, "run", "--config", config, "--strict")
    assert (done.returncode, errors(done)) == (0, [])
    files = held(tmp_path / "out")
    assert len(files) > 5
    assert sum(files.values(), Counter()).total() == len(sum(files.values(), Counter())) == 1200
    again = configuration(tmp_path / "r.toml", replaying("out/*"), writing("again.jsonl", "jsonl"))
    assert pipeline(tmp_path, "run", "--config", again, "--strict").returncode == 0
    assert count(list(open_messages(str(tmp_path / "again.jsonl")))) == sum(files.values(), Counter())


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_is_killed_leaves_whole_messages(tmp_path, kind):
    """At any moment, with two workers; what is appended afterwards is read behind them."""
    with MessageWriter(str(tmp_path / "shop.rec")) as writer:
        for message in conversation(3000):
            writer.write(message)
    source = replaying("shop.rec", 'loop = "forever"\n[workers]\ncount = 2\n')
    config = configuration(tmp_path / "m.toml", source, writing("out", kind))
    job = start(tmp_path, "run", "--config", config)
    try:
        wait_until(lambda: (tmp_path / "out").exists() and (tmp_path / "out").stat().st_size > 3_000_000, "some output")
        children = processes_under(job.pid)
        with watching(children) as pids:
            os.killpg(job.pid, signal.SIGKILL)
            assert all_gone(pids)
    finally:
        finished(job)
    with open_source(str(tmp_path / "out"), kind) as whole:  # type: ignore[arg-type]
        before = sum(1 for _ in whole)
    assert before > 1000
    assert whole.refused == 0
    again = configuration(tmp_path / "r.toml", replaying("shop.rec"), writing("out", kind))
    done = pipeline(tmp_path, "run", "--config", again, "--strict")
    assert (done.returncode, errors(done)) == (0, [])
    with open_source(str(tmp_path / "out")) as source:
        assert sum(1 for _ in source) == before + 3000
    assert source.cut_at is None
    assert source.refused <= 1  # of lines: what was cut stays, with an end
    if kind == "har":
        assert json.loads((tmp_path / "out").read_bytes())["log"]["version"] == "1.2"


def test_a_load_without_an_end_is_stopped_and_adds_up(tmp_path):
    """What was read is what was written, to the message."""
    with MessageWriter(str(tmp_path / "a.gor")) as writer:
        for message in conversation(10):
            writer.write(message)
    config = configuration(tmp_path / "m.toml", replaying("a.gor", 'loop = "forever"'), writing("out", "jsonl"))
    job = start(tmp_path, "run", "--config", config, "--ledger", "ledger.json", "--strict")
    wait_until(lambda: (tmp_path / "out").exists() and (tmp_path / "out").stat().st_size > 1_000_000, "some output")
    job.send_signal(signal.SIGINT)
    done = finished(job)
    assert done.returncode == 0, done.stderr
    ledger = json.loads((tmp_path / "ledger.json").read_text())
    assert ledger["closed"]
    assert len((tmp_path / "out").read_bytes().splitlines()) == ledger["counters"]["reader"]["messages"]


def test_several_formats_are_one_stream(tmp_path):
    """By time, whatever they are and however they are packed; from a moment, in rounds."""
    for at, name in enumerate(("a.rec", "b.jsonl", "c.gor", "d.har")):
        with MessageWriter(str(tmp_path / name)) as writer:
            for message in conversation(4):
                ns = START_NS + (message.id * 10 + at) * 10**9
                writer.write(message.replace(id=10 * at + message.id, first_ns=ns, last_ns=ns))
    source = replaying("[a-d].*", 'start = "+2s"\nend = "+13s"\nloop = 2\nlongest_gap = "3s"')
    config = configuration(tmp_path / "m.toml", source, writing("out", "jsonl"))
    done = pipeline(tmp_path, "run", "--config", config, "--strict")
    assert (done.returncode, errors(done)) == (0, [])
    found = list(open_messages(str(tmp_path / "out")))
    first = [(message.id, (message.first_ns - START_NS) // 10**9) for message in found[:10:2]]
    assert first == [(20, 2), (30, 3), (1, 6), (11, 7), (21, 8)]
    assert len(found) == 20
    assert found[10].first_ns > found[9].first_ns
    assert {message.id for message in found[:10]}.isdisjoint({message.id for message in found[10:]})
