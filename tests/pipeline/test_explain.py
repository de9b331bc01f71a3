"""`check` in plain words: what is read, what is kept, where it goes."""

import pytest

from capture.errors import SourceError
from pipeline.explain import explain
from pipeline.settings import parse
from tests.integration.jobs import exchanges
from tests.packets_files import write_pcap


def words(text: str) -> str:
    """All lines as one text."""
    return "\n".join(explain(parse(text, "m.toml")))


def test_a_mirror_is_described(monkeypatch, tmp_path):
    """Everything that would surprise someone later is said now."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.pcap", "b.pcap"):
        write_pcap(tmp_path / name, exchanges(1))
    said = words(
        '[input]\ntype = "pcap"\npath = "*.pcap"\nports = [80]\nfilter = "host 10.0.0.7"\n'
        '[workers]\ncount = 2\n[[output]]\ntype = "tcp"\naddress = "h:1"\npolicy = "drop"\n'
        '[[output]]\ntype = "file"\npath = "a.jsonl"\n[[output]]\ntype = "file"\npath = "a.rec"\n'
        'format = "recording"\ncompression = "gzip"\n[[output]]\ntype = "stdout"\n'
    )
    assert "a.pcap, b.pcap (2 files, merged by time)" in said
    assert "TCP ports: 80; and only what matches: host 10.0.0.7" in said
    assert "tunnels: vxlan, geneve, gre, erspan, ipip, gtpu" in said
    assert "2 processes" in said
    assert "over TCP to h:1, tagged ringtap.request and ringtap.response" in said
    assert "messages are dropped and counted" in said
    assert "JSON Lines, written to a.jsonl;" in said
    assert "a recording, written to a.rec, gzip;" in said
    assert said.endswith("The configuration is valid.")


def test_what_is_kept_apart_verified_or_left_closed_is_said(monkeypatch, tmp_path):
    """Each of them makes messages appear or disappear."""
    monkeypatch.chdir(tmp_path)
    write_pcap(tmp_path / "a.pcap", exchanges(1))
    said = words(
        '[input]\ntype = "pcap"\npath = "a.pcap"\ndecapsulate = []\n[assemble]\nseparate = ["vlan", "tunnel"]\n'
        'checksums = true\n[[output]]\ntype = "null"\n'
    )
    assert "tunnels: not looked into" in said
    assert "connections of different vlan or tunnel are kept apart" in said
    assert "packets with a wrong checksum are refused" in said


def test_payloads_that_are_no_bytes_are_said():
    """Who sends them to another pipeline would get something else."""
    text = '[input]\ntype = "tcp"\n[[output]]\ntype = "tcp"\naddress = "h:1"\n'
    assert "payloads" not in words(text)
    assert "base64 (for other collectors: our own receiver wants bytes), acknowledged" in words(
        text + 'payload = "base64"'
    )
    assert "what is not UTF-8 is lost, acknowledged" in words(text + 'payload = "text"')


def test_lanes_are_said_with_what_each_of_them_has(monkeypatch, tmp_path):
    """What is divided, and how many processes that makes."""
    monkeypatch.chdir(tmp_path)
    write_pcap(tmp_path / "a.pcap", exchanges(1))
    text = '[input]\ntype = "pcap"\npath = "a.pcap"\nlanes = %s\n[workers]\ncount = 2\n[[output]]\ntype = "null"\n'
    said = words(text % 4)
    assert "4 lanes; each takes whole connections, with a ring of 32MiB and 128MiB held at most" in said
    assert "2 processes in each of 4 lanes" in said
    assert "as many as this machine has cores for" in words(text % '"auto"')
    assert "lane" not in words(text % 1)


def test_a_file_that_exists_is_appended_to(monkeypatch, tmp_path):
    """Nothing is truncated: whoever expects a new file should know."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "o.jsonl").write_text("")
    assert "appended to o.jsonl" in words('[input]\ntype = "tcp"\n[[output]]\ntype = "file"\npath = "o.jsonl"\n')


