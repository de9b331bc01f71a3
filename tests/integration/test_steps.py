"""Whole runs with functions and programs of the operator: what comes out, ledgers that close, nothing left behind."""

import base64
import json
import os
import signal
from pathlib import Path

import pytest

from tests.emit.builders import request, response
from tests.emit.programs import TOKENS, python
from tests.integration.jobs import (
    START_NS,
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
from tests.integration.replays import record, recorded, replay, sending
from tests.packets_files import write_pcap
from tests.targets import Arrival, Line, target

HOOKS = """
def mask(message):
    return message.replace(payload=message.payload.replace(b"shop", b"****"))

def odd(message):
    return message if message.id % 2 else None

def fails(message):
    if message.kind == "response":
        raise ValueError(message.payload)
    return message
"""


def run(tmp_path: Path, *outputs: str, workers: int = 1, strict: int = 0) -> tuple[dict[str, dict[str, int]], str]:
    """Run over 200 exchanges, and return each output's row of the ledger, and what was said."""
    write_pcap(tmp_path / "shop.pcap", exchanges(200))
    (tmp_path / "hooks.py").write_text(HOOKS)
    config = configuration(tmp_path / "m.toml", reading("shop.pcap"), *outputs)
    options = ["--ledger", "ledger.json", "--strict", "--set", f"workers.count={workers}"]
    done = pipeline(tmp_path, "run", "--config", config, *options)
    assert done.returncode == strict, done.stderr
    ledger = json.loads((tmp_path / "ledger.json").read_text())
    assert ledger["closed"]
    assert all(each["closes"] for each in ledger["equations"])
    return {each["name"]: each for each in ledger["equations"] if each["name"].startswith("output")}, done.stderr


def payloads(path: Path) -> list[bytes]:
    """Return what was written, as bytes."""
    return [base64.b64decode(str(line["payload"])) for line in messages(path)]


@pytest.mark.parametrize("workers", [1, 2])
def test_functions_change_and_take_away(tmp_path, workers):
    """Each output has its own; the one without has the traffic as it was."""
    rows, said = run(
        tmp_path, writing("masked.jsonl") + '\npython = "hooks:mask"', writing("odd.jsonl") + '\npython = "hooks:odd"',
        writing("plain.jsonl"), workers=workers,
    )  # fmt: skip
    plain = messages(tmp_path / "plain.jsonl")
    assert sorted(payloads(tmp_path / "masked.jsonl")) == sorted(
        each.replace(b"shop", b"****") for each in payloads(tmp_path / "plain.jsonl")
    )
    odd = [line["id"] for line in plain if int(str(line["id"]), 16) % 2]
    assert sorted(line["id"] for line in messages(tmp_path / "odd.jsonl")) == sorted(odd)
    row = rows["output 1: file odd.jsonl"]["right"]
    assert (row["delivered"], row["removed"]) == (len(odd), 400 - len(odd))
    assert errors_of(said) == []


def errors_of(said: str) -> list[str]:
    """Return lines about what went wrong."""
    return [line for line in said.splitlines() if "hooks:" in line or "middleware" in line]


def test_a_function_that_fails_costs_its_own_messages(tmp_path):
    """They are a loss, which strict says; what failed is logged, and nothing of the message."""
    rows, said = run(tmp_path, writing("m.jsonl") + '\npython = "hooks:fails"', writing("n.jsonl"), strict=3)
    right = rows["output 0: file m.jsonl"]["right"]
    assert (right["delivered"], right["undelivered"]) == (200, 200)
    assert rows["output 1: file n.jsonl"]["right"]["delivered"] == 400
    assert "output 0 (file m.jsonl): hooks:fails: ValueError at hooks.py:" in said
    assert "item" not in said
    counters = json.loads((tmp_path / "ledger.json").read_text())["counters"]["workers"][0]
    assert counters["output0_failed_step"] == 200


@pytest.mark.parametrize("workers", [1, 2])
def test_programs_change_drop_and_multiply(tmp_path, workers):
    """GoReplay's protocol, with the pipes and the poll loop of a real worker."""
    multiply = """
for kind, name, head, payload in lines():
    if kind == b"2": continue
    send(head, payload)
    if b"/item/1" in payload: send(head, payload.replace(b"/item/", b"/again/"))
"""
    rows, _said = run(
        tmp_path, writing("cat.jsonl") + '\nmiddleware = "cat"',
        writing("more.jsonl") + f"\nmiddleware = {list(python(tmp_path, multiply))}", writing("plain.jsonl"),
        workers=workers,
    )  # fmt: skip
    plain = payloads(tmp_path / "plain.jsonl")
    assert sorted(payloads(tmp_path / "cat.jsonl")) == sorted(plain)
    asked = [each for each in plain if each.startswith(b"GET")]
    ones = [each.replace(b"/item/", b"/again/") for each in asked if b"/item/1" in each]
    assert sorted(payloads(tmp_path / "more.jsonl")) == sorted([*asked, *ones])
    row = rows["output 1: file more.jsonl"]
    assert row["left"] - row["right"]["removed"] == row["right"]["delivered"] == 200 + len(ones)


def test_a_program_that_dies_for_good_fails_its_output_alone(tmp_path):
    """The others have everything; the run says what was not delivered."""
    rows, said = run(tmp_path, writing("m.jsonl") + "\nmiddleware = 'sh -c \"exit 4\"'", writing("n.jsonl"), strict=1)
    assert rows["output 0: file m.jsonl"]["right"]["undelivered"] == 400
    assert rows["output 1: file n.jsonl"]["right"]["delivered"] == 400
    assert "output 0 (file m.jsonl): sh ended with status 4, 6 times in a row" in said


def test_both_and_a_limit_in_their_order(tmp_path):
    """Filter, function, program, limit: each sees what the one before has left."""
    body = """
for kind, name, head, payload in lines():
    assert b"shop" not in payload
    send(head, payload)
    send(head, payload)
"""
    keys = f"""
where = "kind == 'request' and path ~ '^/item/1'"
python = "hooks:mask"
middleware = {list(python(tmp_path, body))}
limit = 20
over_limit = "drop"
"""
    rows, _said = run(tmp_path, writing("m.jsonl") + keys)
    row = rows["output 0: file m.jsonl"]
    wanted = sum(str(number).startswith("1") for number in range(200))
    assert (row["left"], row["right"]["filtered"]) == (400 + wanted, 400 - wanted)
    assert row["right"]["delivered"] + row["right"]["limited"] == 2 * wanted
    assert row["right"]["delivered"] >= 40
    assert all(b"****" in each for each in payloads(tmp_path / "m.jsonl"))


def test_a_reload_exchanges_functions_and_programs(tmp_path):
    """The program of before ends, and is no zombie; what it had not done with the next one gets."""
    pids = tmp_path / "pids"
    script = tmp_path / "middleware.sh"
    script.write_text(f"#!/bin/sh\necho $$ >> {pids}\nexec cat\n")
    script.chmod(0o755)
    source = 'type = "tcp"\nlisten = "127.0.0.1:0"'
    config = configuration(tmp_path / "m.toml", source, writing("m.jsonl") + f'\nmiddleware = "{script}"')
    job = start(tmp_path, "run", "--config", config)
    try:
        wait_until(lambda: pids.exists() and len(pids.read_text().split()) == 1, "the program")
        configuration(tmp_path / "m.toml", source, writing("m.jsonl") + f'\nmiddleware = "{script} --more"')
        told = pipeline(tmp_path, "reload", "--config", config)
        assert (told.returncode, told.stdout) == (0, "applied: output\n")
        wait_until(lambda: len(pids.read_text().split()) == 2, "the next program")
        configuration(tmp_path / "m.toml", source, writing("m.jsonl") + '\npython = "none:f"')
        told = pipeline(tmp_path, "reload", "--config", config)
        assert told.returncode == 2
        assert "output.0.python" in told.stderr
    finally:
        os.kill(job.pid, signal.SIGTERM)
        done = finished(job)
    assert (done.returncode, errors(done)) == (0, [])
    assert not [pid for pid in pids.read_text().split() if Path(f"/proc/{pid}").exists()]


def test_check_says_what_is_wrong_with_a_function_and_where(tmp_path):
    """In one line, with the exit code of a configuration that cannot be run."""
    config = configuration(tmp_path / "m.toml", reading("shop.pcap"), 'type = "null"\npython = "hooks:nothing"')
    (tmp_path / "hooks.py").write_text(HOOKS)
    for command in (["check", "--config", config], ["run", "--config", config]):
        done = pipeline(tmp_path, *command)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.endswith('m.toml: output.0.python: "hooks:nothing" is not possible; hooks has no nothing\n')


def test_a_program_knows_what_the_target_answered(tmp_path):
    """What GoReplay's middleware is known for: a token of the target takes the place of the captured one."""
    second = 10**9
    messages = [
        request(1, target="/token", first_ns=START_NS, last_ns=START_NS),
        response(1, b"captured", first_ns=START_NS + 1000, last_ns=START_NS + 1000),
        request(2, target="/buy?token=captured", first_ns=START_NS + second, last_ns=START_NS + second),
    ]
    record(tmp_path / "shop.rec", messages)
    command = json.dumps(list(python(tmp_path, TOKENS)))

    def answer(line: Line, _asked: Arrival) -> bool:
        line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\ntarget")
        return True

    with target(answer) as server:
        keys = f"speed = 1\nmiddleware = {command}"
        replay(tmp_path, recorded("shop.rec"), f"{sending(server.url)}\n{keys}")
    assert [each.target for each in server.arrivals] == [b"/token", b"/buy?token=target"]
