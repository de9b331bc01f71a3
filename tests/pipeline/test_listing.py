"""Messages as lines: aligned for people, and byte for byte the jsonl output for programs."""

import json
from ipaddress import ip_address

import pytest

from assemble.message import Message
from pipeline.listing import Flows, json_line, message_line, start_line, when

REQUEST = Message(
    id=0x3DF8C6C599CABB0C, kind="request",
    src=ip_address("2001:db8::a"), sport=40000, dst=ip_address("2001:db8::1"), dport=80,
    first_ns=1_258_577_884_844_956_001, last_ns=1_258_577_885_844_956_002,
    method="GET", target="/ä", status=None, head=20, complete=True, missing=0, payload=b"x" * 25,
)  # fmt: skip
RESPONSE = REQUEST.replace(
    kind="response",
    method=None,
    target=None,
    status=200,
    src=REQUEST.dst,
    dst=REQUEST.src,
    sport=80,
    dport=40000,
)


def test_times_are_written_without_a_float():
    """Nanoseconds since 1970 do not fit into 53 bits."""
    assert when(REQUEST.first_ns) == "2009-11-18 20:58:04.844956"
    line = json_line(REQUEST)
    assert '"ts":1258577884.844956001,"duration":1.000000001,' in line
    assert json_line(REQUEST.replace(last_ns=REQUEST.first_ns - 1)).count('"duration":-0.000000001') == 1


def test_the_json_line_has_the_keys_of_the_jsonl_output_in_their_order():
    """DESIGN 10; that it is the same to the byte is shown by a whole run in tests/integration."""
    keys = list(json.loads(json_line(REQUEST)))
    assert keys == [
        "id", "kind", "ts", "duration", "src", "sport", "dst", "dport",
        "method", "target", "complete", "missing", "payload",
    ]  # fmt: skip
    assert list(json.loads(json_line(RESPONSE)))[8] == "status"


@pytest.mark.parametrize("target", ["TS", '/"TS"', '/"DURATION"'])
def test_a_target_cannot_take_the_place_of_the_time(target):
    """It comes from the traffic: it may be anything."""
    read = json.loads(json_line(REQUEST.replace(target=target)))
    assert (read["target"], read["id"]) == (target, REQUEST.id_hex)
    assert read["ts"] == pytest.approx(1258577884.844956)


def test_what_is_missing_is_said():
    """An incomplete message must not look like a whole one."""
    assert start_line(REQUEST) == "GET /ä"
    assert start_line(RESPONSE.replace(complete=False, missing=1200)) == "200 [incomplete, 1,200 bytes missing]"
    assert start_line(RESPONSE.replace(complete=False)) == "200 [incomplete]"


def test_an_answer_replayed_is_told_from_a_response():
    """Both have a status, and one id."""
    answer = RESPONSE.replace(kind="replayed", status=503)
    assert start_line(answer) == "replayed: 503"
    assert start_line(answer.replace(status=0, payload=b"", complete=False)) == "replayed: no answer [incomplete]"
    assert list(json.loads(json_line(answer)))[8] == "status"


def test_a_line_has_sizes_of_head_and_body():
    """And both addresses, with brackets around IPv6."""
    line = message_line(REQUEST)
    assert "[2001:db8::a]:40000" in line
    assert "[2001:db8::1]:80" in line
    assert line.split()[-4:] == ["20", "5", "GET", "/ä"]


def test_a_target_cannot_command_the_terminal_or_flood_it():
    """It comes from the network; the JSON form has it whole."""
    shown = start_line(REQUEST.replace(target="/\x1b[2J\x9b" + "q" * 5000))
    assert shown.startswith("GET /\\x1b[2J\\x9bqqq")
    assert shown.isprintable()
    assert len(shown) < 300


def test_a_flow_counts_both_directions_under_its_client():
    """A response belongs to the connection of its request."""
    flows = Flows()
    for message in (REQUEST, RESPONSE, REQUEST, REQUEST.replace(sport=40001, complete=False)):
        flows.add(message)
    lines = [line.split() for line in flows.lines(1)]
    assert lines[1] == ["[2001:db8::a]:40000", "[2001:db8::1]:80", "2", "1", "0", "75B"]
    assert " ".join(lines[2]) == "and 1 more with fewer messages"
