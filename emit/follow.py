"""What an answer changes in the requests after it, where that is asked for: redirects that are followed, cookies.

In: requests as they are sent, answers as they came.  Out: requests to send instead.  Pure functions; what cannot be
followed (another server, no Location) is None, and stays an answer like others.
"""

from typing import Final
from urllib.parse import urljoin, urlsplit

from emit.head import Head
from emit.prepare import flags_of_method
from emit.records import HttpSpec

MOST_COOKIES: Final = 100
"""Names remembered for one captured connection."""
MOST_COOKIE_BYTES: Final = 4096
TO_GET: Final = {301, 302, 303}
SAME_METHOD: Final = {307, 308}
ABOUT_BODY: Final = {
    b"content-length",
    b"content-type",
    b"content-encoding",
    b"transfer-encoding",
    b"trailer",
    b"expect",
}

Changed = tuple[bytes, int]
"""A request, and how many bytes of it come before its body."""


def head_of(message: bytes) -> bytes:
    """Return start line and headers of an answer."""
    ends = [at for at in (message.find(b"\r\n\r\n"), message.find(b"\n\n")) if at >= 0]
    return message[: min(ends)] if ends else message


def set_cookies(known: dict[bytes, bytes] | None, answer: bytes) -> dict[bytes, bytes] | None:
    """Return the cookies that hold after an answer (RFC 6265 section 5.2); of the attributes only Max-Age=0 counts."""
    cookies = dict(known or {})
    for value in Head(head_of(answer)).values(b"set-cookie"):
        pair, *attributes = value.split(b";")
        name, equals, content = pair.strip().partition(b"=")
        if not equals or not name or len(pair) > MOST_COOKIE_BYTES:
            continue
        if any(each.strip().lower() == b"max-age=0" for each in attributes):
            content = b""
        if name in cookies or len(cookies) < MOST_COOKIES:
            cookies[name] = content
    return cookies or None


def send_cookies(request: bytes, head: int, cookies: dict[bytes, bytes]) -> Changed:
    """Put the target's cookies in the place of those that were captured; one that it deleted is left out."""
    start, *lines = request[:head].split(b"\n")
    captured = [line for line in lines if line[:7].lower() == b"cookie:"]
    others = [line for line in lines if line[:7].lower() != b"cookie:"]
    name = captured[0][:6] if captured else b"Cookie"
    place = lines.index(captured[0]) if captured else len(lines) - 2  # of which the last are the blank line's
    left = dict(cookies)
    pairs = [_renew(pair.strip(), left) for line in captured for pair in line[7:].split(b";")]
    pairs += [b"%b=%b" % (key, value) if value else b"" for key, value in left.items()]
    if any(pairs):
        end = b"\r" if start.endswith(b"\r") else b""
        others.insert(place, name + b": " + b"; ".join(filter(None, pairs)) + end)
    changed = b"\n".join([start, *others])
    return changed + request[head:], len(changed)


def _renew(pair: bytes, cookies: dict[bytes, bytes]) -> bytes:
    """Return a captured cookie with the target's value, which is taken off the others; nothing if it was deleted."""
    name = pair.partition(b"=")[0]
    if name not in cookies:
        return pair
    value = cookies.pop(name)
    return b"%b=%b" % (name, value) if value else b""


def step_to(request: bytes, head: int, status: int, answer: bytes, spec: HttpSpec) -> tuple[bytes, int, int] | None:
    """Return (request, bytes before its body, flags) that follows a redirect; None if it is not to be followed."""
    locations = list(Head(head_of(answer)).values(b"location"))
    if len(locations) != 1 or status not in TO_GET | SAME_METHOD:
        return None
    lines = request[:head].split(b"\n")
    method, _, rest = lines[0].partition(b" ")
    target, _, version = rest.rpartition(b" ")
    place = _place(locations[0], target, list(Head(request[:head]).values(b"host")), spec)
    if place is None:
        return None
    body = request[head:]
    if status in TO_GET and method not in {b"GET", b"HEAD"}:
        method, body = b"GET", b""
        lines = [line for line in lines if line.partition(b":")[0].lower() not in ABOUT_BODY]
    lines[0] = b"%b %b %b" % (method, place, version)
    changed = b"\n".join(lines)
    return changed + body, len(changed), flags_of_method(method)


def _place(location: bytes, target: bytes, hosts: list[bytes], spec: HttpSpec) -> bytes | None:
    """Return the target that a Location stands for, if it is at the same server."""
    try:
        base = target.decode("ascii")
        parts = urlsplit(urljoin(base, location.decode("ascii")))
        port = parts.port
    except ValueError:
        return None
    if parts.netloc:
        known = {host.decode("latin-1").lower() for host in hosts} | {(spec.authority or "").lower()}
        default = 443 if spec.tls is not None else 80
        same = parts.hostname == spec.host.lower() and (port or default) == spec.port
        if not same and parts.netloc.lower() not in known:
            return None
    place = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return place.encode("ascii") if place.startswith("/") and place.isprintable() and " " not in place else None
