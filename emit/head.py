"""The head of a message as lines: those that nobody touches stay as they were, to the byte (RFC 9112 sections 2, 5).

In: the bytes of a head.  Out: the same, but for what was set, replaced or removed.
"""

import re
from collections.abc import Callable, Collection, Iterator
from typing import Final

LINES: Final = re.compile(rb"[^\n]*\n|[^\n]+")
TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""What the name of a field is made of (RFC 9110 section 5.6.2)."""
BLANK: Final = (b"\r\n", b"\n")
FRAMING: Final = frozenset({"content-length", "transfer-encoding", "content-encoding"})
"""Fields that say how the body is to be read: they are put right with it, and not by hand."""


class Head:
    """Start line, fields and blank line; a field is one line, or several if it is folded."""

    def __init__(self, head: bytes) -> None:
        lines = LINES.findall(head)
        self.start: bytes = lines[0] if lines else b""
        self.names: list[bytes] = []  # in lower case; empty of a line that is no field
        self.lines: list[bytes] = []
        self.blank = b""
        for line in lines[1:]:
            if line in BLANK:
                self.blank = line
            elif line[:1] in (b" ", b"\t") and self.lines:
                self.lines[-1] += line
            else:
                name, colon, _value = line.partition(b":")
                self.names.append(name.rstrip(b" \t").lower() if colon else b"")
                self.lines.append(line)

    def __bytes__(self) -> bytes:
        return b"".join([self.start, *self.lines, self.blank])

    @property
    def line_end(self) -> bytes:
        """How lines of this head end."""
        return b"\r\n" if self.start.endswith(b"\r\n") else b"\n"

    def values(self, name: bytes) -> Iterator[bytes]:
        """Yield the values of a field, in order, without the blanks around them."""
        for at, each in enumerate(self.names):
            if each == name:
                yield self.lines[at].partition(b":")[2].strip()

    def joined(self, name: bytes) -> bytes:
        """Return the values of a field as one list (RFC 9110 section 5.3)."""
        return b", ".join(self.values(name))

    def change(self, names: Collection[bytes], make: Callable[[bytes], bytes]) -> None:
        """Replace the value of each field of these names by what is made of it."""
        for at, each in enumerate(self.names):
            if each in names:
                self.lines[at] = with_value(self.lines[at], make)

    def set(self, name: bytes, value: bytes) -> None:
        """Give a field one value: where it is, else at the end; it stays there once."""
        lower = name.lower()
        if lower not in self.names:
            self.names.append(lower)
            self.lines.append(b"%s: %s%s" % (name, value, self.line_end))
            return
        first = self.names.index(lower)
        self.lines[first] = with_value(self.lines[first], lambda _old: value)
        rest = [at for at, each in enumerate(self.names) if each != lower or at == first]
        self.keep(rest)

    def remove(self, names: Collection[bytes]) -> None:
        """Take every field of these names out."""
        self.keep([at for at, each in enumerate(self.names) if each not in names])

    def keep(self, places: list[int]) -> None:
        """Keep the fields at these places."""
        self.names = [self.names[at] for at in places]
        self.lines = [self.lines[at] for at in places]


def with_value(line: bytes, make: Callable[[bytes], bytes]) -> bytes:
    """Return a field's line with another value; the blanks around it, and its end, stay."""
    name, colon, rest = line.partition(b":")
    left = rest.lstrip(b" \t")
    value = left.rstrip(b"\r\n \t")
    new = make(value)
    if new == value:
        return line
    before = rest[: len(rest) - len(left)]
    return name + colon + before + new + left[len(value) :]
