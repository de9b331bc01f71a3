"""Makes messages, ring records and rings for the tests of emit, and reads what came out, all in plain Python."""

import base64
import json
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Final

import msgpack
from hypothesis import strategies as st

from assemble.message import Message, read_message
from assemble.records import (
    FLAG_COMPLETE,
    FLAG_INTERIM,
    FLAG_IPV6,
    MESSAGE_HEADER,
    REPLAYED,
    REQUEST,
    RESPONSE,
)
from capture.records import KIND_MESSAGE
from capture.ring import Consumer, Producer, Ring

CLIENT: Final = IPv4Address("10.0.0.1")
SERVER: Final = IPv4Address("192.168.255.7")
TARGET: Final = IPv4Address("192.0.2.10")
OURSELVES: Final = IPv4Address("192.0.2.1")
KINDS: Final = {"request": REQUEST, "response": RESPONSE, "replayed": REPLAYED}


def request(number: int = 0, body: bytes = b"", target: str = "/", **changes: Any) -> Message:
    """Make a request whose start line fits its fields."""
    method = changes.pop("method", "GET")
    head = f"{method} {target} HTTP/1.1\r\nHost: shop\r\n\r\n".encode("latin-1")
    return Message(
        id=number,
        kind="request",
        src=CLIENT,
        sport=40_000 + number % 20_000,
        dst=SERVER,
        dport=8080,
        first_ns=1_700_000_000_123_456_789,
        last_ns=1_700_000_000_123_456_789 + 5000,
        method=method,
        target=target,
        status=None,
        head=len(head),
        complete=True,
        missing=0,
        payload=head + body,
    ).replace(**changes)


def response(number: int = 0, body: bytes = b"", status: int = 200, **changes: Any) -> Message:
    """Make the response to `request(number)`."""
    head = f"HTTP/1.1 {status} Fine\r\nServer: shop\r\n\r\n".encode()
    asked = request(number)
    answer = asked.replace(kind="response", method=None, target=None, status=status, head=len(head))
    answer = answer.replace(src=asked.dst, sport=asked.dport, dst=asked.src, dport=asked.sport)
    return answer.replace(payload=head + body, **changes)


def replayed(number: int = 0, body: bytes = b"", status: int = 200, **changes: Any) -> Message:
    """Make what the target of a replay answered to `request(number)`."""
    answer = response(number, body, status, kind="replayed", src=TARGET, sport=9000, dst=OURSELVES, dport=50_000)
    return answer.replace(**changes)


