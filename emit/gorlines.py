"""GoReplay's line protocol for middleware: one message is one line of hexadecimal digits.

In: messages, or what a middleware has written.  Out: lines, or what they say.  Invariant: what cannot be read is one
line that is refused, and the next one is read as ever; a line without end is held up to a bound only.

A line, decoded: the header up to a line feed, the HTTP message as on the wire behind it.  The header, by blanks:

kind       1 request, 2 response, 3 response to what was replayed
id         the same for what belongs together
time       nanoseconds since the epoch at which it began
latency    nanoseconds that it took
"""

import hashlib
import re
from binascii import Error, hexlify, unhexlify
from dataclasses import dataclass
from typing import Final, Literal

from assemble.message import Message

Kind = Literal["request", "response", "replayed"]

NUMBERS: Final[dict[str, bytes]] = {"request": b"1", "response": b"2", "replayed": b"3"}
KINDS: Final[dict[bytes, Kind]] = {b"1": "request", b"2": "response", b"3": "replayed"}
LEAST_LINE: Final = 16 * 1024 * 1024
"""Bytes of a line that are always read."""
LATEST_NS: Final = 2**63 - 1
_ID: Final = re.compile(rb"[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class Answer:
    """What one line of a middleware says."""

    kind: Kind
    id: int
    first_ns: int
    payload: bytes


def write_line(message: Message) -> bytes:
    """Return a message as a line."""
    took_ns = max(message.last_ns - message.first_ns, 0)
    head = b"%s %016x %d %d\n" % (NUMBERS[message.kind], message.id, message.first_ns, took_ns)
    return hexlify(head + message.payload) + b"\n"


def read_line(line: bytes) -> Answer | None:
    """Read a line without its end; None if it is no message."""
    try:
        text = unhexlify(line)
    except Error:
        return None
    head, found, payload = text.partition(b"\n")
    kind, name, time, *_rest = [*head.split(), b"", b"", b""]
    if not found or kind not in KINDS or not name:
        return None
    first_ns = int(time) if time.isdigit() and len(time) < 20 else 0
    return Answer(KINDS[kind], _number(name), min(first_ns, LATEST_NS), payload)


def _number(name: bytes) -> int:
    """Return the id that a name stands for: ours are 16 digits, a middleware may make up others."""
    if _ID.fullmatch(name):
        return int(name, 16)
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "big")


class LineReader:
    """Cuts what comes in any pieces into lines."""

    def __init__(self) -> None:
        self.longest = LEAST_LINE  # longer ones are refused
        self.start = bytearray()  # of a line whose end has not come yet
        self.passing = False  # such a line is too long: its end is looked for
        self.refused = 0  # lines since last asked

    def feed(self, data: bytes) -> list[Answer]:
        """Take bytes, and return what the lines that end in them say."""
        found = []
        *ends, rest = data.split(b"\n")
        for end in ends:
            self.hold(end)
            line, passed = bytes(self.start).strip(), self.passing
            self.start.clear()
            self.passing = False
            answer = read_line(line) if line else None
            if answer is not None:
                found.append(answer)
            elif line or passed:
                self.refused += 1
        self.hold(rest)
        return found

    def hold(self, piece: bytes) -> None:
        """Keep a part of a line, unless it is too long by now."""
        if len(self.start) + len(piece) > self.longest:
            self.passing = True
            self.start.clear()
        elif not self.passing:
            self.start += piece

    def end(self) -> None:
        """Note that nothing more comes: a line without its end is none."""
        self.refused += bool(self.start) or self.passing
        self.start.clear()
        self.passing = False
