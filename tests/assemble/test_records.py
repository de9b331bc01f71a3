"""The message record: what the table says is what is read, and a refusal has words for people."""

from ipaddress import IPv4Address, IPv6Address

from assemble.records import (
    FLAG_COMPLETE,
    FLAG_IPV6,
    MESSAGE_HEADER,
    PART_BYTES,
    REFUSALS,
    REQUEST,
    RESPONSE,
    read_message,
)
from assemble.tally import ASSEMBLE_COUNTERS

GET = b"GET /caf\xe9 HTTP/1.1\r\nA: b\r\n\r\n"


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


def test_a_part_can_be_encoded_alone():
    """See PART_BYTES: base64 works on three bytes at a time."""
    assert PART_BYTES % 3 == 0


def test_every_refusal_has_words():
    """`inspect --frame` says them; a counter's name alone explains nothing."""
    assert set(REFUSALS) == {name for name in ASSEMBLE_COUNTERS if name.startswith("refused_")}
