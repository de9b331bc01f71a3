"""A message's wire bytes, and what else is known of it, to the record that a message ring would hold.

In: bytes, times, addresses.  Out: KIND_MESSAGE records of one part, and entries.  Invariant: every place and length in
a header that is made here lies inside the payload.
"""

import hashlib
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from assemble.records import (
    FLAG_COMPLETE,
    FLAG_INTERIM,
    FLAG_IPV6,
    MESSAGE_HEADER,
    REPLAYED,
    REQUEST,
    RESPONSE,
)
from emit.packing import hash_record
from emit.source import Entry

if TYPE_CHECKING:
    from assemble.message import Message

KINDS: Final = {"request": REQUEST, "response": RESPONSE, "replayed": REPLAYED}
NS_PER_S: Final = 1_000_000_000
LATEST_NS: Final = 2**63 - 1
IPV4_BYTES: Final = 4
STATUS: Final = re.compile(rb"HTTP/\d[.\d]* +(\d{3})(?!\d)")
SWITCHING: Final = 101

NETWORK: Final = bytes.fromhex("20010db8")  # 2001:db8::/32, which RFC 3849 keeps for documentation
SERVER: Final = (NETWORK + bytes(11) + b"\x01", 80)
"""The server of messages whose format knows no addresses: 2001:db8::1, port 80."""
CLIENT_PORT: Final = 1


class Ends(NamedTuple):
    """Where a message went: addresses of 4 or 16 bytes."""

    src: bytes
    sport: int
    dst: bytes
    dport: int


class Start(NamedTuple):
    """Where the parts of a message's head are; the fields of MESSAGE_HEADER."""

    status: int
    method_len: int
    target_at: int
    target_len: int
    start_len: int
    head_len: int


def placeholder(name: int, kind: int) -> Ends:
    """Return addresses for a message whose format has none: a connection of its own for each name of 64 bits.

    The client is 2001:db8:0:1: and the name.
    """
    client = (NETWORK + b"\0\0\0\x01" + name.to_bytes(8), CLIENT_PORT)
    return Ends(*client, *SERVER) if kind == REQUEST else Ends(*SERVER, *client)


def name_of(text: bytes) -> int:
    """Return 64 bits for a name of any length, the same ones everywhere and always."""
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest())


def start_of(kind: int, payload: bytes) -> Start:
    """Find start line and head of a message."""
    start_len = payload.find(b"\n") + 1
    head_len = payload.find(b"\n\r\n", start_len - 1) + 3 if start_len else 0
    bare = payload.find(b"\n\n", start_len - 1, head_len if head_len > 2 else len(payload)) if start_len else -1
    if bare >= 0:
        head_len = bare + 2
    elif head_len < 3:
        head_len = len(payload)
    if kind != REQUEST:
        found = STATUS.match(payload)
        return Start(int(found[1]) if found else 0, 0, 0, 0, start_len, head_len)
    line = payload[: start_len or len(payload)].rstrip(b"\r\n")
    method_len = line.find(b" ")
    if method_len < 0:
        return Start(0, len(line), 0, 0, start_len, head_len)
    last = line.rfind(b" ")
    end = last if line[last + 1 :].startswith(b"HTTP/") and last > method_len else len(line)
    target_at = min(method_len + 1, end)
    while target_at < end and line[target_at : target_at + 1] == b" ":
        target_at += 1
    return Start(0, method_len, target_at, end - target_at, start_len, head_len)


def build(
    kind: int, name: int, times: tuple[int, int], ends: Ends, payload: bytes,
    *, complete: bool = True, missing: int = 0, start: Start | None = None,
) -> bytes:  # fmt: skip
    """Return a message as one record; `name` is its id, `times` are its first and last one in nanoseconds."""
    status, method_len, target_at, target_len, start_len, head_len = start or start_of(kind, payload)
    flags = FLAG_COMPLETE if complete else 0
    if len(ends.src) != IPV4_BYTES:
        flags |= FLAG_IPV6
    if kind == RESPONSE and 100 <= status < 200 and status != SWITCHING:
        flags |= FLAG_INTERIM
    return (
        MESSAGE_HEADER.pack(
            name, *times, ends.src, ends.dst, ends.sport, ends.dport, kind, flags, status,
            method_len, target_at, target_len, start_len, head_len, len(payload), missing, 0, 0, 1,
        )
        + payload
    )  # fmt: skip


def entry_of(record: bytes) -> Entry:
    """Return a record of one part with what is needed to merge and to share out."""
    flow, first_ns, last_ns = hash_record(record)
    return Entry(last_ns, first_ns, flow, 1, record)


def record_of(message: "Message") -> bytes:
    """Return a message of the library as one record."""
    kind = KINDS[message.kind]
    found = start_of(kind, message.payload)
    start = found._replace(status=message.status or 0, head_len=message.head)
    if kind == REQUEST:
        start = fitting(start, message.payload, message.method or "", message.target or "")
    ends = Ends(message.src.packed, message.sport, message.dst.packed, message.dport)
    times = (message.first_ns, message.last_ns)
    return build(
        kind, message.id, times, ends, message.payload,
        complete=message.complete, missing=message.missing, start=start,
    )  # fmt: skip


def fitting(start: Start, payload: bytes, method: str, target: str) -> Start:
    """Return where method and target are, if they are known, and are in the payload."""
    try:
        said, path = method.encode("latin-1"), target.encode("latin-1")
    except UnicodeEncodeError:
        return start
    at = len(said) + 1 if said else 0
    if payload.startswith(said) and payload.startswith(path, at) and at + len(path) <= len(payload):
        return start._replace(method_len=len(said), target_at=at, target_len=len(path))
    return start
