"""One TCP connection to a receiver at a time: connect, send, receive, never blocking; it knows no protocol.

In: an address, frames.  Out: bytes that came back, and the reason when a connection is lost.  Invariant: after
`lost` is set nothing more is sent until `connect` is called again.
"""

import enum
import errno
import os
import select
import socket
from typing import Final

from emit.addresses import Addresses

READ_BYTES: Final = 64 * 1024
KEEPALIVE_IDLE_S: Final = 15
KEEPALIVE_EVERY_S: Final = 5
KEEPALIVE_PROBES: Final = 3


class Stage(enum.Enum):
    """What is known of the connection."""

    DOWN = 0  # none
    CONNECTING = 1  # asked for, not answered
    OPEN = 2  # answered


def split_address(address: str) -> tuple[str, int]:
    """Split "host:port" or "[v6]:port"."""
    host, _, port = address.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


class Link:
    """A connection that comes and goes; the addresses behind a name are tried in turn."""

    def __init__(self, address: str) -> None:
        self.host, self.port = split_address(address)
        self.addresses = Addresses(self.host, self.port)
        self.stage = Stage.DOWN
        self.lost: str | None = None  # why the latest connection ended
        self.attempts = 0
        self.opened = 0
        self.since_s = 0.0  # when the present stage began
        self.wrote_s = 0.0  # when the other side last took a byte
        self.socket: socket.socket | None = None
        self.frame: memoryview | None = None  # what is being sent
        self.sent_bytes = 0

    def connect(self, now_s: float) -> None:
        """Begin to connect; a name is looked up first."""
        self.lost = None
        try:
            found = self.addresses.find()
        except OSError as error:
            self.lose(f"{self.host} is not known: {error.strerror}")
            return
        family, kind, protocol, _, address = found[self.attempts % len(found)]
        self.attempts += 1
        self.since_s = now_s
        try:
            self.socket = socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_EVERY_S)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)
            code = self.socket.connect_ex(address)
        except OSError as error:
            code = error.errno or errno.EIO
        self.stage = Stage.CONNECTING
        if code not in (0, errno.EINPROGRESS):
            self.lose(reason(code))

    def answered(self, now_s: float) -> bool:
        """Act on the end of the connection attempt, which poll(2) has announced; True if it is open now."""
        assert self.socket is not None
        code = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self.lose(reason(code))
        elif self.itself():
            self.lose(reason(errno.ECONNREFUSED))
        else:
            self.stage = Stage.OPEN
            self.since_s = self.wrote_s = now_s
            self.opened += 1
        return self.stage is Stage.OPEN

    def itself(self) -> bool:
        """Whether the connection leads to itself, as TCP allows where nobody listens on a port that is handed out."""
        assert self.socket is not None
        try:
            return bool(self.socket.getsockname() == self.socket.getpeername())
        except OSError:
            return False

    def fileno(self) -> int:
        """Return the descriptor, -1 if there is none."""
        return self.socket.fileno() if self.socket is not None else -1

    def events(self, *, more: bool) -> int:
        """Return the poll events of interest; `more` says that there is something to send."""
        if self.stage is Stage.CONNECTING:
            return select.POLLOUT
        return select.POLLIN | (select.POLLOUT if more or self.frame is not None else 0)

    def begin(self, frame: bytes) -> None:
        """Make `frame` the one that is being sent."""
        self.frame = memoryview(frame)
        self.sent_bytes = 0

    def push(self, now_s: float) -> bool:
        """Send what the other side takes of the frame; True if that was all of it."""
        assert self.socket is not None
        assert self.frame is not None
        try:
            while self.sent_bytes < len(self.frame):
                self.sent_bytes += self.socket.send(self.frame[self.sent_bytes :])
                self.wrote_s = now_s
        except BlockingIOError:
            return False
        except OSError as error:
            self.lose(reason(error.errno or errno.EIO))
            return False
        self.frame = None
        return True

    def pull(self) -> bytes:
        """Return what has come, empty if nothing has."""
        assert self.socket is not None
        try:
            data = self.socket.recv(READ_BYTES)
            # For good only until the next time: a receiver under Nagle's rule holds back its second answer until our
            # kernel has acknowledged the first, which takes it 40 ms otherwise.
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        except BlockingIOError:
            return b""
        except OSError as error:
            self.lose(reason(error.errno or errno.EIO))
            return b""
        if not data:
            self.lose("the receiver closed the connection")
        return data

    def lose(self, why: str) -> None:
        """End the connection; `why` is for the operator."""
        self.close()
        self.lost = why

    def close(self) -> None:
        """End the connection."""
        if self.socket is not None:
            self.socket.close()
            self.socket = None
        self.stage = Stage.DOWN
        self.frame = None


def reason(code: int) -> str:
    """Say what an error number means."""
    return os.strerror(code).lower()
