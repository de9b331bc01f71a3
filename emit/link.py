"""One TCP connection to a receiver at a time, with TLS if asked for: connect, send, receive, never blocking; it
knows no protocol above that.

In: an address, frames.  Out: bytes that came back, and the reason when a connection is lost.  Invariant: after
`lost` is set nothing more is sent until `connect` is called again.
"""

import enum
import errno
import os
import select
import socket
from ssl import SSLError
from typing import Final

from emit.addresses import Addresses
from emit.records import TlsSpec
from emit.secured import Secured, client_context, explain, secure

READ_BYTES: Final = 64 * 1024
KEEPALIVE_IDLE_S: Final = 15
KEEPALIVE_EVERY_S: Final = 5
KEEPALIVE_PROBES: Final = 3


class Stage(enum.Enum):
    """What is known of the connection."""

    DOWN = 0  # none
    CONNECTING = 1  # asked for, not answered
    SHAKING = 2  # answered, and TLS is being agreed on
    OPEN = 3  # good to send on


def split_address(address: str) -> tuple[str, int]:
    """Split "host:port" or "[v6]:port"."""
    host, _, port = address.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


def own_name() -> str:
    """Return what this machine is called."""
    return socket.gethostname()


class Link:
    """A connection that comes and goes; the addresses behind a name are tried in turn."""

    def __init__(self, address: str, tls: TlsSpec | None = None) -> None:
        self.host, self.port = split_address(address)
        self.addresses = Addresses(self.host, self.port)
        self.tls = tls
        self.context = None if tls is None else client_context(tls)
        self.stage = Stage.DOWN
        self.lost: str | None = None  # why the latest connection ended
        self.refused = False  # whether that was about who we are, or who the other side is
        self.attempts = 0
        self.opened = 0
        self.since_s = 0.0  # when the present stage began
        self.wrote_s = 0.0  # when the other side last took a byte
        self.socket: socket.socket | None = None
        self.frame: memoryview | None = None  # what is being sent
        self.sent_bytes = 0

    def connect(self, now_s: float) -> None:
        """Begin to connect; a name is looked up first."""
        self.lost, self.refused = None, False
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
        elif self.context is None:
            self.stage = Stage.OPEN
        else:
            self.stage = Stage.SHAKING
            self.shake()
        return self.at_last_open(now_s)

    def shaken(self, now_s: float) -> bool:
        """Go on with TLS, for which poll(2) has announced something; True if the connection is open now."""
        self.shake()
        return self.at_last_open(now_s)

    def at_last_open(self, now_s: float) -> bool:
        """Note the beginning of a connection that has just opened; True if it has."""
        if self.stage is not Stage.OPEN:
            return False
        self.since_s = self.wrote_s = now_s
        self.opened += 1
        return True

    def shake(self) -> None:
        """Begin TLS, or go on with it."""
        assert self.socket is not None
        assert self.context is not None
        assert self.tls is not None
        try:
            if not isinstance(self.socket, Secured):
                self.socket = secure(self.context, self.socket, self.tls.server_name)
            if self.socket.shake():
                self.stage = Stage.OPEN
        except OSError as error:
            self.fail(error)
        except ValueError as error:  # of a name that cannot be one
            self.lose(f"TLS: {error}")

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
        wish = self.socket.wish if isinstance(self.socket, Secured) else 0
        if self.stage is Stage.SHAKING:
            return wish
        return select.POLLIN | wish | (select.POLLOUT if more or self.frame is not None else 0)

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
            self.fail(error)
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
            self.fail(error)
            return b""
        if not data:
            self.lose("the receiver closed the connection")
        return data

    def fail(self, error: OSError) -> None:
        """End the connection for what the system, or TLS, says."""
        self.refused = isinstance(error, SSLError)
        self.lose(explain(error) if self.refused else reason(error.errno or errno.EIO))

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
