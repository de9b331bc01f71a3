"""The library's message: what the record says is what is read, and equal messages are equal in every field."""

from ipaddress import IPv4Address, IPv6Address
from typing import Any, Final

import pytest

from assemble.message import Message, read_message
from assemble.records import FLAG_COMPLETE, FLAG_IPV6, MESSAGE_HEADER, REPLAYED, REQUEST, RESPONSE

GET = b"GET /caf\xe9 HTTP/1.1\r\nA: b\r\n\r\n"
FIELDS: Final[dict[str, Any]] = {
    "id": 2**64 - 1, "kind": "request", "src": IPv4Address("192.0.2.1"), "sport": 65535,
    "dst": IPv4Address("192.0.2.2"), "dport": 80, "first_ns": -1, "last_ns": 2**62, "method": "GET",
    "target": "/caf\xe9", "status": None, "head": len(GET), "complete": True, "missing": 0, "payload": GET,
}  # fmt: skip


def record(kind: int, flags: int, status: int, payload: bytes, missing: int = 0) -> bytes:
    """Lay out a record as the table says."""
    lengths = (3, 4, 5, 20) if kind == REQUEST else (0, 0, 0, 19)
    here, there = bytes([192, 0, 2, 1]).ljust(16, b"\0"), bytes(range(16))
    numbers = (0xABC, 5, 6, here, there, 7, 8, kind, flags, status)
    return MESSAGE_HEADER.pack(*numbers, *lengths, len(payload), len(payload), missing, 0, 0, 1) + payload


def test_a_request_is_read_as_it_was_written():
    """Method and target are given as on the wire, whatever bytes they hold."""
    m = read_message(record(REQUEST, FLAG_COMPLETE, 0, GET) + b"\0\0\0")
    assert (m.id_hex, m.kind, m.method, m.target, m.status) == ("0000000000000abc", "request", "GET", "/caf\xe9", None)
    assert (m.src, m.sport, m.dport, m.first_ns, m.last_ns) == (IPv4Address("192.0.2.1"), 7, 8, 5, 6)
    assert (m.complete, m.missing, m.payload) == (True, 0, GET)


def test_a_response_is_read_as_it_was_written():
    """The addresses of both families share their place."""
    m = read_message(record(RESPONSE, FLAG_IPV6, 299, b"HTTP/1.1 299 Fine\r\n", 3))
    assert (m.kind, m.method, m.target, m.status, m.complete, m.missing) == ("response", None, None, 299, False, 3)
    assert m.dst == IPv6Address(bytes(range(16)))


def test_an_answer_replayed_is_read_like_a_response():
    """Where no answer came, it has no status and no byte."""
    m = read_message(record(REPLAYED, 0, 0, b""))
    assert (m.kind, m.method, m.target, m.status, m.complete, m.payload) == ("replayed", None, None, 0, False, b"")
    assert m.replace() == m


def test_a_record_shorter_than_it_says_is_refused():
    """Reading on would give bytes of whatever lies behind it."""
    whole = record(REQUEST, FLAG_COMPLETE, 0, GET)
    for short in (b"", whole[:119], whole[:-1]):
        with pytest.raises(ValueError, match="a record of"):
            read_message(short)


def test_a_start_line_that_ends_outside_of_the_payload_is_not_read():
    """A damaged record must not show what lies behind it in memory."""
    m = read_message(record(REQUEST, 0, 0, b"GE"))
    assert (m.method, m.target) == ("", "")


def test_a_message_gives_back_what_it_was_made_of():
    """Tests and tools make messages of their own."""
    m = Message(**FIELDS)
    assert {name: getattr(m, name) for name in FIELDS} == FIELDS
    assert repr(m) == "Message(" + ", ".join(f"{name}={value!r}" for name, value in FIELDS.items()) + ")"


@pytest.mark.parametrize("name", FIELDS)
def test_messages_that_differ_in_one_field_differ(name: str):
    """Tests of the whole pipeline compare messages: a field that is not compared is not tested."""
    other = {
        "id": 1, "kind": "response", "src": IPv4Address("192.0.2.3"), "sport": 1, "dst": IPv4Address("192.0.2.3"),
        "dport": 1, "first_ns": 1, "last_ns": 1, "method": "PUT", "target": "/", "status": 200, "head": 1,
        "complete": False, "missing": 1, "payload": b"x",
    }  # fmt: skip
    base = Message(**FIELDS) if name != "status" else Message(**FIELDS | {"kind": "response", "status": 100})
    changed = base.replace(**{name: other[name]})
    assert changed != base
    assert getattr(changed, name) == other[name]
    assert base == base.replace()
    assert hash(base) == hash(base.replace())


def test_a_message_cannot_be_changed():
    """It may be shared; nobody expects a field to change under them."""
    m: Any = Message(**FIELDS)
    for name in FIELDS:
        with pytest.raises(AttributeError):
            setattr(m, name, FIELDS[name])


@pytest.mark.parametrize(
    ("wrong", "says"),
    [({"kind": "reply"}, "one of request, response, replayed"), ({"dst": IPv6Address("::1")}, "two families")],
)
def test_an_impossible_message_is_refused(wrong: dict[str, Any], says: str):
    """Better at once than in a record that no reader expects."""
    with pytest.raises(ValueError, match=says):
        Message(**FIELDS | wrong)
