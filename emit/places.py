"""Which connections a receiver has room for: so many together, so many of one address, and who gives way; no sockets.

In: connections as they come, bring something and go.  Out: which are let in, and which have to leave for it.
Invariant: who has brought something lately, or is owed something, never gives way.
"""

import ipaddress
from collections import Counter
from collections.abc import Callable
from typing import Final

from emit.connection import Connection

LOOKS: Final = 4
"""Connections that are looked at for one that gives way: those that have brought nothing for longest."""
NETWORK_BYTES: Final = 8
"""Of an IPv6 address: whoever has one has all those that begin with the same (RFC 6177)."""


class Places:
    """The open connections of one receiver, those that have brought something lately at the end."""

    def __init__(self, most: int, most_of_one: int, idle_s: float) -> None:
        self.most = most
        self.most_of_one = most_of_one
        self.idle_s = idle_s
        self.networks: dict[Connection, bytes] = {}
        self.counts: Counter[bytes] = Counter()

    def refusal(self, host: str) -> str | None:
        """Say why a connection from an address cannot be let in; None if it can, once there is a place."""
        if self.counts[network_of(host)] < self.most_of_one:
            return None
        return f"{host} has {self.most_of_one} connections already (input.max_connections_per_address)"

    @property
    def full(self) -> bool:
        """Whether one has to leave before another can come."""
        return len(self.networks) >= self.most

    def idle(self, now_s: float, owed: Callable[[Connection], bool]) -> Connection | None:
        """Return the connection that gives way, if one can; `owed` tells who still waits for an answer."""
        for connection, _ in zip(self.networks, range(LOOKS), strict=False):
            if connection.is_idle(now_s, self.idle_s) and not owed(connection):
                return connection
        return None

    def take(self, connection: Connection, host: str) -> None:
        """Give a connection its place."""
        network = network_of(host)
        self.networks[connection] = network
        self.counts[network] += 1

    def refresh(self, connection: Connection) -> None:
        """Note that a connection has brought something."""
        self.networks[connection] = self.networks.pop(connection)

    def leave(self, connection: Connection) -> None:
        """Take a place back."""
        network = self.networks.pop(connection)
        self.counts[network] -= 1
        if not self.counts[network]:
            del self.counts[network]


def network_of(host: str) -> bytes:
    """Return what counts as one address: of IPv6, the network that one site has."""
    return ipaddress.ip_address(host.partition("%")[0]).packed[:NETWORK_BYTES]
