"""HAR entries from messages, and messages from HAR entries, our own and those of others (HAR 1.2).

In: records, or an entry as JSON gave it.  Out: an entry as a line of JSON, or records.  Invariant: messages written
here and read again have the same ids, addresses, times, header fields in order and case, and bodies; what the format
cannot hold is told by `told`.  What is read is well-formed, whatever a stranger wrote.

What HAR has no place for is in `_ringtap` of an entry; names that begin with an underscore are free for that.
"""

import base64
import binascii
import ipaddress
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from assemble.records import FLAG_COMPLETE, FLAG_INTERIM, FLAG_IPV6, MESSAGE_HEADER, REPLAYED, REQUEST, RESPONSE
from emit.building import IPV4_BYTES, KINDS, LATEST_NS, NS_PER_S, Ends, Start, build, name_of, placeholder
from emit.heads import CHUNKED, ENCODING, Parsed, clean, joined, parse, rebuilt

OURS: Final = "_ringtap"
NAMES: Final = {number: name for name, number in KINDS.items()}
CHUNKS: Final = "bodies in chunks become one piece"
SPACES: Final = "white space and line ends of heads become the usual ones"
UTF8: Final = re.compile(r"charset\s*=\s*[\"']?\s*(utf-?8|us-ascii)\b", re.IGNORECASE)
CHARSET: Final = re.compile(
    r"charset\s*=\s*[\"']?\s*((?:iso-?8859|windows-125|shift_jis|euc-|gb|big5|koi8)[\w-]*)", re.I
)
HTTP1: Final = re.compile(r"HTTP/1\.[01]", re.IGNORECASE)
METHOD: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
ID: Final = re.compile(r"[0-9a-f]{16}")
NUMBER: Final = re.compile(r"-?\d{1,20}")
MAGICS: Final = {"gzip": b"\x1f\x8b", "x-gzip": b"\x1f\x8b", "zstd": b"\x28\xb5\x2f\xfd"}
SAFE: Final = "".join(map(chr, range(0x21, 0x7F)))
FORM: Final = "application/x-www-form-urlencoded"
CONTROLS: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")  # each takes more room in JSON than in base64
MS_PER_DAY: Final = 86_400_000
MOST_HEADERS: Final = 10_000
BODILESS: Final = (204, 304)

Fields = tuple[Any, ...]


class BadEntryError(ValueError):
    """An entry that no message can be made of; says why, without any of its values."""


# -- out


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
            return joined((first, _target(_url(self.parsed, self.ends), first), third))
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


# -- in


def records_of(entry: Any, number: int) -> Iterator[bytes]:
    """Yield the request and the response of an entry, each if it is there; raises BadEntryError."""
    if not isinstance(entry, dict):
        raise BadEntryError("it is not an object")
    ours = entry.get(OURS)
    ours = ours if isinstance(ours, dict) else {}
    asked, answered = _map(entry, "request"), _map(entry, "response")
    began_ns, wait_ns, ended_ns = _times(entry)
    name = _name(entry, ours, number)
    if not ours or ours.get("request") is not None:
        ends = _ends(entry, name, REQUEST)
        payload, complete = _asked(asked, _map(ours, "request"))
        yield _built(REQUEST, name, (began_ns, began_ns + wait_ns), ends, payload, complete, _map(ours, "request"))
    status = answered.get("status")
    if ours.get("response") is not None if ours else isinstance(status, int) and 0 < status <= 999:
        said = _map(ours, "response")
        kind = REPLAYED if said.get("replayed") is True else RESPONSE
        ends = _ends(entry, name, kind)
        payload, complete = _answered(answered, said, asked.get("method") == "HEAD")
        yield _built(kind, name, (began_ns + wait_ns, ended_ns), ends, payload, complete, said)


def _built(
    kind: int, name: int, times: tuple[int, int], ends: Ends, payload: bytes, complete: bool, said: dict[str, Any]
) -> bytes:
    """Return a record, with what our own entries say of it."""
    missing = 0
    if said:
        times = _number(said, "first", times[0]), _number(said, "last", times[1])
        ends = _our_ends(said, ends)
        complete = said.get("complete", True) is True
        missing = max(_number(said, "missing", 0, 2**64 - 1), 0)
    if max(map(abs, times)) > LATEST_NS:
        raise BadEntryError("its time is out of range")
    return build(kind, name, times, ends, payload, complete=complete, missing=missing)


