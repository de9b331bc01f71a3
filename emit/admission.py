"""Who may send here: TLS and the shared key, for the connections of a receiver, before a byte of theirs counts.

In: connections that were accepted, with their sockets.  Out: which of them have shown who they are.  Invariant: one
that has not is bounded in bytes, in time and in number, and nothing that it says reaches `Intake`.
"""

import logging
import select
import socket
from dataclasses import dataclass
from ssl import SSLError
from typing import Final

from capture.counters import Counters
from capture.errors import MalformedTraffic, MirrorError
from emit.connection import Connection
from emit.handshake import Greeter
from emit.link import own_name
from emit.records import ReceiverSpec
from emit.secured import Secured, explain, secure, server_context

log = logging.getLogger(__name__)

TLS_HELLO: Final = b"\x16\x03"
"""A TLS record of a handshake begins with it (RFC 8446 5.1); no Forward frame does."""


@dataclass
class Stranger:
    """What is known of a connection that has not shown yet who it is."""

    since_s: float
    secured: Secured | None  # while TLS is being agreed on
    greeter: Greeter | None  # while there is a shared key to be proved


class Admission:
    """The doors of one receiver; without TLS and without a key they are open."""

    def __init__(self, spec: ReceiverSpec, counters: Counters) -> None:
        self.spec = spec
        self.counters = counters
        self.guarded = spec.tls is not None or spec.access is not None
        try:
            self.context = None if spec.tls is None else server_context(spec.tls)
        except (OSError, ValueError) as error:
            raise MirrorError(f"the files for TLS of the input: {error}") from error
        self.most = max(1, spec.connections // 2)
        self.strangers: dict[Connection, Stranger] = {}
        self.tls: dict[Connection, Secured] = {}

    @property
    def crowded(self) -> bool:
        """Whether so many have not shown who they are that no more are let near."""
        return len(self.strangers) >= self.most

    def secure(self, accepted: socket.socket) -> socket.socket:
        """Put TLS on a socket, if that is spoken here; raises OSError."""
        return accepted if self.context is None else secure(self.context, accepted, None)

    def meet(self, connection: Connection, accepted: socket.socket, now_s: float) -> None:
        """Begin with a new connection."""
        if not self.guarded:
            return
        greeter = None if self.spec.access is None else Greeter(self.spec.access, own_name())
        secured = accepted if isinstance(accepted, Secured) else None
        if secured is not None:
            secured.wish = select.POLLIN
            self.tls[connection] = secured
        elif greeter is not None:
            connection.outgoing += greeter.helo
        self.strangers[connection] = Stranger(now_s, secured, greeter)

    def shaking(self, connection: Connection) -> bool:
        """Go on with TLS, for which epoll(7) has announced something; False if that is over, or there is none."""
        stranger = self.strangers.get(connection)
        if stranger is None or stranger.secured is None:
            return False
        try:
            if not stranger.secured.shake():
                return True
        except OSError as error:
            self.lost(connection, error)
            connection.ended = connection.gone = True
            return True
        stranger.secured = None
        if stranger.greeter is None:
            del self.strangers[connection]
        else:
            connection.outgoing += stranger.greeter.helo
        return False

    def wish(self, connection: Connection) -> int:
        """Return the poll event without which TLS does not go on."""
        secured = self.tls.get(connection)
        return 0 if secured is None else secured.wish

    def passed(self, connection: Connection) -> bool:
        """Whether what has come may be looked at as frames; raises MalformedTraffic for what is no handshake."""
        if connection.inbox.end > connection.inbox.start and self.context is None:
            self.look_for_tls(connection)
        stranger = self.strangers.get(connection)
        if stranger is None:
            return True
        if stranger.secured is not None or stranger.greeter is None:
            return False
        return self.greet(connection, stranger.greeter)

    def look_for_tls(self, connection: Connection) -> None:
        """Say it in words if somebody speaks TLS where there is none."""
        if connection.session is None and bytes(connection.inbox.view()[:2]) == TLS_HELLO:
            raise MalformedTraffic("TLS, which is not spoken here: write certificate and key in [input]", at=0)

    def greet(self, connection: Connection, greeter: Greeter) -> bool:
        """Take what is there of a PING; True if it was right."""
        inbox = connection.inbox
        known = greeter.hearing.fed
        try:
            answer = greeter.feed(bytes(inbox.view()[: greeter.hearing.room]))
        except MalformedTraffic:
            self.counters.add("handshakes_failed")
            raise
        if answer is None:
            inbox.drop(greeter.hearing.fed - known)
            return False
        pong, why = answer
        inbox.drop(greeter.hearing.taken - known)
        connection.outgoing += pong
        if why:
            self.refuse(connection, why)
            return False
        del self.strangers[connection]
        return True

    def refuse(self, connection: Connection, why: str) -> None:
        """Note that a connection is not let in; what is to be sent to it is sent, and nothing more is read."""
        log.warning("%s: %s; the connection is closed", connection.peer, why)
        self.counters.add("handshakes_failed")
        self.counters.add("connections_failed")
        connection.ended = True
        connection.inbox.drop(connection.inbox.end - connection.inbox.start)

    def lost(self, connection: Connection, error: OSError) -> None:
        """Say why TLS has ended a connection."""
        stranger = connection in self.strangers
        if stranger or isinstance(error, SSLError):
            log.warning("%s: %s; the connection is closed", connection.peer, explain(error))
            self.counters.add("connections_failed")
        if stranger:
            self.counters.add("handshakes_failed")

    def check(self, connection: Connection, now_s: float) -> None:
        """Raise MalformedTraffic for one that has taken too long to show who it is."""
        stranger = self.strangers.get(connection)
        if stranger is not None and now_s - stranger.since_s > self.spec.handshake_s:
            self.counters.add("handshakes_failed")
            raise MalformedTraffic(f"no handshake within {self.spec.handshake_s:g} s", at=0)

    def forget(self, connection: Connection) -> None:
        """Let go of a connection that is closed."""
        self.strangers.pop(connection, None)
        self.tls.pop(connection, None)
