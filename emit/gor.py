"""GoReplay's text format, `.gor`: a line of what is known, the bytes as they were on the wire, three monkeys.

In: a file, or records.  Out: entries, or text.  Invariant: what was written here and is read again has the same kind,
id, times and bytes.  The format has no addresses, and cannot say that a message is not complete.
"""

import re
from collections.abc import Iterator
from typing import Final

from assemble.records import (
    AT_FIRST_NS,
    AT_FLAGS,
    AT_ID,
    AT_KIND,
    AT_LAST_NS,
    FLAG_COMPLETE,
    MESSAGE_HEADER,
    REPLAYED,
    REQUEST,
    RESPONSE,
)
from emit.building import LATEST_NS, build, entry_of, name_of, placeholder, start_of
from emit.source import Entry, StreamSource

SEPARATOR: Final = "\n🐵🙈🙉\n".encode()
HEADER: Final = re.compile(rb"([123]) ([!-~]{1,128}) (-?\d{1,19})(?: (-?\d{1,19}))?(?: [ -~]{0,256})?\r?")
"""Kind, id, time in nanoseconds, and since version 1 a duration or latency; what may follow is not looked at.

Kinds are 1 request, 2 response, 3 the response to a replay, so they are ours.  Source: protocol.go and input_file.go of
GoReplay 0.16 and 1.3.
"""
HEADER_BYTES: Final = 512
OUR_ID: Final = re.compile(rb"[0-9a-f]{16}")
LENGTH: Final = re.compile(rb"\n[Cc]ontent-[Ll]ength:[ \t]*(\d{1,18})[ \t]*\r?\n")
KINDS: Final = {b"1": REQUEST, b"2": RESPONSE, b"3": REPLAYED}


class GorSource(StreamSource):
    """The messages of a .gor file."""

    def entries(self) -> Iterator[Entry]:
        pieces = self.pieces(SEPARATOR, self.most_message_bytes + HEADER_BYTES)
        for number, (piece, at) in enumerate(pieces, start=1):
            record = None if piece is None else read_piece(piece)
            if piece is None:
                self.refuse(f"message {number}, at byte {at}, is longer than {self.most_message_bytes} bytes")
            elif record is None:
                self.refuse(f"message {number}, at byte {at}, has no header that can be read")
            else:
                entry = entry_of(record)
                if self.wanted(entry.first_ns, entry.first_ns):
                    self.records += 1
                    yield entry
        if self.rest.strip():
            self.cut(self.rest_at, len(self.rest))


def read_piece(piece: bytes) -> bytes | None:
    """Return what lies between two separators as one record; None if it has no header."""
    line, _end, payload = piece.partition(b"\n")
    said = HEADER.fullmatch(line)
    if said is None:
        return None
    kind, name = KINDS[said[1]], said[2]
    first_ns, duration_ns = int(said[3]), max(int(said[4] or 0), 0)
    if abs(first_ns) > LATEST_NS or first_ns + duration_ns > LATEST_NS:
        return None
    number = int(name, 16) if OUR_ID.fullmatch(name) else name_of(name)
    times = (first_ns, first_ns + duration_ns)
    missing = missing_bytes(payload) if kind == REQUEST else 0
    return build(kind, number, times, placeholder(number, kind), payload, complete=not missing, missing=missing)


def missing_bytes(payload: bytes) -> int:
    """Return how much of a request's body is not there, by what its head says of it."""
    head_len = start_of(REQUEST, payload).head_len
    found = LENGTH.search(payload, 0, head_len)
    return max(int(found[1]) - (len(payload) - head_len), 0) if found else 0


def write_piece(record: bytes) -> bytes | None:
    """Return a message as it is in a file, separator included; None if it cannot be: the separator is in it."""
    fields = MESSAGE_HEADER.unpack_from(record)
    payload = record[MESSAGE_HEADER.size :]
    if SEPARATOR[1:-1] in payload and SEPARATOR in b"\n" + payload + b"\n":
        return None
    first_ns, duration_ns = fields[AT_FIRST_NS], fields[AT_LAST_NS] - fields[AT_FIRST_NS]
    head = b"%d %016x %d %d\n" % (fields[AT_KIND], fields[AT_ID], first_ns, duration_ns)
    return b"".join((head, payload, SEPARATOR))


def is_complete(record: bytes) -> bool:
    """Whether nothing is missing from a message."""
    return bool(MESSAGE_HEADER.unpack_from(record)[AT_FLAGS] & FLAG_COMPLETE)
