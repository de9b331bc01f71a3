"""`inspect` in one process: every message, every flow, a ledger."""

import io
import json
import os

import pytest

import assemble
from capture.errors import SourceError
from emit.library import MessageWriter
from emit.recording import Writer
from pipeline.inspection import hold_messages, inspect
from pipeline.terminal import Terminal
from tests.emit.builders import records_of
from tests.integration.jobs import exchanges
from tests.packets_files import pcap, write_pcap


@pytest.fixture
def shop(tmp_path):
    """A capture of thirty connections."""
    return str(write_pcap(tmp_path / "shop.pcap", exchanges(30)))


def test_messages_flows_and_ledger_are_listed(shop):
    """In that order."""
    out = io.StringIO()
    inspect(shop, (), False, out, Terminal(io.StringIO()))
    lines = out.getvalue().splitlines()
    assert sum("GET /item/" in line for line in lines) == 30
    assert "and 10 more with fewer messages" in lines
    assert lines[-1] == "the ledger closes; nothing was lost"


def test_json_is_lines_of_messages_only(shop):
    """The ledger goes elsewhere."""
    out, err = io.StringIO(), io.StringIO()
    inspect(shop, (), True, out, Terminal(err))
    kinds = [json.loads(line)["kind"] for line in out.getvalue().splitlines()]
    assert (kinds.count("request"), kinds.count("response")) == (30, 30)
    assert "the ledger closes" in err.getvalue()


def test_ports_limit_what_is_looked_at(shop):
    """The rest is counted as refused."""
    out = io.StringIO()
    inspect(shop, (8080,), False, out, Terminal(io.StringIO()))
    assert "refused: port" in out.getvalue()
    assert "GET" not in out.getvalue()


def test_what_is_no_capture_is_an_error(tmp_path):
    """The same words as in a run."""
    (tmp_path / "bad.pcap").write_bytes(b"no capture at all, by any reading")
    with pytest.raises(SourceError, match=r"bad\.pcap"):
        inspect(str(tmp_path / "bad.pcap"), (), False, io.StringIO(), Terminal(io.StringIO()))


def test_what_was_whole_before_a_cut_is_listed(tmp_path):
    """The last frame is cut; the messages before it are there."""
    (tmp_path / "cut.pcap").write_bytes(pcap(exchanges(2))[:-7])
    out = io.StringIO()
    inspect(str(tmp_path / "cut.pcap"), (), False, out, Terminal(io.StringIO()))
    assert "GET /item/1" in out.getvalue()
    assert "files that end in the middle of a frame" in out.getvalue()


def record(directory, count=30):
    """The same exchanges as a capture and as a recording."""
    capture = str(write_pcap(directory / "shop.pcap", exchanges(count)))
    with Writer(str(directory / "shop.rec")) as writer:
        for message in assemble.messages(capture):
            writer.write(records_of(message)[0])
    return capture, str(directory / "shop.rec")


@pytest.mark.parametrize("as_json", [True, False])
def test_a_recording_is_listed_as_its_capture_was(tmp_path, as_json):
    """It is told by its first bytes; only the ledger speaks of records."""
    listed = []
    for path in record(tmp_path):
        out = io.StringIO()
        inspect(path, (80,), as_json, out, Terminal(io.StringIO()))
        listed.append([line for line in out.getvalue().splitlines() if "item" in line or "{" in line or "200" in line])
    assert listed[0] == listed[1] != []


def test_ports_limit_what_is_listed_of_a_recording(tmp_path):
    """Either end may have it."""
    path = record(tmp_path)[1]
    for port, count in ((80, 60), (81, 0)):
        out = io.StringIO()
        inspect(path, (port,), True, out, Terminal(io.StringIO()))
        assert len(out.getvalue().splitlines()) == count


def test_what_is_lost_of_a_recording_is_in_the_ledger(tmp_path):
    """After everything that is whole."""
    path = record(tmp_path)[1]
    data = (tmp_path / "shop.rec").read_bytes()
    (tmp_path / "shop.rec").write_bytes(data + data[24:-1])
    out = io.StringIO()
    inspect(path, (), False, out, Terminal(io.StringIO()))
    assert out.getvalue().count("GET /item/") == 30
    assert f"{len(data) - 25:,} bytes of files of messages that cannot be read" in out.getvalue()


@pytest.mark.parametrize("name", ["m.jsonl", "m.gor", "m.har"])
def test_every_file_of_messages_is_listed(tmp_path, name):
    """It is told by its first bytes, and has a ledger."""
    with MessageWriter(str(tmp_path / name)) as writer:
        for message in assemble.messages(record(tmp_path)[0]):
            writer.write(message)
    (tmp_path / name).rename(tmp_path / "m")
    out = io.StringIO()
    inspect(str(tmp_path / "m"), (), False, out, Terminal(io.StringIO()))
    assert out.getvalue().count("GET /item/") == 30
    assert out.getvalue().endswith("the ledger closes; nothing was lost\n")


def test_files_are_told_apart_without_waiting_for_any(tmp_path):
    """A pipe is not looked into."""
    capture, recording = record(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert hold_messages([recording]) is True
    assert hold_messages([recording, capture]) is False
    assert hold_messages([str(tmp_path / "pipe"), "-"]) is None
