"""Whole runs with filters: several outputs, another filter by reload, and ledgers that close."""

import json
import os
import signal
import socket
from pathlib import Path

import pytest

from tests.integration.jobs import (
    configuration,
    errors,
    exchanges,
    finished,
    messages,
    pipeline,
    reading,
    start,
    wait_until,
    writing,
)
from tests.packets_files import write_pcap


def wanting(path: str, where: str) -> str:
    """The output table that writes what is wanted."""
    return writing(path) + f"\nwhere = '''{where}'''"


def targets(lines: list[dict[str, object]]) -> set[object]:
    """Return what was asked for."""
    return {line["target"] for line in lines if line["kind"] == "request"}


@pytest.mark.parametrize("workers", [1, 3])
def test_every_output_gets_what_it_wants_and_the_ledger_closes(tmp_path, workers):
    """Requests and their responses together, by one filter; single messages by another; nothing is lost."""
    write_pcap(tmp_path / "shop.pcap", exchanges(100))
    config = configuration(
        tmp_path / "m.toml", reading("shop.pcap"), wanting("some.jsonl", "path ~ '^/item/1.$'"),
        wanting("answers.jsonl", "kind == 'response' and path ~ '7$' and body ~ '^item'"), writing("all.jsonl"),
        wanting("none.jsonl", "host == 'elsewhere' or src in '203.0.113.0/24'"),
    )  # fmt: skip
    run = ["run", "--config", config, "--ledger", "ledger.json", "--strict", "--set", f"workers.count={workers}"]
    done = pipeline(tmp_path, *run)
    assert (done.returncode, errors(done)) == (0, [])
    some, answers, everything = (messages(tmp_path / f"{name}.jsonl") for name in ("some", "answers", "all"))
    assert targets(some) == {f"/item/{number}" for number in range(10, 20)}
    assert len(some) == 20
    ids = {line["id"] for line in everything if str(line.get("target", "")).endswith("7")}
    assert sorted(line["id"] for line in answers) == sorted(ids)
    assert {line["kind"] for line in answers} == {"response"}
    assert messages(tmp_path / "none.jsonl") == []
    ledger = json.loads((tmp_path / "ledger.json").read_text())
    assert (ledger["closed"], ledger["loss"]) == (True, {})
    rows = [each["right"] for each in ledger["equations"] if each["name"].startswith("output")]
    assert [(row["delivered"], row["filtered"]) for row in rows] == [(20, 180), (10, 190), (200, 0), (0, 200)]
    assert "filtered" in done.stderr


def test_another_filter_takes_over_while_the_run_goes_on(tmp_path):
    """A reload changes what is wanted; every message is judged by one of the two, and both rows close."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    frames = exchanges(200)
    config = tmp_path / "far.toml"
    configuration(config, f'type = "tcp"\nlisten = "{address}"', wanting("out.jsonl", "path ~ '1$'"))
    job = start(tmp_path, "run", "--config", config, "--ledger", "ledger.json")
    try:
        send(tmp_path, address, frames[: len(frames) // 2])
        wait_until(lambda: len(messages(tmp_path / "out.jsonl")) == 20, "the messages of before")
        configuration(config, f'type = "tcp"\nlisten = "{address}"', wanting("out.jsonl", "path ~ '2$'"))
        told = pipeline(tmp_path, "reload", "--config", config)
        assert (told.returncode, told.stdout) == (0, "applied: output\n")
        send(tmp_path, address, frames[len(frames) // 2 :])
        wait_until(lambda: len(messages(tmp_path / "out.jsonl")) == 40, "the messages of after")
    finally:
        os.kill(job.pid, signal.SIGTERM)
        done = finished(job)
    assert (done.returncode, errors(done)) == (0, [])
    lines = messages(tmp_path / "out.jsonl")
    assert [str(line["target"])[-1] for line in lines if line["kind"] == "request"] == ["1"] * 10 + ["2"] * 10
    ledger = json.loads((tmp_path / "ledger.json").read_text())
    assert (ledger["closed"], ledger["loss"]) == (True, {})
    rows = [each["right"] for each in ledger["equations"] if each["name"].startswith("output")]
    assert [(row["delivered"], row["filtered"]) for row in rows] == [(20, 180), (20, 180)]


def send(directory: Path, address: str, frames: list[tuple[int, bytes]]) -> None:
    """Mirror a capture to an address, and wait until all of it is there."""
    write_pcap(directory / "near.pcap", frames)
    near = configuration(directory / "near.toml", reading("near.pcap"), f'type = "tcp"\naddress = "{address}"')
    done = pipeline(directory, "run", "--config", near, "--strict")
    assert (done.returncode, errors(done)) == (0, [])


def test_samples_and_limits_are_in_the_ledger(tmp_path):
    """What is sampled out or over a limit has rows of its own, is no loss, and is the same however many workers."""
    write_pcap(tmp_path / "shop.pcap", exchanges(200))
    config = configuration(
        tmp_path / "m.toml", reading("shop.pcap"),
        wanting("some.jsonl", "path !~ '^/item/1.$'") + '\nsample = "1/5"\nsample_by = "client"',
        'type = "null"\nlimit = 30\nover_limit = "drop"', writing("slow.jsonl") + "\nlimit = 300",
    )  # fmt: skip
    found = []
    for workers in (1, 3):
        for path in tmp_path.glob("*.jsonl"):
            path.unlink()
        run = ["run", "--config", config, "--ledger", "ledger.json", "--strict", "--set", f"workers.count={workers}"]
        done = pipeline(tmp_path, *run)
        assert (done.returncode, errors(done)) == (0, [])
        ledger = json.loads((tmp_path / "ledger.json").read_text())
        assert (ledger["closed"], ledger["loss"]) == (True, {})
        some, few, slow = (each["right"] for each in ledger["equations"] if each["name"].startswith("output"))
        found.append(sorted((line["id"], line["kind"]) for line in messages(tmp_path / "some.jsonl")))
        assert (some["filtered"], some["sampled"], some["delivered"]) == (20, 380 - len(found[-1]), len(found[-1]))
        assert (few["limited"] + few["delivered"], slow["delivered"]) == (400, 400)
        assert few["delivered"] >= 2 * 30
        assert "sampled" in done.stderr
        assert "limited" in done.stderr
    assert found[0] == found[1]
    assert 30 < len(found[0]) < 130
