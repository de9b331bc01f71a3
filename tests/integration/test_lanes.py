"""Runs with several lanes: the result of one lane, message by message and count by count, however the run ends."""

import json
import os
import signal
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

from pipeline.ledger import LOSSES
from tests.integration.jobs import (
    configuration,
    errors,
    exchange,
    finished,
    messages,
    pipeline,
    processes_under,
    reading,
    start,
    wait_until,
    writing,
)
from tests.integration.test_run import feed
from tests.packets_files import pcap, write_pcap
from tests.splitting import without_levels
from tests.talks import CLIENT, SERVER, START_NS, Talk
from tests.test_envelopes import enveloped

SHOP = Path(__file__).parents[2] / "examples" / "shop.pcap"


def wrapped(path: Path) -> Path:
    """Write connections in tunnels and fragments, with holes, and pieces of which nothing whole becomes."""
    frames = []
    for number in range(24):
        talk = Talk(20_000 + number, f"192.0.2.{number + 1}", now_ns=START_NS + number * 9_000_000).open()
        for step in range(6):
            talk.put(CLIENT, b"GET /%d/%d HTTP/1.1\r\n\r\n" % (number, step))
            talk.wait(0.3)
            if number % 7 == 3 and step == 2:
                talk.lose(SERVER, 40)
            talk.say(SERVER, b"HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n" + bytes([number]) * 3000)
        frames += talk.close().frames
    frames.sort(key=lambda each: each[0])
    rng = Random(5)
    parts = [each for at in range(0, len(frames), 50) for each in enveloped(frames[at : at + 50], rng)]
    return write_pcap(path, [each for at, each in enumerate(parts) if at % 97])


def by_flow(path: Path) -> dict[Any, list[str]]:
    """Return the messages of each connection in their order, without those of the other direction between them."""
    found: dict[Any, list[str]] = {}
    for line in path.read_text().splitlines():
        read = json.loads(line)
        ends = (read["src"], read["sport"]), (read["dst"], read["dport"])
        found.setdefault(tuple(sorted(ends)), []).append(line)
    return found


def result(directory: Path, source: Path, lanes: int, *changes: str) -> tuple[dict[Any, list[str]], dict[str, Any]]:
    """Run over a capture and return its messages by connection, and its ledger."""
    name = f"{source.stem}-{lanes}"
    config = configuration(directory / "m.toml", f"{reading(source)}\nlanes = {lanes}", writing(f"{name}.jsonl"))
    options = [option for each in changes for option in ("--set", each)]
    done = pipeline(directory, "run", "--config", config, "--ledger", f"{name}.json", *options)
    assert done.returncode == 0, done.stderr
    return by_flow(directory / f"{name}.jsonl"), json.loads((directory / f"{name}.json").read_text())


SMALL = ("workers.count=2", "ring.frames='1MiB'", "ring.batch_bytes='8KiB'", "ring.batch_frames=50")


@pytest.mark.parametrize("changes", [(), SMALL], ids=["as-it-comes", "two-workers-small-rings"])
@pytest.mark.parametrize("name", ["shop", "wrapped"])
def test_lanes_do_not_show_in_the_result(tmp_path, name, changes):
    """The same messages, each connection's in their order, and a ledger that says the same in every row."""
    source = SHOP if name == "shop" else wrapped(tmp_path / "wrapped.pcap")
    wanted, books = result(tmp_path, source, 1, *changes)
    assert len(wanted) > 10
    assert "parts" not in books["counters"]
    if name == "wrapped":
        assert books["counters"]["assemble"]["frames_joined"] > 100
        assert books["counters"]["assemble"]["refused_ip_fragment"] > 0
        assert books["counters"]["assemble"]["holes"] > 0
        assert LOSSES["holes"] in books["loss"]
    for lanes in (2, 3, 5):
        got, ledger = result(tmp_path, source, lanes, *changes)
        assert got == wanted
        assert ledger["closed"]
        assert ledger["equations"][:-1] == books["equations"][:-1]  # the last one has the name of the output
        assert ledger["equations"][-1]["right"] == books["equations"][-1]["right"]
        assert ledger["loss"] == books["loss"]
        counters, before = ledger["counters"], books["counters"]
        assert without_levels(counters["assemble"]) == without_levels(before["assemble"])
        assert counters["capture"] | {"batches": 0} == before["capture"] | {"batches": 0}
        assert len(counters["workers"]) == lanes * len(before["workers"])
        busy = [counters["parts"][f"assembler {at}"]["frames_decoded"] for at in range(lanes)]
        assert min(sorted(busy)[1 - lanes :] if name == "shop" else busy) > 0  # the shop has few connections


