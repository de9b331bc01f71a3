"""What a name stands for, without waiting for the resolver: it may take half a minute, and others would wait with us.

In: a host and a port.  Out: addresses.  Invariant: `find` takes `PATIENCE_S` at most, and `FIRST_S` as long as nothing
is known; while the resolver is silent, or has a temporary failure, what was known before holds.
"""

import ipaddress
import socket
import threading
import time
from typing import Any, Final

FIRST_S: Final = 0.25
PATIENCE_S: Final = 0.02
FRESH_S: Final = 1.0
"""For so long an answer is not asked for again: a hundred connections are often opened at once."""

Found = list[tuple[Any, ...]]


class Addresses:
    """The addresses of one far side."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self.known: Found | None = None
        self.known_s = 0.0
        self.lookup: Lookup | None = None

    def find(self) -> Found:
        """Return what getaddrinfo(3) does; raises OSError, `gaierror` where the name stands for nothing."""
        if is_number(self.host):
            return socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        if self.known is not None and time.monotonic() - self.known_s < FRESH_S:
            return self.known
        if self.lookup is None:
            self.lookup = Lookup(self.host, self.port)
            self.lookup.start()
            self.lookup.join(FIRST_S if self.known is None else PATIENCE_S)
        if self.lookup.is_alive():
            return self._as_before(socket.gaierror(socket.EAI_AGAIN, "the resolver has not answered yet"))
        found, error = self.lookup.found, self.lookup.error
        self.lookup = None
        if error is None:
            self.known, self.known_s = found, time.monotonic()
            return found
        if error.errno == socket.EAI_AGAIN:
            return self._as_before(error)
        raise error

    def _as_before(self, error: OSError) -> Found:
        if self.known is None:
            raise error
        return self.known


class Lookup(threading.Thread):
    """One question to the resolver."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(name=f"look-up of {host}", daemon=True)
        self.place = host, port
        self.found: Found = []
        self.error: OSError | None = None

    def run(self) -> None:
        """Ask, and wait as long as it takes."""
        try:
            self.found = list(socket.getaddrinfo(*self.place, type=socket.SOCK_STREAM))
        except OSError as error:
            self.error = error
        except UnicodeError:  # a label that is too long, or empty
            self.error = socket.gaierror(socket.EAI_NONAME, "not a name")


def is_number(host: str) -> bool:
    """Whether a host is written as an address."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
