"""The target of a request, taken apart and put together (RFC 9112 section 3.2), and lists of parameters.

In: bytes as on the wire.  Out: the same, but for the parts that change.  Parameters that do not change stay as they are
written; names are compared decoded: percent and plus are undone (WHATWG URL, application/x-www-form-urlencoded).
"""

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple
from urllib.parse import quote_from_bytes, unquote_to_bytes


class Target(NamedTuple):
    """Scheme and authority, if they are there; path; and a query with its question mark, if there is one."""

    before: bytes
    path: bytes
    query: bytes

    def __bytes__(self) -> bytes:
        return b"".join(self)


def split(target: bytes) -> Target | None:
    """Take a target apart; None if it has no path: `*`, or the authority of a CONNECT."""
    rest = target
    before = b""
    if not target.startswith(b"/"):
        scheme, found, rest = target.partition(b"://")
        if not found or b"/" in scheme or b"?" in scheme:
            return None
        end = min((at for at in (rest.find(b"/"), rest.find(b"?")) if at >= 0), default=len(rest))
        before, rest = scheme + found + rest[:end], rest[end:]
    path, mark, query = rest.partition(b"?")
    return Target(before, path, mark + query)


def decoded(text: bytes) -> bytes:
    """Undo the encoding of a name or a value."""
    return unquote_to_bytes(text.replace(b"+", b" "))


def encoded(value: bytes) -> bytes:
    """Write a value so that every reader takes it for what it is."""
    return quote_from_bytes(value, safe="*").encode()


def change(query: bytes, names: Collection[bytes], make: Callable[[bytes], bytes]) -> bytes:
    """Replace the value of each parameter of these names by what is made of it, decoded.

    A value ends at the next `&`.  Some readers take `;` for one, so a name may also stand behind that.
    """
    pairs = query.split(b"&")
    for at, pair in enumerate(pairs):
        if b"=" not in pair:
            continue
        parts = pair.split(b";") if b";" in pair else [pair]
        for number, part in enumerate(parts):
            name, equals, _value = part.partition(b"=")
            if equals and decoded(name) in names:
                before = b";".join([*parts[:number], name]) + b"="
                pairs[at] = before + encoded(make(decoded(pair[len(before) :])))
                break
    return b"&".join(pairs)


def update(query: bytes, given: Mapping[bytes, bytes], without: Collection[bytes]) -> bytes:
    """Set some parameters, each where it is, else at the end, and once; and take others out."""
    left = dict(given)
    pairs = []
    for pair in query.split(b"&") if query else ():
        name = decoded(pair.partition(b"=")[0])
        if name in left:
            pairs.append(pair.partition(b"=")[0] + b"=" + encoded(left.pop(name)))
        elif name not in without and name not in given:
            pairs.append(pair)
    pairs += [encoded(name) + b"=" + encoded(value) for name, value in left.items()]
    return b"&".join(pairs)
