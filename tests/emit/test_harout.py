"""Appending to an HTTP archive: pairs, lone messages, and a document that is valid at every moment."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from capture.ring import Consumer, Ring
from emit.harout import HEAD, HOLD_S, TAIL
from tests.emit.builders import conversation, fill, replayed, request, response, ring_of
from tests.emit.test_file import run
from tests.emit.test_formats import read
from tests.emit.test_wholeout import output


def entries(path: Path) -> list[dict[str, Any]]:
    """Read a whole archive as any program would."""
    log = json.loads(path.read_bytes())["log"]
    assert (log["version"], log["creator"]["name"]) == ("1.2", "ringtap")
    found: list[dict[str, Any]] = log["entries"]
    for entry in found:
        assert {"startedDateTime", "time", "request", "response", "cache", "timings"} <= entry.keys()
        assert {
            "method",
            "url",
            "httpVersion",
            "cookies",
            "headers",
            "queryString",
            "headersSize",
            "bodySize",
        } <= entry["request"].keys()
        assert {"status", "statusText", "httpVersion", "cookies", "headers", "content", "redirectURL"} <= entry[
            "response"
        ].keys()
    return found


def test_a_request_and_its_response_are_one_entry(tmp_path: Path):
    """In pairs, over several runs."""
    for runs in (1, 2):
        run(output(tmp_path / "f", ring_of(conversation(20)), "har"))
        found = entries(tmp_path / "f")
        assert len(found) == 10 * runs
        assert [each["response"]["status"] for each in found] == [200] * 10 * runs


def test_messages_that_have_no_other_half_are_not_lost(tmp_path: Path):
    """Interim responses, answers of a replay, responses alone, requests alone or twice."""
    made = [
        response(1),
        request(2),
        response(2, status=103),
        response(2),
        replayed(2),
        request(3),
        request(3),
        request(4),
    ]
    out = output(tmp_path / "f", ring_of(made), "har")
    run(out)
    assert len(entries(tmp_path / "f")) == 7
    found = read(tmp_path / "f")[0]
    key = [(each.id, each.kind, each.status) for each in found]
    assert sorted(map(str, key)) == sorted(str((each.id, each.kind, each.status)) for each in made)
    assert (out.tally.delivered, out.tally.undelivered) == (8, 0)


def test_a_request_waits_in_the_ring(tmp_path: Path):
    """Until its response is there, or too long; a killed worker's successor has it again."""
    ring = ring_of(conversation(4)[:3], close=False)
    out = output(tmp_path / "f", ring, "har")
    out.start(0.0)
    out.pump(out.consumer.head, 0.0)
    assert len(entries(tmp_path / "f")) == 1
    assert out.safe < out.cursor == out.consumer.head
    assert out.deadline() == HOLD_S
    assert out.tally.delivered == 2
    out.pump(out.consumer.head, HOLD_S)
    assert len(entries(tmp_path / "f")) == 2
    assert (out.safe, out.tally.delivered, out.deadline()) == (out.cursor, 3, None)
    fill(ring, conversation(4)[3:])
    out.finish()
    out.pump(out.consumer.head, HOLD_S)
    assert out.done(out.consumer.head)
    out.close()
    assert [each["response"]["status"] for each in entries(tmp_path / "f")] == [200, 0, 200]


def test_requests_do_not_hold_the_ring_for_long(tmp_path: Path):
    """Those of a server that is slow would stop everything."""
    ring = Ring.create(1 << 16)
    out = output(tmp_path / "f", ring, "har")
    out.start(0.0)
    fill(ring, [request(number) for number in range(250)], close=False)
    out.pump(Consumer(ring).head, 0.0)
    out.pump(Consumer(ring).head, 0.0)
    assert out.safe > 0
    assert 0 < len(entries(tmp_path / "f")) < 250
    out.close()


def test_whoever_is_told_to_wait_does_not_lose_what_it_has(tmp_path: Path):
    """Another holds the file while requests that are overdue are to be written."""
    first = output(tmp_path / "f", ring_of([request(1)]), "har")
    other = output(tmp_path / "f", ring_of([request(2)]), "har")
    for each in (first, other):
        each.start(0.0)
    first.pump(first.consumer.head, 0.0)
    assert other.lock()
    first.finish()
    for _turn in range(3):
        first.pump(first.consumer.head, 1.0)
        assert not first.done(first.consumer.head)
        assert first.safe == 0
    other.unlock()
    first.pump(first.consumer.head, 2.0)
    assert first.done(first.consumer.head)
    for each in (first, other):
        each.close()
    assert len(entries(tmp_path / "f")) == 1


def test_a_pipe_gets_a_whole_document(tmp_path: Path):
    """It is closed when the run is over."""
    os.mkfifo(tmp_path / "pipe")
    far = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    run(output(tmp_path / "pipe", ring_of(conversation(20)), "har"))
    (tmp_path / "f").write_bytes(os.read(far, 1 << 16))
    os.close(far)
    assert len(entries(tmp_path / "f")) == 10


@pytest.mark.parametrize(
    "junk", [b"\n,}}\n", b"\n,", b"\n]", b"\n]}}", b'\n,{"startedDateTime":"', b'\n,{"startedDateTime":1,"a":{}']
)
def test_what_a_killed_writer_left_is_cut(tmp_path: Path, junk: bytes, caplog: pytest.LogCaptureFixture):
    """Also where it had begun to write over the end."""
    run(output(tmp_path / "f", ring_of(conversation(4)), "har"))
    whole = (tmp_path / "f").read_bytes().removesuffix(TAIL)
    assert whole.startswith(HEAD)
    (tmp_path / "f").write_bytes(whole + junk)
    run(output(tmp_path / "f", ring_of(conversation(2)), "har"))
    assert len(entries(tmp_path / "f")) == 3
    assert "what is broken is cut" in caplog.text