def test_listening_to_the_network_is_pointed_out(tmp_path):
    """Who may send, and who could read it."""
    key = tmp_path / "shared.key"
    key.write_text("a secret of ours\n")
    key.chmod(0o600)

    def said(listen: str, more: str = "") -> str:
        return words(f'[input]\ntype = "tcp"\nlisten = "{listen}"\n{more}\n[[output]]\ntype = "null"\n')

    for inside in ("127.0.0.1:1", "[::1]:1", "localhost:1"):
        assert "anybody" not in said(inside)
    opened = said("0.0.0.0:1", "open_to_all = true")
    assert "no key asked for: anybody who reaches it can send" in opened
    assert "not encrypted" in opened
    keyed = said("0.0.0.0:1", f'shared_key_file = "{key}"')
    assert f"senders have the key in {key}" in keyed
    assert "not encrypted: anybody on the way can read it" in keyed
    assert "can send" not in keyed
    assert "a secret of ours" not in opened + keyed


def test_an_input_that_is_not_there_is_found():
    """`check` is the time to hear of it."""
    with pytest.raises(SourceError, match="no such file"):
        words('[input]\ntype = "pcap"\npath = "/no/such.pcap"\n[[output]]\ntype = "null"\n')


def test_recordings_are_described(monkeypatch, tmp_path):
    """There are no frames to speak of."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.rec", "b.rec"):
        (tmp_path / name).write_bytes(bytes(1024))
    said = words('[input]\ntype = "file"\npath = "*.rec"\n[[output]]\ntype = "null"\n')
    assert "messages recorded in a.rec, b.rec (2 files, merged by time), 2KiB; up to 128MiB each" in said
    assert "TCP ports" not in said
    said = words(
        '[input]\ntype = "file"\npath = "*.rec"\nformat = "gor"\nstart = "2026-01-31T12:00:00+01:00"\nend = "+90s"\n'
        'loop = 3\nlongest_gap = "5s"\n[[output]]\ntype = "null"\n'
    )
    assert ", as gor; up to" in said
    assert (
        "from 2026-01-31T11:00:00.000Z, before 90s after the first message, 3 times, "
        "no longer than 5s without a message" in said
    )


def test_what_an_output_wants_is_said_with_what_it_is_about(monkeypatch, tmp_path):
    """Whether responses come along is what people get wrong first."""
    monkeypatch.chdir(tmp_path)
    write_pcap(tmp_path / "a.pcap", exchanges(1))
    said = words(
        '[input]\ntype = "pcap"\npath = "a.pcap"\n[[output]]\ntype = "null"\nwhere = "path ~ \'^/api/\'"\n'
        '[[output]]\ntype = "null"\nwhere = "status >= 500"\n[[output]]\ntype = "null"\n'
    )
    assert "only requests of which this is true, and their responses: path ~ '^/api/'" in said
    assert "only each message of which this is true: status >= 500" in said
    assert said.count("of which this is true") == 2


def test_a_replay_is_described(monkeypatch, tmp_path):
    """What is sent, to whom, how fast, and what it may do there."""
    monkeypatch.chdir(tmp_path)
    write_pcap(tmp_path / "a.pcap", exchanges(1))
    text = '[input]\ntype = "pcap"\npath = "a.pcap"\n[[output]]\ntype = "http"\naddress = "https://h/x"\n'
    said = words(text)
    assert (
        "to https://h/x: every request, as fast as it answers, Host set to the target, over one connection for" in said
    )
    assert "given up after 15s without the target;" in said
    said = words(
        text + 'methods = ["GET"]\nrate = 50\nmode = "pool"\nhost = "shop"\nmultiply = 3\nverify = false\n'
        'answers = true\n[[output]]\ntype = "null"\n'
    )
    assert "requests with GET and no others 3 times, 50 in a second, Host shop, over shared connections" in said
    assert "its certificate is not verified" in said
    assert "what it answers goes to all other outputs, as replayed messages" in said
    assert "at 2 times the captured speed" in words(text + "speed = 2.0\n")


def test_samples_and_limits_are_explained():
    """How much of it, of what, and what becomes of the rest."""
    output = '[input]\ntype = "tcp"\n[[output]]\ntype = "null"\n'
    assert "\n         10% of the messages, chosen by cookie('sid')\n" in words(
        output + 'sample = "10%"\nsample_by = "cookie(\'sid\')"\n'
    )
    assert "5% of the messages, from 50% on, chosen by exchange" in words(
        output + 'sample = "1/20"\nsample_from = 50\n'
    )
    assert "5% of them, chosen by exchange" in words(output + 'where = "status"\nsample = "1/20"\n')
    assert "at most 500 exchanges a second, shared by all workers; more wait" in words(output + "limit = 500\n")
    assert "more are dropped and counted" in words(output + 'limit = 500\npolicy = "drop"\n')
