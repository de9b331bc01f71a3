"""What h11 and httptools say of a message: that it is one, and where it ends.

In: a message as it was on the wire, and for a response the method of its request.  Out: None, or what a parser has
against it.
"""

import re
from dataclasses import dataclass
from typing import Final

import h11
import httptools

from assemble import Message

NEXT: Final = {
    "request": b"GET /next HTTP/1.1\r\nHost: n\r\n\r\n",
    "response": b"HTTP/1.1 299 Next\r\nContent-Length: 0\r\n\r\n",
}
"""What is sent right behind a message: h11 must not take a byte of it.  httptools says the end with its last byte."""

MOST: Final = 1 << 26


@dataclass(frozen=True)
class Asked:
    """A complete message, and what the parsers have to be told."""

    kind: str
    payload: bytes
    head: int
    method: str  # of the request, or of the request that a response answers

    @property
    def lines(self) -> list[bytes]:
        """The lines of the header block, without line ends."""
        return [line.removesuffix(b"\r") for line in self.payload[: self.head].split(b"\n")][:-2]

    @property
    def status(self) -> int:
        """The status; 0 of a request."""
        return int(self.payload[9:12]) if self.kind == "response" else 0

    def values(self, name: bytes) -> list[bytes]:
        """The values of a header field, folded lines joined."""
        block = re.sub(rb"\r?\n[ \t]+", b" ", b"\n".join(self.lines))
        pairs = [line.partition(b":") for line in block.split(b"\n")[1:]]
        return [value.strip() for key, _, value in pairs if key.strip().lower() == name]

    @property
    def until_close(self) -> bool:
        """Whether the body runs until the connection closes (RFC 9112 6.3, rules 4 and 8)."""
        if self.kind == "request" or self.bodyless:
            return False
        codings = b",".join(self.values(b"transfer-encoding"))
        return not codings.lower().endswith(b"chunked") and bool(codings or not self.values(b"content-length"))

    @property
    def bodyless(self) -> bool:
        """Whether a response has no body, whatever its headers say (RFC 9112 6.3, rules 1 and 2)."""
        tunnel = self.method == "CONNECT" and self.status // 100 == 2
        return self.status // 100 == 1 or self.status in (204, 304) or self.method == "HEAD" or tunnel


def asked(messages: list[Message]) -> list[Asked]:
    """Give the complete messages whose request's method is known."""
    methods = {m.id: m.method for m in messages if m.method}
    return [Asked(m.kind, m.payload, m.head, methods[m.id] or "") for m in messages if m.complete and m.id in methods]


def ask_h11(message: Asked) -> str | None:
    """Let h11 read a message: what it says against it; None: that it ends exactly at the last byte."""
    try:
        if message.kind == "request":
            return _h11_ends(h11.Connection(h11.SERVER, MOST), with_host(message), message)
        return _h11_ends(_h11_client(message), message.payload, message)
    except h11.RemoteProtocolError as error:
        return str(error)


def with_host(message: Asked) -> bytes:
    """Give a request with the Host that HTTP/1.1 demands (RFC 9112 3.2), which has no part in framing."""
    payload = message.payload
    if message.values(b"host"):
        return payload
    start = payload.index(b"\n") + 1
    return payload[:start] + b"Host: h\r\n" + payload[start:]


def _h11_client(message: Asked) -> h11.Connection:
    connection = h11.Connection(h11.CLIENT, MOST)
    upgrade = [("Upgrade", "x")] if message.status == 101 else []
    connection.send(h11.Request(method=message.method, target="/", headers=[("Host", "h"), *upgrade]))
    connection.send(h11.EndOfMessage())
    return connection


def _h11_ends(connection: h11.Connection, payload: bytes, message: Asked) -> str | None:
    """Hold that the message is not over before its last byte, over with it, and that nothing behind it is taken."""
    connection.receive_data(payload[:-1])
    if _h11_end(connection):
        return "over too early"
    connection.receive_data(payload[-1:] + (b"" if message.until_close else NEXT[message.kind]))
    if message.until_close:
        if _h11_end(connection):
            return "over before the connection is closed"
        connection.receive_data(b"")
    if not _h11_end(connection):
        return "not over"
    return None if connection.trailing_data[0] in (b"", NEXT[message.kind]) else "over too early or too late"


def _h11_end(connection: h11.Connection) -> bool:
    """Read on to the end of the message, or to where the connection becomes a tunnel; tell whether it came."""
    while not isinstance(event := connection.next_event(), type | h11.ConnectionClosed):
        if isinstance(event, h11.EndOfMessage | h11.InformationalResponse):
            return True
    return event is h11.PAUSED


@dataclass
class Callbacks:
    """What httptools reports."""

    headed: bool = False
    over: int = 0
    body: int = 0

    def on_headers_complete(self) -> None:
        """Note the blank line."""
        self.headed = True

    def on_message_complete(self) -> None:
        """Note the end."""
        self.over += 1

    def on_body(self, data: bytes) -> None:
        """Count the body's bytes."""
        self.body += len(data)


def ask_httptools(message: Asked) -> str | None:
    """Let httptools read a message: what it says against it; None: that it ends exactly at the last byte.

    It cannot be told the method that a response answers: of one that has no body for that reason it reads the head.
    """
    told = Callbacks()
    parser = (httptools.HttpRequestParser if message.kind == "request" else httptools.HttpResponseParser)(told)
    parser.set_dangerous_leniencies(lenient_headers=True, lenient_chunked_length=True, lenient_transfer_encoding=True)
    try:
        parser.feed_data(message.payload[:-1])
        if told.over:
            return "over too early"
        parser.feed_data(message.payload[-1:])
        return _httptools_end(told, message)
    except httptools.HttpParserUpgrade as switch:
        return None if told.headed and switch.args == (1,) else "over too early"
    except httptools.HttpParserError as error:
        return str(error)


def _httptools_end(told: Callbacks, message: Asked) -> str | None:
    """Hold what was reported with the last byte against what should be."""
    if not told.headed:
        return "head not over"
    if message.until_close:
        return None if (told.over, told.body) == (0, len(message.payload) - message.head) else "not until close"
    if message.kind == "response" and message.method in ("HEAD", "CONNECT") and message.bodyless:
        return None
    return None if told.over == 1 else "not over"
