"""Chunks that a receiver does not take, though it takes others: their messages as JSON Lines.

In: the frames of one chunk, or of all the parts of one message.  Out: lines that a `file` input reads.  What a payload
has lost by being sent as text, its line has not.
"""

import base64
import json
import zlib
from collections.abc import Sequence
from typing import Any, Final

import msgpack

KEYS: Final = ("id", "kind", "src", "sport", "dst", "dport", "method", "target", "status", "complete", "missing")


def lines(frames: Sequence[bytes]) -> bytes:
    """Return a line for each message; that of parts is one."""
    heads: list[str] = []
    payloads: list[list[Any]] = []
    for frame in frames:
        _tag, entries, options = msgpack.unpackb(frame)
        unpacker = msgpack.Unpacker(max_buffer_size=0)
        unpacker.feed(zlib.decompress(entries, 16 + zlib.MAX_WBITS) if "compressed" in options else entries)
        for time, record in unpacker:
            if record.get("part", 0) == 0 or not heads:
                heads.append(_head(time, record))
                payloads.append([])
            payloads[-1].append(record["payload"])
    each = [(head, base64.b64encode(_joined(pieces)).decode()) for head, pieces in zip(heads, payloads, strict=True)]
    return "".join([f'{head}, "payload": "{payload}"}}\n' for head, payload in each]).encode()


def _joined(pieces: list[Any]) -> bytes:
    """Return the bytes of a payload whose pieces are bytes, base64 or text; HTTP has blanks, which base64 has not."""
    if all(isinstance(piece, bytes) for piece in pieces):
        return b"".join(pieces)
    text = "".join(pieces)
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return text.encode()


def _head(time: msgpack.ExtType, record: dict[str, Any]) -> str:
    """Return a line up to its payload; times are no floats, which have not digits enough."""
    seconds, rest = int.from_bytes(time.data[:4], "big"), int.from_bytes(time.data[4:], "big")
    lasted = record["duration_us"]
    times = f'"ts": {seconds}.{rest:09}, "duration": {lasted // 1_000_000}.{lasted % 1_000_000:06}000'
    return f"{{{times}, {json.dumps({key: record[key] for key in KEYS if key in record})[1:-1]}"
