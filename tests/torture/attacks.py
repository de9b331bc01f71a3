"""What hostile clients send to a receiver: one function each, in a process of its own, for a bounded time.

All come from 127.0.0.2 or other loopback addresses that no honest client of the tests has.
"""

import contextlib
import gzip
import os
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any, Final

import msgpack

from emit.wire import chunk_id
from tests.emit.builders import conversation, entries, entry, packed_forward, response

MEMORY: Final = 64 * 1024 * 1024
"""What one frame may inflate to."""


class Client:
    """Connections of one attack, until its time is over."""

    def __init__(self, port: int, seconds: float, seed: int) -> None:
        self.port = port
        self.seconds = seconds
        self.random = random.Random(seed)
        self.pause = threading.Event()

    @cached_property
    def end_s(self) -> float:
        """When its time is over, which begins when this is first asked for: not before what it sends is ready."""
        return time.monotonic() + self.seconds

    @property
    def on(self) -> bool:
        """Whether there is time left."""
        return time.monotonic() < self.end_s

    def connect(self, host: str = "127.0.0.2") -> socket.socket:
        """Open a connection from an address."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=5, source_address=(host, 0))

    def rounds(self) -> Iterator[socket.socket]:
        """Yield one new connection after the other; what becomes of each is the receiver's affair."""
        while self.on:
            with contextlib.suppress(OSError), self.connect() as peer:
                yield peer

    def pour(self, peer: socket.socket, data: bytes) -> bool:
        """Send; False if the receiver has closed."""
        try:
            peer.sendall(data)
        except OSError:
            return False
        return True

    def until_closed(self, peer: socket.socket) -> None:
        """Read until the receiver closes, or the time is over."""
        peer.settimeout(max(self.end_s - time.monotonic(), 0.01))
        with contextlib.suppress(OSError):
            while peer.recv(65536):
                pass


def nobody(client: Client) -> None:
    """No attack: to compare with."""
    while client.on:
        client.pause.wait(0.05)


def slow_loris(client: Client) -> None:
    """Frames that trickle, one byte at a time, on all connections that one address gets."""
    peers = [client.connect() for _ in range(20)]
    wire = packed_forward(bytes(1_000_000))
    for at in range(len(wire)):
        peers = [peer for peer in peers if client.pour(peer, wire[at : at + 1])]
        if not (peers and client.on):
            return
        client.pause.wait(0.1)


def tiny_frames(client: Client) -> None:
    """Frames of four bytes, millions of them, each with a record that is no message."""
    for peer in client.rounds():
        while client.on and client.pour(peer, b"\x93\xa0\x00\x80" * 50_000):
            pass


def tiny_chunks(client: Client) -> None:
    """Tiny frames that want an answer, which is never read."""
    wire = b"".join(packed_forward(b"", f"{number:0600d}") for number in range(2000))
    for peer in client.rounds():
        while client.on and client.pour(peer, wire):
            pass


def heartbeats(client: Client) -> None:
    """Nothing but nil."""
    for peer in client.rounds():
        while client.on and client.pour(peer, b"\xc0" * 1_000_000):
            pass


