"""HAR entries of browsers, and of whoever, become messages that a server understands."""

import base64
import json
from typing import Any

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assemble.message import Message, read_message
from emit.exchanges import FORM, BadEntryError, records_of

BROWSER: dict[str, Any] = {
    "startedDateTime": "2026-01-31T12:00:00.123Z",
    "time": 50,
    "request": {
        "method": "POST", "url": "https://shop.example:8443/cart?x=%20y#top", "httpVersion": "h2", "cookies": [],
        "headers": [
            {"name": ":method", "value": "POST"}, {"name": ":authority", "value": "shop.example:8443"},
            {"name": ":path", "value": "/cart?x=%20y"}, {"name": "accept", "value": "*/*"},
        ],
        "queryString": [], "postData": {"mimeType": "text/plain; charset=utf-8", "text": "caf\u00e9"},
        "headersSize": -1, "bodySize": 5,
    },
    "response": {
        "status": 200, "statusText": "", "httpVersion": "h2", "cookies": [],
        "headers": [
            {"name": "content-encoding", "value": "br"}, {"name": "content-length", "value": "999"},
            {"name": "content-type", "value": "application/json"},
        ],
        "content": {"size": 8, "mimeType": "application/json", "text": '{"a": 1}'}, "redirectURL": "",
        "headersSize": -1, "bodySize": 3,
    },
    "cache": {}, "timings": {"send": 1, "wait": 39, "receive": 10}, "connection": "443",
}  # fmt: skip


def changed(half: str | None = None, **changes: Any) -> dict[str, Any]:
    """Return the browser's entry with some values changed."""
    entry: dict[str, Any] = json.loads(json.dumps(BROWSER))
    (entry if half is None else entry[half]).update(changes)
    return entry


def read(entry: Any) -> list[Message]:
    """Return the messages of an entry."""
    return [read_message(record) for record in records_of(entry, 1)]


def test_a_browser_s_exchange_becomes_http_1():
    """Pseudo header fields go, Host comes, lengths are those of what is sent; as h11 reads it."""
    asked, answered = read(BROWSER)
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(asked.payload)
    head = connection.next_event()
    assert isinstance(head, h11.Request)
    assert (head.method, head.target) == (b"POST", b"/cart?x=%20y")
    assert list(head.headers) == [(b"host", b"shop.example:8443"), (b"accept", b"*/*"), (b"content-length", b"5")]
    assert asked.payload.endswith("caf\u00e9".encode())
    assert answered.payload == (b'HTTP/1.1 200 \r\ncontent-length: 8\r\ncontent-type: application/json\r\n\r\n{"a": 1}')
    assert asked.id == answered.id
    assert asked.first_ns == 1_769_860_800_123_000_000
    assert (answered.first_ns - asked.first_ns, answered.last_ns - asked.first_ns) == (40_000_000, 50_000_000)
    assert (asked.complete, answered.complete) == (True, True)


def test_ids_differ_from_entry_to_entry():
    """Two equal requests in one millisecond are two."""
    ids = [next(iter(records_of(BROWSER, number)))[:8] for number in (1, 2, 1)]
    assert ids[0] == ids[2] != ids[1]


@pytest.mark.parametrize(
    ("half", "changes", "complete"),
    [
        ("request", {"postData": {"mimeType": FORM, "params": [{"name": "a", "value": "b c"}]}}, True),
        ("request", {"postData": {"mimeType": "multipart/form-data", "params": [{}]}, "bodySize": 70}, False),
        ("response", {"content": {"size": 5, "mimeType": "image/png"}}, False),
        ("response", {"content": {"size": 5}, "status": 304}, True),
        ("response", {"content": {"size": 0, "mimeType": ""}}, True),
    ],
)  # fmt: skip
def test_bodies_that_were_not_recorded_are_missing(half: str, changes: dict[str, Any], complete: bool):
    """A message without the body that it had is not complete, and is not replayed as if it were."""
    found = {each.kind: each for each in read(changed(half, **changes))}
    assert found[half].complete == complete
    if "params" in str(changes) and complete:
        assert found[half].payload.endswith(b"\r\n\r\na=b+c")


def test_bodies_have_the_charset_that_they_name():
    """HAR holds them in UTF-8 (`content`, HAR 1.2)."""
    content = {"size": 1, "mimeType": "text/html; charset=ISO-8859-1", "text": "\u00e9"}
    assert read(changed("response", content=content))[1].payload.endswith(b"\r\n\r\n\xe9")
    packed = base64.b64encode(b"\x1f\x8b123").decode()
    headers = [{"name": "Content-Encoding", "value": "gzip"}]
    content = {"size": 1, "mimeType": "", "text": packed, "encoding": "base64"}
    assert b"Content-Encoding: gzip" in read(changed("response", content=content, headers=headers))[1].payload


@pytest.mark.parametrize(
    "entry",
    [
        None, [], 7, {}, changed(startedDateTime="yesterday"), changed("request", method="GET\r\nX: y"),
        changed("request", url="http://[::1/"), changed("request", url="/relative"), changed("request", method=None),
    ],
)  # fmt: skip
def test_entries_that_make_no_sense_are_refused(entry: Any):
    """In words, without their values."""
    with pytest.raises(BadEntryError):
        read(entry)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(
    place=st.sampled_from([None, "request", "response"]),
    key=st.sampled_from([*BROWSER, *BROWSER["request"], *BROWSER["response"], "_ringtap"]),
    value=anything,
)
def test_any_value_is_read_or_refused(place: str | None, key: str, value: Any):
    """A stranger may write whatever JSON can hold; lines end where they should."""
    try:
        found = read(changed(place, **{key: value}))
    except BadEntryError:
        return
    for each in found:
        assert each.head <= len(each.payload)
