"""Messages from HAR entries, our own and those of others (HAR 1.2).

In: an entry as JSON gave it.  Out: records.  Invariant: what is read is well-formed, whatever a stranger wrote; of our
own entries, `_ringtap` says what HAR has no place for.
"""

import base64
import binascii
import ipaddress
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

from assemble.records import REPLAYED, REQUEST, RESPONSE
from emit.building import LATEST_NS, NS_PER_S, Ends, build, name_of, placeholder
from emit.heads import Parsed, clean, rebuilt

OURS: Final = "_ringtap"
"""Our own field of an entry: names that begin with an underscore are free for that."""
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
MS_PER_DAY: Final = 86_400_000
MOST_HEADERS: Final = 10_000
BODILESS: Final = (204, 304)


class BadEntryError(ValueError):
    """An entry that no message can be made of; says why, without any of its values."""


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
        parsed = Parsed((method, "" if "line" in ours else target_of(url, method), version), **_as_it_was(said, ours))
    else:
        if not METHOD.fullmatch(method):
            raise BadEntryError("`method` is missing, or not one")
        parsed = Parsed((method, target_of(url, method), _version(version)), headers=_fields(said))
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


def target_of(url: str, method: str) -> str:
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
