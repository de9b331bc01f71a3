"""Messages by their bytes, and what an independent reader makes of them, for the tests of rewriting and masking."""

import gzip
import zlib
from typing import Any, Final

import h11
import zstandard

from assemble.message import Message
from tests.emit.builders import request, response

PACK: Final = {
    "": lambda data: data,
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}
UNPACK: Final = {
    "": lambda data: data,
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
    "zstd": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
}


def message(head: str, body: bytes = b"", number: int = 1, **changes: Any) -> Message:
    """Make a message of its bytes; its kind is told by its start line."""
    lines = head.strip("\n").replace("\r\n", "\n").replace("\n", "\r\n") + "\r\n\r\n"
    raw = lines.encode("latin-1")
    if head.startswith("HTTP/"):
        made = response(number, status=int(head.split()[1]))
    else:
        method, target, _version = head.split("\n")[0].split(" ")
        made = request(number, method=method, target=target)
    return made.replace(payload=raw + body, head=len(raw), **changes)


def chunked(body: bytes, size: int, trailers: bytes = b"") -> bytes:
    """Write a body in chunks."""
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(each), each) for each in pieces) + b"0\r\n" + trailers + b"\r\n"


def post(body: bytes, kind: str = "application/json", coding: str = "", chunk: int = 0, more: str = "") -> Message:
    """Make a request with a body, in a coding and in chunks if asked for."""
    packed = PACK[coding](body)
    head = f"POST /p HTTP/1.1\nHost: shop\nContent-Type: {kind}\n{more}"
    head += f"Content-Encoding: {coding}\n" if coding else ""
    head += "Transfer-Encoding: chunked" if chunk else f"Content-Length: {len(packed)}"
    return message(head, chunked(packed, chunk) if chunk else packed)


def read(made: Message) -> tuple[Any, bytes]:
    """Read a whole message as h11 does: its head, and its body without codings; fails if a length is wrong."""
    asked = made.kind == "request"
    connection = h11.Connection(h11.SERVER if asked else h11.CLIENT)
    if not asked:
        connection.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
        connection.send(h11.EndOfMessage())
    connection.receive_data(made.payload)
    head, body = connection.next_event(), b""
    assert isinstance(head, h11.Request | h11.Response)
    while isinstance(event := connection.next_event(), h11.Data):
        body += bytes(event.data)
    if event is h11.NEED_DATA and not asked:
        connection.receive_data(b"")
        event = connection.next_event()
    assert isinstance(event, h11.EndOfMessage), event
    assert connection.trailing_data[0] == b""
    coding = dict(head.headers).get(b"content-encoding", b"").decode()
    return head, UNPACK[coding](body)