def _map(said: dict[str, Any], key: str) -> dict[str, Any]:
    value = said.get(key)
    return value if isinstance(value, dict) else {}


def _string(said: dict[str, Any], key: str) -> str:
    value = said.get(key)
    return value if isinstance(value, str) else ""


def _number(said: dict[str, Any], key: str, default: int, most: int = LATEST_NS) -> int:
    text = said.get(key)
    number = int(text) if isinstance(text, str) and NUMBER.fullmatch(text) else default
    return number if abs(number) <= most else default


def _name(entry: dict[str, Any], ours: dict[str, Any], number: int) -> int:
    """Return the id: ours, or one made of when and what was asked, and how many entries came before."""
    text = _string(ours, "id")
    if ID.fullmatch(text):
        return int(text, 16)
    request = _map(entry, "request")
    parts = (str(number), _string(entry, "startedDateTime"), _string(request, "method"), _string(request, "url"))
    return name_of("\n".join(parts).encode("utf-8", "replace"))


def _times(entry: dict[str, Any]) -> tuple[int, int, int]:
    """Return when an entry began, how long until its response began, and when it was over, in nanoseconds."""
    try:
        began = datetime.fromisoformat(_string(entry, "startedDateTime"))
    except ValueError:
        raise BadEntryError("`startedDateTime` is missing, or not a time") from None
    since = (began if began.tzinfo else began.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC)
    began_ns = (since.days * 86_400 + since.seconds) * NS_PER_S + since.microseconds * 1000
    timings = _map(entry, "timings")
    total_ns = _duration_ns(entry.get("time"))
    wait_ns = total_ns - min(_duration_ns(timings.get("receive")), total_ns)
    return began_ns, wait_ns, began_ns + total_ns


def _duration_ns(ms: object) -> int:
    """Read milliseconds; what is no duration is none."""
    if isinstance(ms, int | float | Decimal) and not isinstance(ms, bool) and 0 <= ms <= 1000 * MS_PER_DAY:
        return int(ms * 1_000_000)
    return 0


def _ends(entry: dict[str, Any], name: int, kind: int) -> Ends:
    """Return addresses: a connection for each that a browser names, if it is one that has one request at a time."""
    connection = _string(entry, "connection")
    if connection and HTTP1.fullmatch(_string(_map(entry, "request"), "httpVersion")):
        server = _string(entry, "serverIPAddress")
        return placeholder(name_of(f"{server} {connection}".encode("utf-8", "replace")), kind)
    return placeholder(name, kind)


def _our_ends(said: dict[str, Any], default: Ends) -> Ends:
    try:
        src, dst = (ipaddress.ip_address(_string(said, key)).packed for key in ("src", "dst"))
    except ValueError:
        return default
    ports = [said.get(key) for key in ("sport", "dport")]
    sport, dport = (each if isinstance(each, int) and 0 <= each <= 65535 else 0 for each in ports)
    return Ends(src, sport, dst, dport) if len(src) == len(dst) else default


def _headers(said: dict[str, Any]) -> list[tuple[str, str]]:
    listed = said.get("headers")
    pairs = [each for each in listed[:MOST_HEADERS] if isinstance(each, dict)] if isinstance(listed, list) else []
    return [(_string(each, "name"), _string(each, "value")) for each in pairs]


def _asked(said: dict[str, Any], ours: dict[str, Any]) -> tuple[bytes, bool]:
    """Return a request's bytes, and whether they are all there."""
    method, url, version = (_string(said, key) for key in ("method", "url", "httpVersion"))
    if ours:
        parsed = Parsed((method, "" if "line" in ours else _target(url, method), version), **_as_it_was(said, ours))
    else:
        if not METHOD.fullmatch(method):
            raise BadEntryError("`method` is missing, or not one")
        parsed = Parsed((method, _target(url, method), _version(version)), headers=_fields(said))
    parsed.body, there = _body(_map(said, "postData"), said.get("bodySize"))
    if ours:
        return rebuilt(parsed, complete=ours.get("complete", True) is True), there
    if parsed.value("host") is None:
        parsed.headers.insert(0, ("Host", _host(url)))
    return rebuilt(parsed, complete=there, translated=True), there