def gzip_bombs(client: Client) -> None:
    """A gigabyte in one member, or in many; or in pieces of nothing."""
    zeros = gzip.compress(bytes(2 * MEMORY))
    members = gzip.compress(bytes(MEMORY // 64)) * 200
    nothing = gzip.compress(b"") * 100_000
    for peer in client.rounds():
        client.pour(peer, packed_forward(client.random.choice([zeros, members, nothing]), "x", compressed="gzip"))
        client.until_closed(peer)


def legal_bombs(client: Client) -> None:
    """Frames that inflate to just what is allowed, one after the other, and hold nothing that is a message."""
    bomb = packed_forward(gzip.compress(b"\xc0" * (MEMORY - 1)), compressed="gzip")
    for peer in client.rounds():
        while client.on and client.pour(peer, bomb):
            pass


def large_heads(client: Client) -> None:
    """Arrays, maps, strings and extensions of 2**32 elements or bytes, wherever one may stand."""
    heads = [code + b"\xff\xff\xff\xff" for code in (b"\xdd", b"\xdf", b"\xdb", b"\xc6", b"\xc9")]
    starts = [b"", b"\x93", b"\x93\xa1a", b"\x93\xa1a\x91\x92\x00", b"\x93\xa1a\xa0\x81"]
    for peer in client.rounds():
        client.pour(peer, client.random.choice(starts) + client.random.choice(heads) + bytes(1000))
        client.until_closed(peer)


def deep_nesting(client: Client) -> None:
    """Brackets in brackets, more than any stack has room for; in frames, in entries and in options."""
    deep = b"\x91" * 2_000_000 + b"\xc0"
    entry_of_depth = b"\x92\x00\x81\xa1a" + deep
    frames = [
        b"\x92\xa1a" + deep,
        packed_forward(entry_of_depth, "x"),
        b"\x93\xa1a\xa0" + b"\x81\xa1a" * 20_000 + b"\xc0",
        b"\x92\xa1a" + b"\x91" * 40_000_000,
    ]
    for peer in client.rounds():
        client.pour(peer, client.random.choice(frames))
        with contextlib.suppress(OSError):
            peer.shutdown(socket.SHUT_WR)
        client.until_closed(peer)


def endless_strings(client: Client) -> None:
    """As much as a frame may hold, on many connections, and no end of any."""
    peers = [client.connect() for _ in range(30)]
    wire = b"\x93\xa1a\xc6" + struct.pack(">I", 31_000_000)
    peers = [peer for peer in peers if client.pour(peer, wire)]
    for _ in range(30):
        peers = [peer for peer in peers if client.on and client.pour(peer, bytes(1_000_000))]


def wrong_types(client: Client) -> None:
    """Every value of a frame, an entry and a record something else than it should be."""
    values: list[Any] = [
        None,
        True,
        -1,
        2**64 - 1,
        1.5,
        "",
        b"\xff" * 9,
        [],
        {},
        [[]],
        {"a": {}},
        msgpack.ExtType(7, b"x"),
    ]
    record = msgpack.unpackb(entry(response(1, b"body")), strict_map_key=False)[1]
    for peer in client.rounds():
        for _ in range(200):
            pick = client.random.choice
            wrong = {key: pick(values) if client.random.random() < 0.3 else value for key, value in record.items()}
            body: Any = [[pick([1, pick(values)]), pick([wrong, wrong, pick(values)])]]
            option: Any = {pick(["chunk", "size", "compressed"]): pick(values)}
            frame = [pick(["tag", "tag", pick(values)]), pick([body, body, pick(values)]), pick([option, pick(values)])]
            if not client.pour(peer, msgpack.packb(frame)):
                break
        client.pour(peer, b"\xc1")
        client.until_closed(peer)


def garbage(client: Client) -> None:
    """Anything but Forward, as fast as connections can be opened."""
    for peer in client.rounds():
        client.pour(peer, b"\xc1" + client.random.randbytes(client.random.randrange(2000)))


def resets(client: Client) -> None:
    """Good frames that are cut by a reset, at any byte."""
    wire = packed_forward(entries(conversation(20)), "x") * 3
    for peer in client.rounds():
        client.pour(peer, wire[: client.random.randrange(len(wire))])
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def empty_parts(client: Client) -> None:
    """A message of a million parts, none of which holds a byte, each in a chunk of its own."""
    message = response(1, b"")
    for peer in client.rounds():
        for start in range(0, 1 << 20, 500):
            parts = range(start, start + 500)
            wire = [entry(message, part=part, parts=1 << 20, payload=b"") for part in parts]
            session = [
                packed_forward(body, chunk_id(b"evil!!!!", part)) for body, part in zip(wire, parts, strict=True)
            ]
            if not (client.on and client.pour(peer, b"".join(session))):
                break


def leaping_numbers(client: Client) -> None:
    """Chunk numbers that leap, so that each of them means a gap; and sessions without end."""
    for peer in client.rounds():
        for start in range(0, 1 << 30, 2000):
            names = [chunk_id(os.urandom(8) if at % 2 else b"leaping!", at * 1000) for at in range(start, start + 2000)]
            if not (client.on and client.pour(peer, b"".join(packed_forward(b"", name) for name in names))):
                break
            peer.setblocking(False)
            with contextlib.suppress(OSError):
                peer.recv(1 << 20)
            peer.settimeout(5)


def crowd(client: Client) -> None:
    """Ten thousand connections that do nothing, or as many as this process may have; then the same again."""
    while client.on:
        with contextlib.ExitStack() as held:
            for _ in range(10_000):
                if not client.on:
                    break
                try:
                    held.enter_context(client.connect())
                except OSError:  # the receiver's queue is full, or we have no descriptors left
                    break


def squatters(client: Client) -> None:
    """All places, taken from many addresses, and kept with heartbeats."""
    with contextlib.ExitStack() as held:
        peers = []
        for number in range(64):
            with contextlib.suppress(OSError):
                peers.append(held.enter_context(client.connect(f"127.0.1.{number + 1}")))
        while client.on:
            peers = [peer for peer in peers if client.pour(peer, b"\xc0")]
            client.pause.wait(0.05)


ATTACKS: Final[dict[str, Callable[[Client], None]]] = {
    attack.__name__: attack
    for attack in (
        nobody, slow_loris, tiny_frames, tiny_chunks, heartbeats, gzip_bombs, legal_bombs, large_heads, deep_nesting,
        endless_strings, wrong_types, garbage, resets, empty_parts, leaping_numbers, crowd, squatters,
    )
}  # fmt: skip


def attack(name: str, port: int, seconds: float, seed: int) -> None:
    """Carry out one attack; the target of its process."""
    ATTACKS[name](Client(port, seconds, seed))
