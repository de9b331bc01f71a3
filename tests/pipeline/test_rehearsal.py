"""`replay --dry-run`: says what the replay would send, and when, and sends nothing."""

import re

import pytest

from capture.errors import ConfigError
from pipeline.outputs import HttpOutput
from pipeline.rehearsal import MOST_ROWS, Rehearsal, host_of, rehearse
from pipeline.replay import tables
from pipeline.settings import build
from tests.emit.builders import conversation, request, response
from tests.integration.jobs import START_NS, exchanges
from tests.integration.replays import asked, record
from tests.packets_files import write_pcap
from tests.targets import target

SECOND = 1_000_000_000


def said(path, *overrides, url="http://127.0.0.1:9", **keys):
    """Rehearse, and return the text."""
    return "\n".join(rehearse(build(tables([str(path)], [], {"address": url} | keys), "replay", overrides)))


def test_what_would_be_sent_is_said_by_method_and_host(tmp_path):
    """Whose requests these are is what people look for before they send them somewhere."""
    messages = [
        *conversation(20),
        request(100, b"x" * 1000, method="POST"),
        request(101, complete=False, missing=5),
        request(102).replace(payload=b"GET / HTTP/1.1\r\n\r\n", head=18),
    ]
    text = said(record(tmp_path / "a.rec", messages))
    assert text.startswith("would send  12 requests, ")
    assert ", to http://127.0.0.1:9\n" in text
    assert "left out    10 responses, 1 requests with bytes missing" in text
    assert re.findall(r"^ +(\d+) +\S+ +(\w+) +(\S+)$", text, re.MULTILINE) == [
        ("10", "GET", "shop"), ("1", "POST", "shop"), ("1", "GET", "192.168.255.7:8080"),
    ]  # fmt: skip
    assert "host, sent as 127.0.0.1:9" in text
    assert text.endswith("nothing was sent")


def test_a_capture_is_rehearsed_like_a_recording(tmp_path):
    """With the filter and the ports of its input."""
    path = write_pcap(tmp_path / "a.pcap", exchanges(30))
    assert "would send  30 requests" in said(path)
    assert "would send  1 requests" in said(path, "input.filter=host 192.0.2.7")
    assert "would send  0 requests" in said(path, "input.ports=[81]")
    assert "would send  10 requests" in said(path, where="path ~ '^/item/2.'")


def test_nothing_is_sent(tmp_path):
    """Not even a connection is made."""
    with target() as server:
        assert server.url in said(record(tmp_path / "a.rec", asked(3, 3)), url=server.url)
    assert server.accepted == 0


@pytest.mark.parametrize(
    ("keys", "took"),
    [
        ({"speed": 1.0}, "in 99.0 s: 1.0 requests/s, 1 in the busiest second"),
        ({"speed": 10.0}, "in 9.9 s: 10.1 requests/s, 10 in the busiest second"),
        ({"rate": 20.0}, "in 5.0 s: 20.2 requests/s, 20 in the busiest second"),
        ({"rate": 20.0, "multiply": 3}, "in 14.9 s: 20.1 requests/s, 20 in the busiest second"),
        ({"rate": 1000.0}, "in 0.1 s: 100.0 requests/s, 100 in the busiest second"),
        ({"rate": 20.0, "ramp": "4s"}, "in 7.0 s: 14.4 requests/s, 20 in the busiest second"),
        ({"speed": "max"}, "as fast as it answers"),
    ],
)
def test_how_long_it_takes_is_said(tmp_path, keys, took):
    """On the schedule that the replay keeps."""
    path = record(tmp_path / "a.rec", asked(10, 10, step_ns=SECOND))
    text = said(path, **keys)
    assert took in text
    assert "99.0 s\n            on 10 connections" in text


def test_what_is_not_wanted_is_counted_with_its_reason(tmp_path):
    """A message is sent or in one place of what is left out."""
    messages = [
        *conversation(20), request(50, method="DELETE"), request(51, complete=False),
        response(52).replace(kind="replayed"),
    ]  # fmt: skip
    path = record(tmp_path / "a.rec", messages)
    text = said(path, methods=["GET"], where="path != '/item/3' and kind != 'replayed'")
    assert "would send  9 requests" in text
    left = {reason: int(count) for count, reason in re.findall(r"(\d+) ([a-z][a-z ]+)", text.split("left out")[1])[:4]}
    assert sum(left.values()) == len(messages) - 9
    assert left["requests by their method"] == left["requests with bytes missing"] == 1
    assert "1 answers of an earlier replay" in said(path)


