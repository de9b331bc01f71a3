"""HAR entries: ours come back, show what viewers look for, and say what they cannot hold."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assemble.message import Message
from emit.building import record_of
from emit.entries import CHUNKS, SPACES, Half, entry_line, when
from tests.emit.builders import replayed, request, response
from tests.emit.test_exchanges import read


def written(asked: Message | None, answered: Message | None) -> dict[str, Any]:
    """Return an entry of ours."""
    halves = [None if each is None else Half(record_of(each)) for each in (asked, answered)]
    entry: dict[str, Any] = json.loads(entry_line(*halves))
    return entry


def test_our_own_entries_come_back():
    """Both messages, in every field."""
    asked, answered = request(5, b"a=b", "/x?y=1&y=2", method="PUT"), response(5, b"\0\1\2", 404)
    assert read(written(asked, answered)) == [asked, answered]
    assert read(written(asked, None)) == [asked]
    assert read(written(None, answered)) == [answered]
    assert read(written(None, replayed(5, b"", 0).replace(payload=b"", head=0))) == [
        replayed(5, status=0, payload=b"", head=0)
    ]


@pytest.mark.parametrize("target", ["/", "/a#b", "//host/x", "*", "http://other/x?y", "/\xe9", "/a%20b?c d", "", "a b"])
@pytest.mark.parametrize("method", ["GET", "CONNECT", "OPTIONS"])
def test_every_target_comes_back(method: str, target: str):
    """Also where a URL does not tell it."""
    made = request(5, target=target, method=method)
    assert read(written(made, None))[0].payload == made.payload


@pytest.mark.parametrize("kind", [b"", b"text/html; charset=utf-8", b"text/html; charset=iso-8859-1", b"image/png"])
@given(body=st.binary(max_size=50) | st.text(max_size=20).map(str.encode))
def test_every_body_comes_back(kind: bytes, body: bytes):
    """As text where people can read it, else in base64; what is compressed stays so."""
    for extra in (b"", b"Content-Encoding: gzip\r\n"):
        for make in (request, response):
            made = make(5)
            head = made.payload[:-2] + b"Content-Type: " + kind + b"\r\n" + extra + b"\r\n"
            made = made.replace(payload=head + body, head=len(head))
            pair = (made, None) if made.kind == "request" else (None, made)
            if kind:
                assert read(written(*pair)) == [made]


def test_what_viewers_show_is_right():
    """A HAR file is for looking at."""
    payload = b"GET /x?y=1 HTTP/1.1\r\nHost: shop\r\nCookie: a=b; c=d\r\n\r\n"
    asked = request(5, target="/x?y=1", payload=payload, head=len(payload))
    entry = written(asked, response(5, b"hello", first_ns=asked.last_ns + 2_000_000, last_ns=asked.last_ns + 5_000_000))
    assert entry["request"]["url"] == "http://shop/x?y=1"
    assert entry["request"]["queryString"] == [{"name": "y", "value": "1"}]
    assert [each["value"] for each in entry["request"]["cookies"]] == ["b", "d"]
    assert entry["response"]["content"] == {"size": 5, "mimeType": "", "text": "hello"}
    assert entry["timings"] == {"send": 0.005, "wait": 2.0, "receive": 3.0}
    assert entry["time"] == 5.005
    assert (entry["serverIPAddress"], entry["connection"]) == ("192.168.255.7", "40005")
    assert entry["startedDateTime"] == when(asked.first_ns) == "2023-11-14T22:13:20.123456Z"


def test_what_is_lost_is_told():
    """So that nobody takes it for what was on the wire."""
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"
    spaced = b"HTTP/1.1 200 OK\r\nA:b\r\n\r\n"
    made = [response(1).replace(payload=each, head=each.find(b"\r\n\r\n") + 4) for each in (chunked, spaced)]
    assert [Half(record_of(each)).told() for each in (*made, response(1))] == [CHUNKS, SPACES, None]