def _answered(said: dict[str, Any], ours: dict[str, Any], to_head: bool) -> tuple[bytes, bool]:
    """Return a response's bytes, and whether they are all there."""
    status = said.get("status")
    digits = f"{status:03}" if isinstance(status, int) and 0 < status <= 999 else "000"
    version, reason = _string(said, "httpVersion"), _string(said, "statusText")
    content = _map(said, "content")
    bodiless = to_head or status in BODILESS or digits.startswith("1")
    if ours:
        parsed = Parsed((version, digits, reason), **_as_it_was(said, ours))
        parsed.body, there = _body(content, None)
        return rebuilt(parsed, bodiless=not parsed.body, complete=ours.get("complete", True) is True), there
    reason = "".join(each for each in reason if each == " " or each.isprintable())
    parsed = Parsed((_version(version), digits, reason), headers=_fields(said))
    parsed.body, there = _body(content, None if bodiless else content.get("size"))
    _decode(parsed)
    translated = not HTTP1.fullmatch(version)
    return rebuilt(parsed, bodiless=bodiless, complete=there, translated=translated and not bodiless), there


def _as_it_was(said: dict[str, Any], ours: dict[str, Any]) -> dict[str, Any]:
    """Return what is known of a message of ours, for `Parsed`."""
    return {
        "first": _string(ours, "line") if "line" in ours else None,
        "headers": _headers(said),
        "raw": ours.get("raw") is True,
    }


def _fields(said: dict[str, Any]) -> list[tuple[str, str]]:
    """Return a stranger's header fields; those of HTTP/2 that begin with a colon are the start line."""
    return clean([(name, _latin(value)) for name, value in _headers(said)])


def _latin(text: str) -> str:
    """Return text whose characters are bytes."""
    return text if text.isascii() or max(text) <= "\xff" else text.encode("utf-8", "replace").decode("latin-1")


def _version(text: str) -> str:
    return text.upper() if HTTP1.fullmatch(text) else "HTTP/1.1"


def _target(url: str, method: str) -> str:
    """Return what of a URL goes into the start line."""
    try:
        split = urlsplit(url)
    except ValueError:
        raise BadEntryError("`url` is not one") from None
    if method == "CONNECT":
        return quote(split.netloc or url, safe=SAFE)
    begin = url.find("/", url.find("://") + 3) if "://" in url else 0
    path = url[begin:] if begin >= 0 else "/" + (f"?{split.query}" if split.query else "")
    path = path.partition("#")[0] or "/"
    return path if path.isascii() and path.isprintable() and " " not in path else _quoted(path)


def _quoted(path: str) -> str:
    """Return a target as it goes onto the wire: bytes of HTTP/1.x that are no line end are left as they are."""
    if max(path) <= "\xff" and not set(path) & {" ", "\r", "\n", "\0"}:
        return path
    return quote(path, safe=SAFE)


def _host(url: str) -> str:
    authority = urlsplit(url).netloc.rpartition("@")[2]
    if not authority:
        raise BadEntryError("`url` names no host")
    return quote(authority, safe=SAFE)


def _body(said: dict[str, Any], size: object) -> tuple[bytes, bool]:
    """Return the bytes of `postData` or `content`, and whether they are all there."""
    text, kind = said.get("text"), _string(said, "mimeType")
    if isinstance(text, str):
        if "base64" in (said.get("encoding"), said.get("_encoding")):
            try:
                return base64.b64decode(text), True
            except (binascii.Error, ValueError):
                raise BadEntryError("a body that is not base64") from None
        found = CHARSET.search(kind)
        try:
            return text.encode(found[1] if found else "utf-8"), True
        except (UnicodeError, LookupError):
            return text.encode("utf-8", "replace"), True
    listed = said.get("params")
    if isinstance(listed, list) and listed and kind.lower().startswith(FORM):
        pairs = [each for each in listed[:MOST_HEADERS] if isinstance(each, dict)]
        return urlencode([(_string(each, "name"), _string(each, "value")) for each in pairs]).encode(), True
    return b"", not (isinstance(size, int) and size > 0)


def _decode(parsed: Parsed) -> None:
    """Take a Content-Encoding off a body that has been decoded already, as HAR asks for."""
    said = (parsed.value("content-encoding") or "").strip().lower()
    magic = MAGICS.get(said)
    if said and said != "identity" and parsed.body and (magic is None or not parsed.body.startswith(magic)):
        parsed.headers = [each for each in parsed.headers if each[0].lower() != "content-encoding"]