def conversation(count: int, body_bytes: int = 200) -> list[Message]:
    """Make `count` messages, request and response in turn, each one different."""
    made: list[Message] = []
    for number in range(-(-count // 2)):
        made.append(request(number, target=f"/item/{number}"))
        made.append(response(number, b"%08d" % number * (body_bytes // 8)))
    return made[:count]


def header_of(message: Message) -> list[Any]:
    """Return the fields of a message's header, as one part."""
    flags = FLAG_COMPLETE * message.complete
    flags |= FLAG_IPV6 * isinstance(message.src, IPv6Address)
    if message.kind == "response" and 100 <= (message.status or 0) < 200 and message.status != 101:
        flags |= FLAG_INTERIM
    method_len = len(message.method or "")
    return [
        message.id,
        message.first_ns,
        message.last_ns,
        message.src.packed.ljust(16, b"\0"),
        message.dst.packed.ljust(16, b"\0"),
        message.sport,
        message.dport,
        KINDS[message.kind],
        flags,
        message.status or 0,
        method_len,
        method_len + 1 if method_len else 0,
        len(message.target or ""),
        message.payload.find(b"\n") + 1,
        message.head,
        len(message.payload),
        message.missing,
        0,
        0,
        1,
    ]


def records_of(message: Message, part_bytes: int = 1_048_560) -> list[bytes]:
    """Return a message as KIND_MESSAGE payloads."""
    fields = header_of(message)
    size = len(message.payload)
    parts = max(1, -(-size // part_bytes))
    made = []
    for part in range(parts):
        offset = part * part_bytes
        fields[-3:] = [offset, part, parts]
        made.append(MESSAGE_HEADER.pack(*fields) + message.payload[offset : offset + part_bytes])
    return made


def part_bytes_of(ring: Ring) -> int:
    """Return the size of parts that the assembler would use for a ring."""
    return min(1_048_560, max(24, (ring.largest - MESSAGE_HEADER.size) // 4 // 24 * 24))


def fill(ring: Ring, messages: Iterable[Message], *, close: bool = True) -> Producer:
    """Write messages into a ring that has room for them."""
    producer = Producer(ring)
    for message in messages:
        for record in records_of(message, part_bytes_of(ring)):
            assert producer.try_put(KIND_MESSAGE, record), "the test's ring is too small"
    if close:
        producer.close()
    return producer


def ring_of(messages: Iterable[Message], capacity: int = 4 << 20, *, close: bool = True) -> Ring:
    """Make a ring that holds messages."""
    ring = Ring.create(capacity)
    fill(ring, messages, close=close)
    return ring


def drain(ring: Ring, start: int = 0) -> list[Message]:
    """Read all messages of a ring, putting parts together; what is not whole fails."""
    consumer = Consumer(ring)
    found: list[Message] = []
    parts: list[bytes] = []
    while (record := consumer.read(start)) is not None:
        _kind, view, start = record
        fields = list(MESSAGE_HEADER.unpack_from(view))
        total, offset, part, count = fields[15], *fields[17:]
        assert part == len(parts), "parts follow each other, with nothing between"
        assert offset == sum(map(len, parts))
        size = min(len(view) - MESSAGE_HEADER.size, total - offset)
        if part + 1 < count:
            size = size // 3 * 3
        parts.append(bytes(view[MESSAGE_HEADER.size : MESSAGE_HEADER.size + size]))
        if part + 1 == count:
            fields[-3:] = [0, 0, 1]
            found.append(read_message(MESSAGE_HEADER.pack(*fields) + b"".join(parts)))
            parts = []
    assert not parts, "the last message is whole"
    return found


def as_line(message: Message) -> dict[str, Any]:
    """Return what the JSON line of a message says: the oracle of the compiled encoder."""
    line: dict[str, Any] = {
        "id": message.id_hex,
        "kind": message.kind,
        "ts": seconds(message.first_ns),
        "duration": seconds(message.last_ns - message.first_ns),
        "src": str(message.src),
        "sport": message.sport,
        "dst": str(message.dst),
        "dport": message.dport,
    }
    if message.kind == "request":
        line |= {"method": message.method, "target": message.target}
    else:
        line["status"] = message.status
    return line | {
        "complete": message.complete,
        "missing": message.missing,
        "payload": base64.b64encode(message.payload).decode(),
    }


class Seconds(str):
    """A number of seconds as it is written in a line, so that no decimal is lost in comparing."""


def seconds(ns: int) -> Seconds:
    """Write nanoseconds as seconds with nine decimals."""
    sign = "-" if ns < 0 else ""
    return Seconds(f"{sign}{abs(ns) // 10**9}.{abs(ns) % 10**9:09d}")


def read_lines(text: bytes) -> list[dict[str, Any]]:
    """Read JSON Lines: addresses in Python's spelling, seconds as they are written."""
    assert text.isascii()
    assert not text or text.endswith(b"\n")
    lines = [json.loads(line, parse_float=Seconds) for line in text.splitlines()]
    for line in lines:
        line["src"], line["dst"] = (str(ip_address(line[end])) for end in ("src", "dst"))
    return lines


def as_record(message: Message) -> dict[str, Any]:
    """Return what the msgpack record of a message says: the oracle of the compiled encoder."""
    record: dict[str, Any] = {
        "id": message.id_hex,
        "kind": message.kind,
        "src": str(message.src),
        "dst": str(message.dst),
        "sport": message.sport,
        "dport": message.dport,
        "duration_us": max(message.last_ns - message.first_ns, 0) // 1000,
    }
    if message.kind == "request":
        record |= {"method": message.method, "target": message.target}
    else:
        record["status"] = message.status
    return record | {
        "complete": message.complete,
        "missing": message.missing,
        "head": message.head,
        "payload": message.payload,
    }


def event_time(ns: int) -> msgpack.ExtType:
    """Return an EventTime."""
    second, rest = divmod(ns, 10**9)
    return msgpack.ExtType(0, (second % 2**32).to_bytes(4, "big") + rest.to_bytes(4, "big"))


def entry(message: Message, **changes: Any) -> bytes:
    """Return one entry as any Forward client might send it."""
    packed: bytes = msgpack.packb([event_time(message.first_ns), as_record(message) | changes])
    return packed


def entries(messages: Iterable[Message]) -> bytes:
    """Return an event stream."""
    return b"".join(entry(message) for message in messages)


def packed_forward(body: bytes, name: bytes | str | None = None, tag: str = "ringtap.request", **more: Any) -> bytes:
    """Return a PackedForward frame."""
    options = more | ({} if name is None else {"chunk": name})
    packed: bytes = msgpack.packb([tag, body, options])
    return packed


def on_the_wire(message: Message) -> Message:
    """Return a message as it is after encoding and decoding: durations are cut to microseconds."""
    duration_us = max(message.last_ns - message.first_ns, 0) // 1000
    return message.replace(last_ns=message.first_ns + duration_us * 1000)


def sorted_messages(messages: Sequence[Message]) -> list[Message]:
    """Sort messages, for comparing what need not keep its order over all flows."""
    return sorted(messages, key=lambda message: (message.id, message.kind, message.payload))


latin = st.text(st.characters(min_codepoint=0x21, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=30)
odd = st.text(st.characters(max_codepoint=0xFF, exclude_characters="\n "), max_size=60)
addresses = st.one_of(
    st.tuples(st.ip_addresses(v=4), st.ip_addresses(v=4)),
    st.tuples(st.ip_addresses(v=6), st.ip_addresses(v=6)),
)


@st.composite
def messages(draw: st.DrawFn, most_body: int = 400, most_s: int = 2**32 - 1) -> Message:
    """Any message that an assembler may make, odd bytes in the target included."""
    src, dst = draw(addresses)
    first_ns = draw(st.integers(0, most_s * 10**9))
    changes = {
        "src": src,
        "dst": dst,
        "sport": draw(st.integers(0, 65535)),
        "dport": draw(st.integers(0, 65535)),
        "first_ns": first_ns,
        "last_ns": first_ns + draw(st.integers(0, 10**12)),
        "complete": draw(st.booleans()),
        "missing": draw(st.integers(0, 2**63)),
    }
    number = draw(st.integers(0, 2**64 - 1))
    body = draw(st.binary(max_size=most_body))
    if draw(st.booleans()):
        method = draw(latin.filter(bool))
        return request(number, body, draw(odd), method=method, **changes)
    if draw(st.booleans()):
        return response(number, body, draw(st.integers(100, 999)), **changes)
    return replayed(number, body, draw(st.integers(0, 999)), **changes)
