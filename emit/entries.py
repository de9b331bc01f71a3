"""HAR entries from messages (HAR 1.2).

In: records.  Out: an entry as a line of JSON.  Invariant: messages written here and read again (emit/exchanges.py) have
the same ids, addresses, times, header fields in order and case, and bodies; what the format cannot hold is told by
`told`.  What HAR has no place for is in a field of our own.
"""

import base64
import ipaddress
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import parse_qsl

from assemble.records import FLAG_COMPLETE, FLAG_INTERIM, FLAG_IPV6, MESSAGE_HEADER, REPLAYED, REQUEST
from emit.building import IPV4_BYTES, Ends, Start
from emit.exchanges import OURS, BadEntryError, target_of
from emit.heads import CHUNKED, ENCODING, Parsed, joined, parse, rebuilt

CHUNKS: Final = "bodies in chunks become one piece"
SPACES: Final = "white space and line ends of heads become the usual ones"
UTF8: Final = re.compile(r"charset\s*=\s*[\"']?\s*(utf-?8|us-ascii)\b", re.IGNORECASE)
CONTROLS: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")  # each takes more room in JSON than in base64

Fields = tuple[Any, ...]


class Half:
    """One message on its way into an entry."""

    def __init__(self, record: bytes) -> None:
        fields: Fields = MESSAGE_HEADER.unpack_from(record)
        self.name, self.first_ns, self.last_ns = fields[0:3]
        self.kind, self.flags = fields[7:9]
        size = 16 if self.flags & FLAG_IPV6 else IPV4_BYTES
        self.ends = Ends(fields[3][:size], fields[5], fields[4][:size], fields[6])
        self.missing: int = fields[16]
        self.payload = record[MESSAGE_HEADER.size :]
        self.start = Start(fields[9], *fields[10:15])
        self.parsed = parse(self.payload, self.start)

    @property
    def complete(self) -> bool:
        """Whether nothing is missing from it."""
        return bool(self.flags & FLAG_COMPLETE)

    @property
    def interim(self) -> bool:
        """Whether another response follows under the same id."""
        return bool(self.flags & FLAG_INTERIM)

    def ours(self) -> dict[str, Any]:
        """Return what HAR has no place for; numbers of 64 bits as text, as not every reader has so many."""
        said: dict[str, Any] = {
            "first": str(self.first_ns),
            "last": str(self.last_ns),
            "src": str(ipaddress.ip_address(self.ends.src)),
            "sport": self.ends.sport,
            "dst": str(ipaddress.ip_address(self.ends.dst)),
            "dport": self.ends.dport,
        }
        if self.kind == REPLAYED:
            said["replayed"] = True
        if not self.complete or self.missing:
            said |= {"complete": self.complete, "missing": str(self.missing)}
        if self.parsed.raw:
            said["raw"] = True
        if self.parsed.first != self.usual_line():
            said["line"] = self.parsed.first
        return said

    def usual_line(self) -> str:
        """Return the start line as it is read from what HAR has of it."""
        first, second, third = self.parsed.line
        if self.kind != REQUEST:
            return joined((first, f"{_status(second):03}", third))
        try:
            return joined((first, target_of(_url(self.parsed, self.ends), first), third))
        except BadEntryError:
            return ""

    def told(self) -> str | None:
        """Return what of it an entry cannot hold, in words; None if it holds everything."""
        again = rebuilt(self.parsed, bodiless=not self.parsed.body, complete=self.complete)
        if again == self.payload:
            return None
        chunked = any(name.lower() == ENCODING and CHUNKED.search(value) for name, value in self.parsed.headers)
        return CHUNKS if chunked and not self.parsed.raw else SPACES


