"""JSON Lines as a source of messages: those of our own outputs, and whatever says the same in another order.

In: lines.  Out: entries.  Invariant: a line that is no message costs itself, is counted, and is told by its number.
"""

import base64
import binascii
import ipaddress
import json
import re
from collections.abc import Iterator
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

from assemble.records import REQUEST
from emit.building import KINDS, LATEST_NS, NS_PER_S, Ends, build, entry_of, fitting, start_of
from emit.source import Entry, StreamSource

ROOM_BYTES: Final = 8 * 1024 * 1024  # of a line, for everything but the payload: a target may be long, and escaped
ID: Final = re.compile(r"[0-9a-fA-F]{1,16}")
LONGEST_S: Final = LATEST_NS // NS_PER_S
MOST_PORT: Final = 65535
MOST_MISSING: Final = 2**64 - 1
MOST_STATUS: Final = 999


class BadLineError(ValueError):
    """A line that is no message; says why, without any of its values."""


class LineSource(StreamSource):
    """The messages of a file of JSON Lines."""

    def entries(self) -> Iterator[Entry]:
        lines = self.pieces(b"\n", self.most_message_bytes // 3 * 4 + ROOM_BYTES)
        for number, (line, _at) in enumerate(lines, start=1):
            if line is None:
                self.refuse(f"line {number} is too long for a message")
            elif line.strip():
                yield from self.line(line, number)
        if self.rest.strip():
            yield from self.last()

    def line(self, line: bytes, number: int) -> Iterator[Entry]:
        """Yield the message of a line, if it is one, and wanted."""
        try:
            entry = entry_of(read_line(line))
        except BadLineError as error:
            self.refuse(f"line {number} is no message: {error}")
            return
        if len(entry.record) > self.most_message_bytes:
            self.refuse(f"line {number} has a message that is longer than {self.most_message_bytes} bytes")
        elif self.wanted(entry.first_ns, entry.first_ns):
            self.records += 1
            yield entry

    def last(self) -> Iterator[Entry]:
        """Yield the message of a line without an end, if only that was cut off."""
        try:
            entry = entry_of(read_line(self.rest))
        except BadLineError:
            self.cut(self.rest_at, len(self.rest))
            return
        if self.wanted(entry.first_ns, entry.first_ns):
            self.records += 1
            yield entry


def read_line(line: bytes) -> bytes:
    """Return the message of a line as one record; raises BadLineError."""
    try:
        said = json.loads(line, parse_float=Decimal)
    except (ValueError, RecursionError, ArithmeticError):
        raise BadLineError("it is not JSON") from None
    if not isinstance(said, dict):
        raise BadLineError("it is not an object")
    if "aborted" in said:
        raise BadLineError("its message was never whole")
    kind = KINDS.get(_text(said, "kind"))
    if kind is None:
        raise BadLineError(f"`kind` is not one of {', '.join(KINDS)}")
    name = _text(said, "id")
    if not ID.fullmatch(name):
        raise BadLineError("`id` is not of up to 16 hexadecimal digits")
    payload = _payload(_text(said, "payload"))
    start = start_of(kind, payload)
    if kind == REQUEST:
        start = fitting(start, payload, str(said.get("method", "")), str(said.get("target", "")))
    elif said.get("status") is not None:
        start = start._replace(status=_number(said, "status", MOST_STATUS))
    complete = said.get("complete", True)
    if not isinstance(complete, bool):
        raise BadLineError("`complete` is neither true nor false")
    missing = _number(said, "missing", MOST_MISSING) if "missing" in said else 0
    return build(
        kind, int(name, 16), _times(said), _ends(said), payload, complete=complete, missing=missing, start=start
    )


def _text(said: dict[str, Any], key: str) -> str:
    value = said.get(key)
    if not isinstance(value, str):
        raise BadLineError(f"`{key}` is missing, or not a text")
    return value


def _number(said: dict[str, Any], key: str, most: int) -> int:
    value = said.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise BadLineError(f"`{key}` is missing, or not a whole number from 0 to {most}")
    return value


def _payload(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadLineError("`payload` is not base64") from None


def _times(said: dict[str, Any]) -> tuple[int, int]:
    first_ns = _ns(said, "ts")
    last_ns = first_ns + (_ns(said, "duration") if "duration" in said else 0)
    if abs(last_ns) > LATEST_NS:
        raise BadLineError("its time is out of range")
    return first_ns, last_ns


def _ns(said: dict[str, Any], key: str) -> int:
    value = said.get(key)
    if not isinstance(value, int | Decimal) or isinstance(value, bool) or not -LONGEST_S <= value <= LONGEST_S:
        raise BadLineError(f"`{key}` is missing, or not a number of seconds")
    return int(value * NS_PER_S)


@lru_cache(maxsize=4096)
def packed(text: str) -> bytes:
    """Return the bytes of an address; connections are many, addresses few."""
    return ipaddress.ip_address(text).packed


def _ends(said: dict[str, Any]) -> Ends:
    try:
        src, dst = (packed(_text(said, key)) for key in ("src", "dst"))
    except ValueError as error:
        raise error if isinstance(error, BadLineError) else BadLineError("`src` or `dst` is no address") from None
    if len(src) != len(dst):
        raise BadLineError("`src` and `dst` are of two families")
    return Ends(src, _number(said, "sport", MOST_PORT), dst, _number(said, "dport", MOST_PORT))