def test_a_wish_is_what_the_filter_says_of_long_messages_too():
    """They are asked about as a whole; responses follow their requests as ever."""
    output = HttpOutput(
        type="http", address="http://h", where="size > 3000000 and path == '/long' and header('Host') == 'shop'"
    )
    rehearsal = Rehearsal(output)
    assert [rehearsal.reason(each) != "by where" for each in (
        request(1, bytes(5_000_000), "/long"), request(2, b"", "/long"), request(3, bytes(5_000_000)),
        request(4, bytes(5_000_000), "/long"), response(3, bytes(5_000_000)), response(4),
    )] == [True, False, False, True, False, True]  # fmt: skip


def test_more_rows_than_fit_are_summed_up(tmp_path):
    """A thousand names are no overview."""
    messages = [
        request(at).replace(payload=b"GET / HTTP/1.1\r\nHost: h%d\r\n\r\n" % at, head=26 + len(str(at)))
        for at in range(MOST_ROWS + 5)
    ]
    assert "5 more, in 5 rows" in said(record(tmp_path / "a.rec", messages))


def test_a_host_is_looked_for_where_a_server_does():
    """Absolute targets first (RFC 9112 section 3.2.2), and never in a body."""
    head = b"GET / HTTP/1.1\r\nX-Host: no\r\nhOsT: \t yes \r\n\r\n"
    assert host_of(request(0).replace(payload=head + b"Host: no", head=len(head))) == "yes"
    assert host_of(request(0, target="http://other:80/a")) == "other:80"
    assert host_of(request(0).replace(payload=b"GET / HTTP/1.1\r\n\r\nHost: no", head=18)) == "192.168.255.7:8080"


def test_names_from_the_traffic_do_not_reach_the_terminal_as_they_are(tmp_path):
    """Control characters would write where they please."""
    odd = b"GET / HTTP/1.1\r\nHost: \x1b[2J\r\n\r\n"
    text = said(record(tmp_path / "a.rec", [request(0).replace(payload=odd, head=len(odd))]))
    assert "\x1b" not in text
    assert "\\x1b[2J" in text


def test_an_output_that_replays_nothing_is_refused(tmp_path):
    """`--set` can do that."""
    path = record(tmp_path / "a.rec", asked(1, 1))
    with pytest.raises(ConfigError, match="of type null"):
        list(rehearse(build({"input": {"type": "file", "path": str(path)}, "output": [{"type": "null"}]}, "x")))


@pytest.mark.parametrize(("loop", "sent"), [("3", 15), ("forever", 5)])
def test_rounds_are_rehearsed(tmp_path, loop, sent):
    """All of them, or one of those without end."""
    text = said(record(tmp_path / "a.rec", asked(1, 5)), f"input.loop={loop}")
    assert f"would send  {sent} requests" in text
    assert ("one round of many" in text) == (loop == "forever")


def test_what_is_not_rehearsed_is_said(tmp_path):
    """A sample of which all is announced would be a surprise, if a pleasant one."""
    path = record(tmp_path / "a.rec", asked(1, 5))
    assert "at most: sample, limit not applied here" in said(path, "output.0.limit=5", "output.0.sample=10")
    assert "at most" not in said(path)


def test_nothing_to_send_is_said(tmp_path):
    """A filter that is too narrow is found before the night of the test."""
    text = said(record(tmp_path / "a.rec", asked(1, 1)), where="method == 'PUT'")
    assert text == "would send  0 requests, 0B, to http://127.0.0.1:9\nleft out    1 by where\nnothing was sent"


def test_the_first_time_is_the_earliest(tmp_path):
    """Recordings are sorted only roughly."""
    messages = [request(at).replace(first_ns=START_NS + each) for at, each in enumerate((SECOND, 0))]
    path = record(tmp_path / "a.rec", messages)
    rehearsal = Rehearsal(build(tables([str(path)], [], {"address": "http://x"}), "replay").output[0])
    for each in messages:
        rehearsal.add(each)
    assert (rehearsal.first_ns, rehearsal.last_ns) == (START_NS, START_NS + SECOND)