def lane_job(directory: Path, stdin: int, lanes: int = 2) -> "subprocess.Popen[bytes]":
    """Start a run over standard input."""
    config = configuration(directory / "m.toml", f"{reading('-')}\nlanes = {lanes}", writing("out.jsonl"))
    return start(directory, "run", "--config", config, "--ledger", "ledger.json", stdin=stdin)


@pytest.fixture
def endless(tmp_path):
    """A run with two lanes in the middle of endless input."""
    read_fd, write_fd = os.pipe()
    job = lane_job(tmp_path, read_fd)
    os.close(read_fd)
    feeder = threading.Thread(target=feed, args=(write_fd,), daemon=True)
    feeder.start()
    wait_until(lambda: messages(tmp_path / "out.jsonl"), "first message")
    yield job
    if job.poll() is None:
        os.killpg(job.pid, signal.SIGKILL)
    job.communicate()
    feeder.join(timeout=5)
    assert not feeder.is_alive()


def test_a_signal_in_mid_run_drains_every_lane(tmp_path, endless):
    """What was read is in some lane, and comes out of it."""
    endless.send_signal(signal.SIGTERM)
    done = finished(endless)
    assert (done.returncode, errors(done)) == (0, [])
    ledger = json.loads((tmp_path / "ledger.json").read_text())
    assert ledger["closed"]
    assert len(messages(tmp_path / "out.jsonl")) == ledger["counters"]["assemble"]["messages"] > 0


def stages_of(job: "subprocess.Popen[bytes]") -> Sequence[int]:
    """Return the numbers of a run's processes in the order in which they were started."""
    found = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in processes_under(job.pid)}
    return sorted(pid for pid, line in found.items() if b"spawn_main" in line)


def test_an_assembler_that_is_killed_is_followed_by_another_and_the_other_lane_goes_on(tmp_path, endless):
    """What it was working on is lost, and counted; nothing else is."""
    _, _, first, _, _ = stages_of(endless)  # worker 0, worker 1, assembler 0, assembler 1, capture
    os.kill(first, signal.SIGKILL)
    before = len(messages(tmp_path / "out.jsonl"))
    wait_until(lambda: len(messages(tmp_path / "out.jsonl")) > before + 200, "more messages")
    endless.send_signal(signal.SIGTERM)
    done = finished(endless)
    assert (done.returncode, errors(done)) == (0, [])
    ledger = json.loads((tmp_path / "ledger.json").read_text())
    assert (ledger["closed"], ledger["restarts"]) == (True, {"assembler 0": 1})
    parts = ledger["counters"]["parts"]
    for at in range(2):
        assert parts[f"assembler {at}"]["messages"] == ledger["counters"]["workers"][at]["messages_taken"] > 0
    assert parts["assembler 1"]["frames_lost"] == 0


def test_frames_that_trickle_in_do_not_wait_for_more_in_any_lane(tmp_path):
    """Every exchange comes out while standard input stays open and silent."""
    job = lane_job(tmp_path, subprocess.PIPE, 3)
    assert job.stdin is not None
    header = pcap([])
    job.stdin.write(header)
    for number in range(1, 9):
        job.stdin.write(pcap(exchange(number))[len(header) :])
        job.stdin.flush()
        wait_until(lambda so_far=2 * number: len(messages(tmp_path / "out.jsonl")) == so_far, "two more messages")
    assert finished(job).returncode == 0
    parts = json.loads((tmp_path / "ledger.json").read_text())["counters"]["parts"]
    assert sum(parts[f"assembler {at}"]["messages"] > 0 for at in range(3)) > 1
