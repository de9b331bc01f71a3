"""Whole runs that rewrite and mask, beside an output that does neither."""

import base64
import json
import os
import signal
import socket
from pathlib import Path
from typing import Any

import httptools
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
from tests.integration.test_filters import send
from tests.packets_files import write_pcap

SHOP = Path(__file__).parents[2] / "examples" / "shop.pcap"
CAPTURES = Path(__file__).parents[3] / "shared" / "captures"
RULES = """
[[output.rewrite]]
where = "kind == 'request'"
path = { pattern = '^/(.*)', with = '/mirror/\\1' }
query = { set = { mirrored = "1" } }
set_headers = { X-Mirror = "yes" }
remove_headers = ["Cookie", "Accept-Encoding"]
[[output.rewrite]]
body = { pattern = '[aeiou]', with = '<\\0>' }
[[output.mask]]
headers = ["User-Agent", "Server"]
parameters = ["page"]
json = ["/**/name"]
"""


class Reader:
    """What httptools sees of one message: a reader of its own, strict about every length."""

    def __init__(self, payload: bytes, asked: bool) -> None:
        self.names: list[tuple[bytes, bytes]] = []
        self.body, self.url, self.ended = b"", b"", False
        parser = httptools.HttpRequestParser(self) if asked else httptools.HttpResponseParser(self)
        parser.feed_data(payload)

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.names.append((name, value.strip()))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        assert not self.ended, "one message became two"
        self.ended = True


def payload(line: dict[str, Any]) -> bytes:
    """Return the bytes of a message."""
    return base64.b64decode(line["payload"])


def outputs(ledger: Path) -> list[dict[str, int]]:
    """Return what became of the messages at each output, of a ledger that closes."""
    told = json.loads(ledger.read_text())
    assert told["closed"]
    return [each["right"] for each in told["equations"] if each["name"].startswith("output")]


@pytest.mark.parametrize("workers", [1, 2])
def test_one_output_is_changed_and_the_other_is_not(tmp_path, workers):
    """Every length fits, as httptools reads it; ids, kinds and order stay; and the ledger closes."""
    config = configuration(
        tmp_path / "m.toml",
        reading(SHOP) + "\nports = [8080]",
        writing("plain.jsonl"),
        writing("changed.jsonl") + RULES,
    )
    run = ["run", "--config", config, "--ledger", "ledger.json", "--set", f"workers.count={workers}"]
    done = pipeline(tmp_path, *run)
    assert (done.returncode, errors(done)) == (0, [])
    plain = {(line["id"], line["kind"], line["ts"]): line for line in messages(tmp_path / "plain.jsonl")}
    changed = messages(tmp_path / "changed.jsonl")
    assert len(changed) == len(plain) == 782
    heads = {line["id"] for line in plain.values() if line.get("method") == "HEAD"}
    for line in changed:
        before = plain[line["id"], line["kind"], line["ts"]]
        asked = line["kind"] == "request"
        if asked:
            assert line["target"].startswith("/mirror/")
            assert "mirrored=1" in line["target"]
            assert line["method"] == before["method"]
        if line["id"] in heads or line.get("status") in (204, 304):
            assert payload(line).endswith(b"\r\n\r\n")
            continue
        was, now = Reader(payload(before), asked), Reader(payload(line), asked)
        assert was.ended == now.ended
        fields = {name.lower(): value for name, value in now.names}
        assert {fields.get(b"user-agent", b"***"), fields.get(b"server", b"***")} == {b"***"}
        assert not {b"cookie", b"accept-encoding"} & set(fields)
        assert (fields.get(b"x-mirror") == b"yes") == asked
        assert now.url == line.get("target", "").encode("latin-1")
        touched = {b"user-agent", b"server", b"cookie", b"accept-encoding", b"x-mirror", b"content-length"}
        kept = [pair for pair in was.names if pair[0].lower() not in touched]
        assert [pair for pair in now.names if pair[0].lower() not in touched] == kept
    assert outputs(tmp_path / "ledger.json")[0] == outputs(tmp_path / "ledger.json")[1]


