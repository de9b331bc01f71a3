"""Forward peers for tests: recorded sessions, played from either end; and what frames hold, read once more."""

import gzip
import hashlib
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import msgpack

RECORDED: Final = Path(__file__).parents[3] / "shared" / "forward-captures"
KEY, USER, PASSWORD = b"s3cr3t", b"u", b"p"
"""Of all recorded sessions with a handshake."""


@dataclass
class Session:
    """One recorded connection."""

    name: str
    pieces: list[tuple[str, bytes]] = field(default_factory=list)  # c2s or s2c, as read; b"": the end of that side

    def said(self, side: str) -> list[Any]:
        """Return the objects of one side."""
        return objects(b"".join(data for each, data in self.pieces if each == side))


def sessions(*names: str) -> list[Session]:
    """Return the connections of recorded files, by globs."""
    found: dict[str, Session] = {}
    for path in sorted({path for name in names for path in RECORDED.glob(name)}):
        for line in path.read_text().splitlines():
            piece = json.loads(line)
            name = f"{path.stem}-{piece['conn']}"
            session = found.setdefault(name, Session(name))
            session.pieces.append((piece["dir"], bytes.fromhex(piece.get("hex", ""))))
    return list(found.values())


def objects(data: bytes) -> list[Any]:
    """Read msgpack, with str as bytes."""
    unpacker = msgpack.Unpacker(raw=True, strict_map_key=False)
    unpacker.feed(data)
    return list(unpacker)


def entries_of(frame: list[Any]) -> list[Any]:
    """Return the [time, record] of a frame of any mode."""
    if not isinstance(frame[1], bytes | list):
        return [frame[1:3]]
    if isinstance(frame[1], list):
        return frame[1]
    options = frame[2] if len(frame) > 2 else {}
    body = gzip.GzipFile(fileobj=BytesIO(frame[1])).read() if options.get(b"compressed") == b"gzip" else frame[1]
    return objects(body)


def digest(*parts: bytes) -> bytes:
    """Return what proves a key or a password."""
    return hashlib.sha512(b"".join(parts)).hexdigest().encode()


def ping_for(helo: list[Any], ping: list[Any], recorded: bytes) -> bytes:
    """Return the bytes of a recorded PING with the proofs that another HELO asks for."""
    _ping, host, salt, proof, user, password = ping
    options = helo[1]
    made = recorded.replace(proof, digest(salt, host, options[b"nonce"], KEY))
    return made.replace(password, digest(options[b"auth"], user, PASSWORD)) if password else made


class Peer:
    """A socket, and what has come on it and is not read."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.socket.settimeout(20)
        self.unpacker = msgpack.Unpacker(raw=True, strict_map_key=False)

    def send(self, data: bytes) -> None:
        """Send bytes, or end our side."""
        if data:
            self.socket.sendall(data)
        else:
            self.socket.shutdown(socket.SHUT_WR)

    def next(self) -> Any:
        """Return the next object; fails at the end."""
        while True:
            try:
                return self.unpacker.unpack()
            except msgpack.OutOfData:
                data = self.socket.recv(65536)
                assert data, "the other side closed the connection"
                self.unpacker.feed(data)

    def rest(self) -> bytes:
        """Return everything up to the end."""
        return b"".join(iter(lambda: self.socket.recv(65536), b""))


def play_client(session: Session, peer: Peer) -> Iterator[Any]:
    """Send what a recorded client sent, piece by piece, and yield what is answered where its server answered."""
    helo: list[Any] = []
    for side, data in session.pieces:
        if side == "c2s":
            found = objects(data) if helo else []
            if found and found[0][:1] == [b"PING"]:
                data = ping_for(helo, found[0], data)
                helo = []
            peer.send(data)
            continue
        for _object in objects(data):
            answer = peer.next()
            if isinstance(answer, list) and answer[0] == b"HELO":
                helo = answer
            else:
                yield answer
