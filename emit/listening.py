"""The listening socket of a receiver: bound, accepted from, and left alone while there are no descriptors.

In: an address.  Out: connections.  Invariant: a turn accepts a bounded number, and what cannot be accepted now keeps
nobody busy.
"""

import errno
import logging
import os
import select
import socket
from collections.abc import Iterator
from typing import Any, Final

from capture.errors import MirrorError

log = logging.getLogger(__name__)

BACKLOG: Final = 1024
"""Connections that may wait to be accepted: whoever finds no room tries again after a second (RFC 6298)."""
MOST_A_TURN: Final = 128
"""Connections accepted before those that are there have their turn."""
SHORTAGES: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Listener:
    """One listening socket, watched by a poller."""

    def __init__(self, host: str, port: int, poller: select.epoll) -> None:
        """Bind it; raises MirrorError."""
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            self.socket = socket.create_server((host, port), family=family, backlog=BACKLOG)
        except (OSError, OverflowError) as error:
            text = str(error)
            if isinstance(error, OSError) and error.errno is not None:  # negative: of getaddrinfo(3)
                text = os.strerror(error.errno) if error.errno > 0 else str(error.strerror)
            raise MirrorError(f"cannot listen on {shown(host, port)}: {text.lower()}") from error
        self.socket.setblocking(False)
        self.poller = poller
        self.resting = False
        poller.register(self.socket, select.EPOLLIN)

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        bound = self.socket.getsockname()
        return bound[0], bound[1]

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when somebody comes."""
        return self.socket.fileno()

    def accept(self) -> Iterator[tuple[socket.socket, tuple[Any, ...]]]:
        """Yield connections that wait, and where they come from."""
        for _ in range(MOST_A_TURN):
            try:
                yield self.socket.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in SHORTAGES:
                    log.warning("no connection can be accepted for now: %s", str(error.strerror).lower())
                    self.rest()
                    return
                # else the peer has gone already

    def rest(self) -> None:
        """Accept nothing until `wake`: the socket would be ready all the time."""
        self.resting = True
        self.poller.modify(self.socket, 0)

    def wake(self) -> None:
        """Try again."""
        if self.resting:
            self.resting = False
            self.poller.modify(self.socket, select.EPOLLIN)

    def close(self) -> None:
        """Listen no more."""
        self.poller.unregister(self.socket)
        self.socket.close()


def shown(host: str, port: int) -> str:
    """Return an address as it is written: IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
