"""The head and body of a message as parsed values, and bytes again, for formats that keep no wire bytes.

In: wire bytes.  Out: `Parsed`; and back.  Invariant: what is built is well-formed HTTP/1.x whose Content-Length is
right, whatever the values are; `rebuilt` from what was parsed is the same bytes, unless the head had other white space
or the body was chunked.
"""

import re
from dataclasses import dataclass, field
from typing import Final

from emit.building import Start
from emit.head import TOKEN

CHUNKED: Final = re.compile(r"(?:^|,)\s*chunked\s*$", re.IGNORECASE)
SIZE: Final = re.compile(rb"([0-9a-fA-F]{1,15})[ \t]*(?:;[^\n]*)?\r?\n")
VERSION: Final = re.compile(r"HTTP/\d\.\d", re.IGNORECASE)
NOT_IN_A_LINE: Final = re.compile(r"[\r\n\0]+")
BLANKS: Final = " \t"
LENGTH: Final = "content-length"
ENCODING: Final = "transfer-encoding"


@dataclass
class Parsed:
    """A message without its framing."""

    line: tuple[str, str, str]  # method, target, version; or version, status, reason
    first: str | None = None  # the start line as it is, if it is known to be other than these joined
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    raw: bool = False  # the body is as it was on the wire, as its chunks make no sense

    def value(self, name: str) -> str | None:
        """Return the first field of a name in lower case."""
        return next((value.strip(BLANKS) for each, value in self.headers if each.lower() == name), None)


def parse(payload: bytes, start: Start) -> Parsed:
    """Take a message apart; each byte is a Latin-1 character."""
    first = payload[: start.start_len or len(payload)].rstrip(b"\r\n").decode("latin-1")
    lines = payload[start.start_len : start.head_len].decode("latin-1").split("\n") if start.start_len else []
    headers: list[tuple[str, str]] = []
    for each in lines:
        text = each.rstrip("\r")
        if text[:1] in {" ", "\t"} and headers:  # obsolete folding, RFC 9112 5.2
            name, value = headers[-1]
            headers[-1] = (name, f"{value.rstrip(BLANKS)} {text.strip(BLANKS)}")
        elif text:
            name, _colon, value = text.partition(":")
            headers.append((name, value.removeprefix(" ")))
    if start.target_len or start.method_len:
        end = start.target_at + start.target_len
        target = payload[start.target_at : end].decode("latin-1")
        line = (first[: start.method_len], target, first[end:].strip(" "))
    else:
        version, _space, rest = first.partition(" ")
        status, _space, reason = rest.partition(" ")
        line = (version, status, reason)
    parsed = Parsed(line, first, headers, payload[start.head_len :])
    if any(name.lower() == ENCODING and CHUNKED.search(value) for name, value in headers):
        body = dechunk(parsed.body)
        parsed.raw = body is None
        parsed.body = parsed.body if body is None else body
    return parsed


def dechunk(body: bytes) -> bytes | None:
    """Return what a chunked body holds, trailers left out (RFC 9112 7.1); None if it is not whole, or not chunked."""
    at, pieces = 0, list[bytes]()
    while found := SIZE.match(body, at):
        size = int(found[1], 16)
        at = found.end()
        if size == 0:
            return b"".join(pieces)
        end = body.find(b"\n", at + size, at + size + 2)
        if end < 0 or at + size > len(body):
            return None
        pieces.append(body[at : at + size])
        at = end + 1
    return None


def rebuilt(parsed: Parsed, *, bodiless: bool = False, complete: bool = True, translated: bool = False) -> bytes:
    """Return wire bytes.

    bodiless    a Content-Length is about a body that is not sent: of a response to HEAD, or of status 304
    complete    false: the length said is more than there is
    translated  the message was not HTTP/1.x: it needs a length where it has none
    """
    headers = parsed.headers
    if not parsed.raw:
        headers = _framed(parsed, bodiless or not complete, translated)
    lines = [
        joined(parsed.line) if parsed.first is None else parsed.first,
        *(f"{name}: {value}" if value else f"{name}:" for name, value in headers),
    ]
    if lines == [""] and not parsed.body:
        return b""  # a replay that was not answered
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace") + parsed.body


def joined(line: tuple[str, str, str]) -> str:
    """Return a start line."""
    text = " ".join(line)
    return text if line[2] or VERSION.match(text) else text.rstrip(" ")  # a request of HTTP/0.9 has two words


def _framed(parsed: Parsed, keep: bool, translated: bool) -> list[tuple[str, str]]:
    """Return the headers with one right length, where there was a length or chunks."""
    size = str(len(parsed.body))
    framed, said = [], False
    for name, value in parsed.headers:
        lower = name.lower()
        if lower == ENCODING and CHUNKED.search(value):
            if not said:
                framed.append(("Content-Length", size))
            said = True
        elif lower == LENGTH and not keep:
            if not said:
                framed.append((name, value if value.strip(BLANKS) == size else size))
            said = True
        else:
            said = said or lower == LENGTH
            framed.append((name, value))
    if translated and not said and parsed.body:
        framed.append(("Content-Length", size))
    return framed


def clean(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return fields of strangers without what would break the lines they go into."""
    return [(name, NOT_IN_A_LINE.sub(" ", value).strip(BLANKS)) for name, value in headers if TOKEN.fullmatch(name)]
