"""Lines of ours and of strangers: what is taken, what is refused, and that it is told by its number."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assemble.message import read_message
from emit.jsonlines import BadLineError, LineSource, read_line
from tests.emit.builders import request, response
from tests.emit.lines import line_of


def changed(**changes: Any) -> bytes:
    """Return a line of ours with some values changed; None takes a key out."""
    line = json.loads(line_of(request(5))) | changes
    return json.dumps({key: value for key, value in line.items() if value is not None}).encode()


def test_order_and_further_keys_do_not_matter():
    """Whoever has been through jq has another order."""
    line = json.loads(line_of(response(3)), parse_float=str)
    text = json.dumps(dict(reversed(line.items())) | {"note": {"by": ["hand"]}})
    for key in ("ts", "duration"):
        text = text.replace(f'"{line[key]}"', line[key])
    assert read_message(read_line(text.encode())) == response(3)


def test_every_nanosecond_is_kept():
    """A float would lose a hundred of them."""
    made = request(1, first_ns=1_700_000_000_123_456_789, last_ns=1_700_000_000_123_456_790)
    assert read_message(read_line(line_of(made))).last_ns == made.last_ns


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"kind": "answer"}, "kind"), ({"kind": None}, "kind"), ({"id": "xyz"}, "id"), ({"id": 5}, "id"),
        ({"id": "1" * 17}, "id"), ({"ts": "now"}, "ts"), ({"ts": None}, "ts"), ({"ts": 1e300}, "ts"),
        ({"ts": float("nan")}, "ts"), ({"ts": float("inf")}, "ts"), ({"ts": True}, "ts"),
        ({"duration": -1e300}, "duration"),
        ({"src": "nowhere"}, "address"), ({"src": "::1"}, "families"), ({"sport": -1}, "sport"),
        ({"dport": 65536}, "dport"),
        ({"sport": 1.5}, "sport"), ({"payload": "%"}, "base64"), ({"payload": "QQ"}, "base64"),
        ({"payload": 7}, "payload"),
        ({"complete": 1}, "complete"), ({"missing": -1}, "missing"), ({"aborted": True}, "never whole"),
    ],
)  # fmt: skip
def test_values_that_cannot_be_are_refused(change: dict[str, Any], why: str):
    """With the key, and without the value, which may be a secret."""
    with pytest.raises(BadLineError, match=why):
        read_line(changed(**change))


@pytest.mark.parametrize(
    "line", [b"", b"[]", b"7", b"{", b'{"a":' * 100_000, b"[" * 100_000, b"\xff", b"9" * 10_000, b'{"ts":1e999999999}']
)
def test_lines_of_strangers_cost_themselves(line: bytes):
    """However deep, long or large."""
    with pytest.raises(BadLineError):
        read_line(line)


@given(
    st.binary(max_size=200) | st.dictionaries(st.text(max_size=8), st.integers() | st.text(max_size=9)).map(json.dumps)
)
def test_any_line_is_a_message_or_refused(line: bytes | str):
    """Nothing else escapes."""
    with contextlib.suppress(BadLineError):
        read_message(read_line(line.encode() if isinstance(line, str) else line))


def test_bad_lines_are_counted_and_told_by_number(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """The others are read; nothing of a line is in the log."""
    secret = b'{"password":"hunter2"}\n'
    path = tmp_path / "f"
    path.write_bytes(line_of(request(1)) + secret + b"\n" + line_of(request(2)) + b"\n" + secret)
    with LineSource(str(path)) as source:
        assert [read_message(record).id for record in source] == [1, 2]
    assert (source.records, source.refused, source.cut_at) == (4, 2, None)
    assert "line 2 is no message" in caplog.text
    assert "line 6 is no message" in caplog.text
    assert "hunter2" not in caplog.text


def test_what_people_changed_is_read_from_the_payload():
    """A method that is not in the payload is not believed."""
    found = read_message(read_line(changed(method="POST", target="/elsewhere")))
    assert (found.method, found.target) == ("GET", "/")
