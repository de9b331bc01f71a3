"""The server that requests are sent to: its addresses, and sockets on their way to it, with TLS if it has that.

In: an `HttpSpec`.  Out: non-blocking sockets.  Invariant: nothing here waits.
"""

import errno
import logging
import os
import socket
import ssl
from typing import Final

from emit.addresses import Addresses
from emit.records import HttpSpec, TlsSpec
from emit.secured import context_for

log = logging.getLogger(__name__)

UNDER_WAY: Final = (0, errno.EINPROGRESS)


class Upstream:
    """Where an output's connections lead to; the addresses behind a name are tried in turn."""

    def __init__(self, spec: HttpSpec) -> None:
        self.spec = spec
        self.attempts = 0
        self.addresses = Addresses(spec.host, spec.port)
        self.context = None if spec.tls is None else tls_context(spec.tls)

    def connect(self) -> socket.socket:
        """Begin to connect; raises OSError, in words that say why not."""
        found = self.addresses.find()
        family, kind, protocol, _, address = found[self.attempts % len(found)]
        connection = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, protocol)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            code = connection.connect_ex(address)
            if code not in UNDER_WAY:
                raise OSError(code, os.strerror(code))
        except BaseException:
            connection.close()
            raise
        return connection

    def secure(self, connection: socket.socket) -> socket.socket:
        """Put TLS, if the target has it, on a connection that is there: before, that would fail; raises OSError."""
        if self.context is None or self.spec.tls is None:
            return connection
        return self.context.wrap_socket(
            connection, server_hostname=self.spec.tls.server_name, do_handshake_on_connect=False
        )

    def failed(self) -> None:
        """Take the next address the next time."""
        self.attempts += 1


def tls_context(spec: TlsSpec) -> ssl.SSLContext:
    """Make the context; raises OSError where a file is not what it should be."""
    context = context_for(spec)
    context.set_alpn_protocols(["http/1.1"])
    return context


NOWHERE: Final = (bytes(4), 0, bytes(4), 0)


def ends_of(connection: socket.socket) -> tuple[bytes, int, bytes, int]:
    """Return address and port of the other end, and of ours; addresses packed, 4 or 16 bytes."""
    try:
        places = (connection.getpeername()[:2], connection.getsockname()[:2])
        (far, far_port), (near, near_port) = places
        return socket.inet_pton(connection.family, far), far_port, socket.inet_pton(connection.family, near), near_port
    except OSError:  # it has gone again
        return NOWHERE


def itself(connection: socket.socket) -> bool:
    """Whether a connection leads to itself, as TCP allows where nobody listens on a port that is handed out."""
    try:
        return bool(connection.getsockname() == connection.getpeername())
    except OSError:
        return False


def explain(error: OSError) -> str:
    """Say in a few words why there is no connection."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return (
            f"TLS failed: {(getattr(error, 'reason', None) or error.strerror or str(error)).replace('_', ' ').lower()}"
        )
    if isinstance(error, socket.gaierror):
        return f"its name is not known: {error.strerror}"
    return (error.strerror or str(error)).lower()
