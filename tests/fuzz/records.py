"""Programs of bytes that make records as Forward senders send them, some of them ours, some nearly.

In: bytes.  Out: entries.  Invariant: any bytes are a program, and what a short one lacks is 0.
"""

from typing import Any, Final

import msgpack

TOKENS: Final = (
    b"\x93\xa1t", b"\x92\xa1t", b"\x94\xa1t\x00\x80\xc0", b"\xc0", b"\xdc\x00\x03\xa1t", b"\xdd\x00\x00\x00\x02\xa1t",
    b"\xd7\x00\x00\x00\x00\x01\x00\x00\x00\x02", b"\xc7\x08\x00\x00\x00\x00\x01\x00\x00\x00\x02", b"\x80", b"\x81",
    b"\x81\xa5chunk\xa1x", b"\x81\xa5chunk\xc4\x01x", b"\x81\xaacompressed\xa4gzip", b"\x81\xaacompressed\xa4text",
    b"\xc6\x00\x00\x00\x01", b"\xc4\x03", b"\xd9\x03", b"\xda\x00\x03", b"\xdb\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff",
    b"\x91" * 40, b"\xdd\xff\xff\xff\xff", b"\xc9\xff\xff\xff\xff\x00", b"\xcf" + b"\xff" * 8, b"\xd3\x80" + b"\0" * 7,
    b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03", b"\x93\xa4HELO\x80", b"\xca\x00\x00\x00\x00", b"\xc1",
)  # fmt: skip
KEYS: Final = (
    "id", "kind", "src", "dst", "sport", "dport", "duration_us", "method", "target", "status", "complete", "missing",
    "head", "payload", "part", "parts", "total", "log", "x" * 40,
)  # fmt: skip
VALUES: Final[tuple[Any, ...]] = (
    "0000000000000001", "1", "ffffffffffffffff", "0000000000000001f", "request", "response", "replayed", "10.0.0.1",
    "2001:db8::1", "::ffff:1.2.3.4", "::", "1.2.3", 0, 1, 80, 65535, 65536, -1, 2**31, 2**32, 2**63, 2**64 - 1,
    -(2**63), True, False, None, 1.5, "GET", "POST", "/", "/a?b=c", "", "é", b"GET / HTTP/1.1\r\n\r\n", b"GET /", b"",
    b"\xff" * 9, b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 3000, [], {}, [1], {"a": [{}]}, msgpack.ExtType(0, bytes(8)),
    "y" * 300,
)  # fmt: skip
TIMES: Final[tuple[Any, ...]] = (
    1, msgpack.ExtType(0, bytes(8)), [msgpack.ExtType(0, b"\xff" * 8), {}], msgpack.ExtType(1, bytes(8)), -1, 2**32,
    msgpack.ExtType(0, bytes(7)), 1.5,
)  # fmt: skip


class Program:
    """Bytes that are read from their beginning."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    @property
    def left(self) -> int:
        """How many there are still."""
        return len(self.data) - self.at

    def byte(self) -> int:
        """Take one; 0 if there are no more."""
        self.at += 1
        return self.data[self.at - 1] if self.at <= len(self.data) else 0

    def take(self, size: int) -> bytes:
        """Take so many, or what is there."""
        taken = self.data[self.at : self.at + size]
        self.at += size
        return taken

    def entry(self) -> bytes:
        """Take one entry: a message of ours with a few things changed, as msgpack."""
        how, number = self.byte(), self.byte()
        payload = b"GET /%d HTTP/1.1\r\n\r\n" % number + b"b" * ((number & 15) ** 2)
        record: dict[Any, Any] = {
            "id": f"{number & 7:016x}", "kind": "request", "src": "10.0.0.1", "dst": "10.0.0.2",
            "sport": 40000 + number, "dport": 80, "duration_us": 5, "method": "GET", "target": f"/{number}",
            "complete": True, "missing": 0, "head": payload.index(b"\r\n\r\n") + 4, "payload": payload,
        }  # fmt: skip
        if how & 1:  # its answer
            del record["method"], record["target"]
            record |= {"kind": "response", "status": 200, "payload": b"HTTP/1.1 200 OK\r\n\r\n" + payload}
        if how & 2:
            parts = 1 + (self.byte() & 3)
            record |= {"part": self.byte() % parts, "parts": parts}
        for _ in range(how >> 2 & 3):
            key, value = KEYS[self.byte() % len(KEYS)], VALUES[self.byte() % len(VALUES)]
            if value is None:
                record.pop(key, None)
            else:
                record[key] = value
        if how & 16:
            record = dict(sorted(record.items()))
        time = TIMES[(self.byte() if how & 32 else 1) % len(TIMES)]
        packed: bytes = msgpack.packb([time, record], use_bin_type=not how & 64)
        return packed
