"""The generated captures: one function call away by name, written once and kept.

In: a name, and whether small files are enough.  Out: a pcap file and its note.  Invariant: a file that exists is
whole, and was written by the description that is here now.
"""

import json
import os
import random
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Final

from scripts.benchmark.pcap import FILE_HEADER, RECORD, START_US, Traffic, read_records, steps, write

MIB: Final = 1 << 20
REQUEST: Final = b"GET /items/42 HTTP/1.1\r\nHost: shop.example:8080\r\nAccept: */*\r\n\r\n"
JSON: Final = b'{"id":42,"name":"enamel mug","price":9.99,"currency":"EUR","stock":42}'
DISPLACED_EVERY: Final = 10
DISPLACED_BY: Final = 1000
BODY_FILE_BYTES: Final = 300 * 10**6
CHUNK_BYTES: Final = 1000
PASSING: Final = "10^7 messages"
"""Written when it is measured and removed afterwards: 2 GB."""


@dataclass(frozen=True)
class Shape:
    """One generated file: the traffic, and whether its segments are displaced."""

    traffic: Traffic
    displaced: bool = False
    settings: tuple[str, ...] = ()  # what the run needs, as --set takes it


def answer(body: bytes) -> bytes:
    """Return a response with a length."""
    head = f"HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def chunked(size: int) -> bytes:
    """Return a response in chunks."""
    chunks = [min(CHUNK_BYTES, size - at) for at in range(0, size, CHUNK_BYTES)]
    body = b"".join(b"%x\r\n%s\r\n" % (each, b"c" * each) for each in chunks)
    return b"HTTP/1.1 200 OK\r\nServer: nginx\r\nTransfer-Encoding: chunked\r\n\r\n" + body + b"0\r\n\r\n"


def upload(size: int, present: int) -> bytes:
    """Return a request whose body has `size` bytes, of which the first `present` were sent."""
    head = f"POST /photos HTTP/1.1\r\nHost: shop.example:8080\r\nContent-Length: {size}\r\n\r\n"
    return head.encode() + b"u" * present


SMALL: Final = Traffic(REQUEST, answer(JSON))


def bodies(size: int, quick: bool) -> Traffic:
    """Return traffic of responses of one size, about 300 MB of them."""
    count = max(1, BODY_FILE_BYTES // (20 if quick else 1) // size)
    connections = min(10, count)
    return Traffic(REQUEST, answer(b"b" * size), connections, -(-count // connections))


def catalogue(quick: bool) -> dict[str, Shape]:
    """Return every shape by name; the quick ones have the same form and fewer messages."""
    many = 5_000 if quick else 100_000
    exchanges = 10_000 if quick else 500_000
    plain = replace(SMALL, exchanges=exchanges // 100)
    large = bodies(10**6, quick)
    shapes = {
        "body 10 kB": Shape(bodies(10**4, quick)),
        "body 100 kB": Shape(bodies(10**5, quick)),
        "body 1 MB": Shape(large),
        "body 100 MB": Shape(
            bodies(10**7 if quick else 10**8, quick), settings=("assemble.max_message=256MiB", "assemble.memory=1GiB")
        ),
        "chunked 10 kB": Shape(replace(bodies(10**4, quick), response=chunked(10**4))),
        "chunked 1 MB": Shape(replace(large, response=chunked(10**6))),
        "100 connections": Shape(replace(SMALL, exchanges=5, waves=many // 100)),
        "100,000 connections": Shape(replace(SMALL, exchanges=5, connections=many)),
        "one connection": Shape(replace(SMALL, exchanges=exchanges, connections=1)),
        "in order": Shape(plain),
        "reordered": Shape(plain, displaced=True),
        "reordered 1 MB": Shape(large, displaced=True),
        "IPv6": Shape(replace(plain, ipv6=True)),
        "VLAN": Shape(replace(plain, vlan=7)),
        "requests only": Shape(replace(plain, one_way=True)),
        "partial": Shape(
            Traffic(upload(8192, 4096), b"", connections=many, ends=False, whole=False),
        ),
        "tiny": Shape(replace(SMALL, connections=2, exchanges=5)),
    }
    for power in range(3, 6) if quick else range(4, 8):
        shapes[f"10^{power} messages"] = Shape(replace(SMALL, exchanges=max(1, 10**power // 200)))
    return shapes


def generated(folder: Path, name: str, quick: bool = False) -> tuple[Path, dict[str, int]]:
    """Return the file of a shape, written now if it is not there yet."""
    shape = catalogue(quick)[name]
    version = sha256(repr(shape).encode()).hexdigest()[:12]
    path = folder / f"{name.replace(' ', '-').replace('^', '').replace(',', '')}{'-quick' if quick else ''}.pcap"
    note_path = Path(f"{path}.json")
    if note_path.exists() and path.exists():
        note = json.loads(note_path.read_text())
        if note.pop("version") == version:
            return path, note
    note_path.unlink(missing_ok=True)
    with path.open("wb") as file:
        note = write(file, shape.traffic)
    if shape.displaced:
        displace(path, shape.traffic)
    note_path.write_text(json.dumps({**note, "version": version}))
    return path, note


def displace(path: Path, traffic: Traffic) -> None:
    """Move every tenth segment of a file back by up to 1000 positions; what opens and closes connections stays."""
    opening, _, closing = steps(traffic)
    records = read_records(path)
    begin, end = len(opening) * traffic.connections, len(records) - len(closing) * traffic.connections
    middle = range(begin, end)
    chance = random.Random(1)
    place = [at + (chance.randint(1, DISPLACED_BY) if at % DISPLACED_EVERY == 0 else 0) for at in range(len(records))]
    order = [*range(begin), *sorted(middle, key=place.__getitem__), *range(end, len(records))]
    scratch = path.with_suffix(".part")
    with scratch.open("wb") as file:
        file.write(FILE_HEADER)
        for number, at in enumerate(order):
            size = len(records[at]) - RECORD.size
            seconds, micros = divmod(START_US + number, 10**6)
            file.write(RECORD.pack(seconds, micros, size, size) + records[at][RECORD.size :])
    os.replace(scratch, path)