def entry_line(asked: Half | None, answered: Half | None) -> bytes:
    """Return an entry of a request, its answer, or both, as one line of JSON without its end."""
    first = asked or answered
    assert first is not None
    last_ns = max(each.last_ns for each in (asked, answered) if each is not None)
    ms = [(first.last_ns - first.first_ns) / 1e6, 0.0, 0.0]
    if asked is not None and answered is not None:
        ms[1:] = [(answered.first_ns - asked.last_ns) / 1e6, (answered.last_ns - answered.first_ns) / 1e6]
    client = first.ends if first.kind == REQUEST else Ends(first.ends.dst, first.ends.dport, first.ends.src, 0)
    entry = {
        "startedDateTime": when(first.first_ns),
        "time": max((last_ns - first.first_ns) / 1e6, 0.0),
        "request": _request(asked),
        "response": _response(answered),
        "cache": {},
        "timings": dict(zip(("send", "wait", "receive"), (max(each, 0.0) for each in ms), strict=True)),
        "serverIPAddress": str(ipaddress.ip_address(client.dst)),
        "connection": str(client.sport),
        OURS: {
            "id": f"{first.name:016x}",
            "request": asked and asked.ours(),
            "response": answered and answered.ours(),
        },
    }
    return json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode()


def when(ns: int) -> str:
    """Write a time with microseconds."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=ns // 1000)).isoformat().replace("+00:00", "Z")


def _request(half: Half | None) -> dict[str, Any]:
    if half is None:
        return {
            "method": "", "url": "", "httpVersion": "", "cookies": [], "headers": [], "queryString": [],
            "headersSize": -1, "bodySize": -1,
        }  # fmt: skip
    parsed, (method, _target, version) = half.parsed, half.parsed.line
    url = _url(parsed, half.ends)
    said: dict[str, Any] = {
        "method": method,
        "url": url,
        "httpVersion": version,
        "cookies": _cookies(parsed),
        "headers": _named(parsed.headers),
        "queryString": _named(parse_qsl(url.partition("?")[2], keep_blank_values=True)),
        "headersSize": half.start.head_len,
        "bodySize": len(half.payload) - half.start.head_len,
    }
    if parsed.body:
        kind = parsed.value("content-type") or ""
        text, encoded = _text(parsed, kind)
        said["postData"] = {"mimeType": kind, "params": [], "text": text} | ({"_encoding": encoded} if encoded else {})
    return said


def _response(half: Half | None) -> dict[str, Any]:
    line = ("", "0", "") if half is None else half.parsed.line
    parsed = Parsed(line) if half is None else half.parsed
    kind = parsed.value("content-type") or ""
    content: dict[str, Any] = {"size": len(parsed.body), "mimeType": kind}
    if parsed.body:
        text, encoded = _text(parsed, kind)
        content |= {"text": text} | ({"encoding": encoded} if encoded else {})
    return {
        "status": _status(line[1]),
        "statusText": line[2],
        "httpVersion": line[0],
        "cookies": [],
        "headers": _named(parsed.headers),
        "content": content,
        "redirectURL": parsed.value("location") or "",
        "headersSize": -1 if half is None else half.start.head_len,
        "bodySize": -1 if half is None else len(half.payload) - half.start.head_len,
    }


def _status(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 3 else 0


def _named(pairs: list[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in pairs]


def _cookies(parsed: Parsed) -> list[dict[str, str]]:
    pairs = [each.partition("=") for each in (parsed.value("cookie") or "").split(";")]
    return _named([(name.strip(), value.strip()) for name, equals, value in pairs if equals])


def _text(parsed: Parsed, kind: str) -> tuple[str, str | None]:
    """Return a body as text if that is certain to give the same bytes again, else in base64."""
    if not parsed.value("content-encoding") and not parsed.raw and ("charset" not in kind.lower() or UTF8.search(kind)):
        try:
            text = parsed.body.decode()
        except UnicodeDecodeError:
            text = "\0"
        if not CONTROLS.search(text):
            return text, None
    return base64.b64encode(parsed.body).decode(), "base64"


def _url(parsed: Parsed, ends: Ends) -> str:
    method, target, _version = parsed.line
    if "://" in target.partition("?")[0]:
        return target
    address = ipaddress.ip_address(ends.dst)
    there = f"[{address}]:{ends.dport}" if address.version == 6 else f"{address}:{ends.dport}"
    host = target if method == "CONNECT" else parsed.value("host") or there
    return f"http://{host}{target if target.startswith('/') else '/'}"
