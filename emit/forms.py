"""Forms in bodies: the values of some fields, exchanged (RFC 7578 for multipart, WHATWG URL for the other kind).

In: a body, without codings.  Out: the same, but for these values; or a ValueError if it is no such form.
"""

import re
from collections.abc import Callable, Collection
from typing import Final

from emit.codings import MOST_PLACES
from emit.head import Head
from emit.target import change

URLENCODED: Final = b"application/x-www-form-urlencoded"
MULTIPART: Final = b"multipart/form-data"
BOUNDARY: Final = re.compile(rb';\s*boundary=(?:"([^"]{1,200})"|([^\s;"]{1,200}))', re.IGNORECASE)
NAME: Final = re.compile(rb';\s*name\s*=\s*(?:"((?:[^"\\]|\\.)*+)"|([^\s;"]+))', re.IGNORECASE)


def change_form(content: bytes, said: bytes, names: Collection[bytes], make: Callable[[bytes], bytes]) -> bytes:
    """Replace the values of fields of these names; `said` is the value of Content-Type."""
    if content.count(b"&") > MOST_PLACES or content.count(b"\n--") > MOST_PLACES:
        raise ValueError("more than a form may have")
    if not said.lower().startswith(MULTIPART):
        return change(content, names, make)
    found = BOUNDARY.search(said)
    if found is None:
        raise ValueError("no boundary")
    return _change_parts(content, b"--" + (found[1] or found[2]), names, make)


def _change_parts(content: bytes, line: bytes, names: Collection[bytes], make: Callable[[bytes], bytes]) -> bytes:
    """Replace values in a body of parts, each between two boundary lines (RFC 2046 section 5.1.1)."""
    pieces = re.split(rb"((?:\A|\r?\n)" + re.escape(line) + rb"(?:--)?[ \t]*(?:\r?\n|\Z))", content)
    lines = pieces[1::2]
    if not lines or not lines[-1].rstrip().endswith(line + b"--"):
        raise ValueError("the last part has no end")
    for at in range(2, len(pieces) - 1, 2):
        pieces[at] = _change_part(pieces[at], names, make)
    return b"".join(pieces)


def _change_part(part: bytes, names: Collection[bytes], make: Callable[[bytes], bytes]) -> bytes:
    end = re.search(rb"(?:\A|\n)\r?\n", part)
    if end is None:
        raise ValueError("a part without a blank line")
    head = Head(b"\n" + part[: end.end()])
    said = head.joined(b"content-disposition")
    name = NAME.search(said)
    if name is None:
        raise ValueError("a part without a name")
    written = name[2] if name[1] is None else re.sub(rb"\\(.)", rb"\1", name[1])
    if written not in names and name[1] not in names:
        return part
    return part[: end.end()] + make(part[end.end() :])
