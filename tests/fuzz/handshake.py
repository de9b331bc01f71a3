"""Target `handshake`: what somebody says before anything is believed, to a receiver and to a sender of ours.

In: a byte that says to whom and in what pieces, then steps: bytes as they are, or a message that is right, or nearly.
Out: an exception other than MalformedTraffic and Refused, somebody let in who has not proved the key, or pieces that
show.
"""

import hashlib
from typing import Final

import msgpack

from capture.errors import MalformedTraffic
from emit.handshake import MOST_BYTES, Greeter, Greeting, Refused
from emit.records import Access, Login
from fuzz.records import Program

TRACED: Final = True
KEY, USER, PASSWORD = b"key", b"user", b"password"
NONCE, AUTH, SALT = bytes(range(128, 144)), bytes(range(16)), b"salt"
MOST_STEPS: Final = 8


def proof(*parts: bytes) -> bytes:
    """Return what proves a secret (WIRE.md)."""
    return hashlib.sha512(b"".join(parts)).hexdigest().encode()


def said(program: Program, right: list[bytes | bool]) -> bytes:
    """Read what is said: the right message with up to one field changed, among bytes that are anything."""
    out = b""
    for _step in range(MOST_STEPS):
        if not program.left:
            break
        how = program.byte()
        if how & 1:
            out += program.take(how >> 1)
            continue
        made = list(right)
        if how & 2:
            made[program.byte() % len(made)] = (b"", None, {}, True, b"\xff" * 2000, b"x", 1, [[]])[how >> 2 & 7]
        packed: bytes = msgpack.packb(made, use_bin_type=bool(how & 128))
        out += packed
    return out


def outcome(side: Greeter | Greeting, data: bytes, piece: int) -> tuple[str, bool]:
    """Say it in pieces, until there is an answer that decides; return what came of it, and whether one is let in."""
    try:
        for at in range(0, len(data), piece):
            answer = side.feed(data[at : at + piece])
            assert side.hearing.fed - side.hearing.taken <= MOST_BYTES + piece
            if isinstance(side, Greeting) and side.through:
                return "through", True
            if isinstance(answer, tuple):
                return answer[1], not answer[1]
    except MalformedTraffic:
        return "malformed", False
    except Refused:
        return "refused", False
    return "not decided", False


def receiver(data: bytes, piece: int, users: bool) -> tuple[str, bool]:
    """Speak to a receiver, which has said HELO."""
    greeter = Greeter(Access(KEY, ((USER, PASSWORD),) if users else ()), "receiver")
    greeter.nonce, greeter.auth = NONCE, AUTH if users else b""
    right = [b"PING", b"host", SALT, proof(SALT, b"host", NONCE, KEY), USER, proof(AUTH, USER, PASSWORD)]
    wire = said(Program(data), right)  # type: ignore[arg-type]
    found = outcome(greeter, wire, piece)
    assert not found[1] or right[3] in wire
    return found


def sender(data: bytes, piece: int) -> tuple[str, bool]:
    """Answer a sender, whose PING has not been read: whoever has no key cannot know what it has to prove."""
    greeting = Greeting(Login(KEY, USER, PASSWORD), "sender")
    greeting.salt = SALT
    first = msgpack.packb(["HELO", {"nonce": NONCE, "auth": AUTH}]) if data[:1] > b"\x7f" else b""
    right = [b"PONG", True, b"", b"receiver", proof(SALT, b"receiver", NONCE, KEY)]
    wire = first + said(Program(data[1:]), right)  # type: ignore[arg-type]
    if first:
        assert greeting.feed(first)
        wire = wire[len(first) :]
    found = outcome(greeting, wire, piece)
    assert not found[1] or right[4] in wire  # type: ignore[operator]
    return found


def run(data: bytes) -> None:
    """Say it in pieces; to a receiver, also byte by byte."""
    if len(data) < 2:
        return
    how, rest = data[0], bytes(data[1:])
    piece = 1 + (how >> 2)
    if how & 1:
        sender(rest, piece)
    else:
        assert receiver(rest, piece, bool(how & 2)) == receiver(rest, 1, bool(how & 2)), "pieces show"