@pytest.mark.skipif(not CAPTURES.is_dir(), reason="the shared captures are not on this machine")
@pytest.mark.parametrize("name", [path.name for path in sorted(CAPTURES.glob("*.pcap*"))] or ["none"])
def test_any_capture_comes_out_changed_and_closes(tmp_path, name):
    """Holes, tunnels, odd heads, codings: a message becomes one message, and each is counted once."""
    config = configuration(
        tmp_path / "m.toml", reading(CAPTURES / name), writing("plain.jsonl"), writing("changed.jsonl") + RULES
    )
    done = pipeline(tmp_path, "run", "--config", config, "--ledger", "ledger.json")
    assert done.returncode == 0
    plain, changed = (messages(tmp_path / f"{each}.jsonl") for each in ("plain", "changed"))
    key = ["id", "kind", "ts", "src", "dst", "sport", "dport"]
    assert [[line[each] for each in key] for line in changed] == [[line[each] for each in key] for line in plain]
    rows = outputs(tmp_path / "ledger.json")
    assert rows[0] == rows[1]


def test_no_secret_comes_out(tmp_path):
    """What a mask hides is in none of the bytes that are written, in whatever coding."""
    frames = exchanges(50)
    write_pcap(tmp_path / "shop.pcap", frames)
    mask = "\n[[output.mask]]\nwhere = \"path == '/item/7'\"\nheaders = ['Host', 'content-type']\n"
    config = configuration(tmp_path / "m.toml", reading("shop.pcap"), writing("out.jsonl") + mask)
    assert pipeline(tmp_path, "run", "--config", config, "--strict").returncode == 0
    found = messages(tmp_path / "out.jsonl")
    assert {line["target"] for line in found if b"Host: ***" in payload(line)} == {"/item/7"}


def test_a_reload_changes_the_rules(tmp_path):
    """Every message is changed by the rules of before or by those of after, and both rows close."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    frames = exchanges(200)
    config, source = tmp_path / "far.toml", f'type = "tcp"\nlisten = "{address}"'

    def rule(value: str) -> str:
        head = "\n[[output.rewrite]]\nwhere = \"method == 'GET'\"\n"
        return writing("out.jsonl") + f"{head}set_headers = {{ X-Rule = '{value}' }}"

    configuration(config, source, rule("one"))
    job = start(tmp_path, "run", "--config", config, "--ledger", "ledger.json")
    try:
        send(tmp_path, address, frames[: len(frames) // 2])
        wait_until(lambda: len(messages(tmp_path / "out.jsonl")) == 200, "the messages of before")
        configuration(config, source, rule("two"))
        told = pipeline(tmp_path, "reload", "--config", config)
        assert (told.returncode, told.stdout) == (0, "applied: output\n")
        send(tmp_path, address, frames[len(frames) // 2 :])
        wait_until(lambda: len(messages(tmp_path / "out.jsonl")) == 400, "the messages of after")
        configuration(config, source, rule("three") + "\npath = { pattern = '(', with = '' }")
        told = pipeline(tmp_path, "reload", "--config", config)
        assert told.returncode != 0
        assert "output.0.rewrite.0.path.pattern" in told.stdout + told.stderr
    finally:
        os.kill(job.pid, signal.SIGTERM)
        done = finished(job)
    assert done.returncode == 0
    found = messages(tmp_path / "out.jsonl")
    assert [sum(b"X-Rule: %s\r\n" % value in payload(line) for line in found) for value in (b"one", b"two")] == [
        200,
        200,
    ]
    assert [row["delivered"] for row in outputs(tmp_path / "ledger.json")] == [200, 200]


def test_check_says_what_is_changed_and_refuses_what_cannot_work(tmp_path):
    """Before anything is sent."""
    write_pcap(tmp_path / "shop.pcap", exchanges(1))
    config = configuration(tmp_path / "m.toml", reading("shop.pcap"), writing("out.jsonl") + RULES)
    told = pipeline(tmp_path, "check", "--config", config)
    assert told.returncode == 0
    assert (
        "changes messages where kind == 'request': path ^/(.*) -> /mirror/\\1; parameters set: mirrored" in told.stdout
    )
    assert "hides in every message: headers User-Agent, Server; parameters page; JSON /**/name, by ***" in told.stdout
    hashed = "\n[[output.mask]]\nheaders = 'Cookie'\nhow = 'hash'\nkey_file = 'no-such-key'\n"
    configuration(config, reading("shop.pcap"), writing("out.jsonl") + hashed)
    for verb in ("check", "run"):
        told = pipeline(tmp_path, verb, "--config", config)
        assert (told.returncode, "output.0.mask.0.key_file: no-such-key: cannot be read" in told.stderr) == (2, True)
