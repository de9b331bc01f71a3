"""The receiver process: takes messages from Forward senders over TCP and writes them to message rings.

In: connections.  Out: ring records, acknowledgements.  Invariant: a chunk is acknowledged only when the workers
have released every record of it; while a ring is full, the connections that have something for it are not read.
"""

import logging
import os
import select
import signal
import socket
import time
from typing import Final

from capture.child import run_child
from capture.errors import MalformedTraffic, MirrorError
from emit.admission import Admission
from emit.connection import Connection
from emit.feeding import Feeder
from emit.intake import Intake
from emit.joining import Budget
from emit.records import ReceiverSpec
from emit.sessions import Sessions

log = logging.getLogger(__name__)

BACKLOG: Final = 128
MOST_OUTGOING_BYTES: Final = 1024 * 1024
"""Acknowledgements that a peer may leave unread."""
CHECK_S: Final = 1.0
"""How often slow connections are looked for, and a sign of life is given."""


def main(spec: ReceiverSpec) -> None:
    """Receive until SIGTERM; the target of its process."""
    run_child(lambda: Receiver(spec).run(), spec.events, spec.parent, spec.level)


class Receiver:
    """One listening socket, its connections, and the rings that they feed."""

    def __init__(self, spec: ReceiverSpec) -> None:
        self.spec = spec
        self.counters = spec.counters
        self.feeder = Feeder(spec.outputs, Budget(spec.message_bytes, spec.joining_bytes))
        self.intake = Intake(self.feeder, Sessions(spec.taken.most), spec.counters, spec.taken)
        if spec.attempt:
            self.intake.recover()
        self.admission = Admission(spec, spec.counters)
        self.connections: dict[int, Connection] = {}
        self.sockets: dict[Connection, socket.socket] = {}
        self.interest: dict[int, int] = {}
        self.work: dict[Connection, None] = {}  # with bytes to look at, in order
        self.stalled: dict[Connection, None] = {}  # waiting for room in a ring
        self.poller = select.epoll()
        self.listener: socket.socket | None = None
        self.wake_fd = -1
        self.stop = False
        self.deadline_s: float | None = None  # of the drain, once it has begun

    # -- life

    def run(self) -> None:
        """Listen, receive until SIGTERM, finish what is there as a whole, and close the rings."""
        try:
            self.listen()
            self.watch_signals()
            for producer in self.feeder.producers:
                self.poller.register(producer.fileno(), select.EPOLLIN)
            while not self.finished():
                self.turn()
        except MirrorError:
            self.feeder.close()
            raise
        self.feeder.close()
        self.leave()

    def listen(self) -> None:
        """Bind the listening socket, and tell where."""
        host, port = self.spec.host, self.spec.taken.port or self.spec.port
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            self.listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
        except (OSError, OverflowError) as error:
            text = str(error)
            if isinstance(error, OSError) and error.errno is not None:  # negative: of getaddrinfo(3)
                text = os.strerror(error.errno) if error.errno > 0 else str(error.strerror)
            raise MirrorError(f"cannot listen on {shown(host, port)}: {text.lower()}") from error
        self.listener.setblocking(False)
        self.poller.register(self.listener, select.EPOLLIN)
        bound = self.listener.getsockname()
        self.spec.taken.port = bound[1]
        self.spec.events.tell("listening", host=bound[0], port=bound[1])
        log.info("listening on %s", shown(bound[0], bound[1]))

    def watch_signals(self) -> None:
        """Have SIGTERM noted, and the poller woken by it."""
        self.wake_fd, write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, lambda _number, _frame: self.note_stop())
        self.poller.register(self.wake_fd, select.EPOLLIN)

    def note_stop(self) -> None:
        """Note that the end is wanted; the loop acts on it."""
        self.stop = True

    def turn(self) -> None:
        """Wait for something to happen, and act on it."""
        self.spec.events.beat()
        armed = self.feeder.arm(self.intake.pending)
        ready = self.poller.poll(self.timeout_s() if armed and not self.work else 0)
        self.feeder.disarm()
        now_s = time.monotonic()
        if self.stop and self.deadline_s is None:
            self.begin_drain(now_s)
        for fd, events in ready:
            if fd in self.connections:
                self.attend(self.connections[fd], events, now_s)
            elif self.listener is not None and fd == self.listener.fileno():
                self.accept(now_s)
            elif fd == self.wake_fd:
                os.read(self.wake_fd, 4096)
        self.feeder.pump()
        for connection in self.stalled:
            connection.heard_s = now_s
        self.work.update(self.stalled)
        self.stalled.clear()
        for connection in list(self.work):
            self.process(connection)
        for connection in self.intake.acknowledge():
            self.send(connection)
            if connection.ended and self.deadline_s is None:
                self.work[connection] = None
            self.set_interest(connection)
        self.check(now_s)
        self.intake.count_written()

    def timeout_s(self) -> float | None:
        """Return how long to sleep at most."""
        if self.deadline_s is not None:
            return max(self.deadline_s - time.monotonic(), 0)
        return CHECK_S

    def begin_drain(self, now_s: float) -> None:
        """Stop accepting and reading; what has come as a whole is finished."""
        self.deadline_s = now_s + self.spec.drain_s
        if self.listener is not None:
            self.poller.unregister(self.listener)
            self.listener.close()
            self.listener = None
        for connection in list(self.connections.values()):
            connection.ended = True
            self.work[connection] = None
            self.set_interest(connection)

    def finished(self) -> bool:
        """Whether the drain is over: everything is safe and answered, or its time is up."""
        if self.deadline_s is None:
            return False
        if time.monotonic() >= self.deadline_s:
            return True
        busy = self.work or self.stalled or any(self.feeder.queues) or self.intake.pending
        return not busy and not any(connection.outgoing for connection in self.connections.values())

    def leave(self) -> None:
        """Close what is open, and say what was not acknowledged."""
        left = len(self.intake.pending)
        if left or self.stalled:
            log.warning("%d chunks are not acknowledged: the outputs are not done with them", left)
        for connection in list(self.connections.values()):
            self.drop(connection)
        self.poller.close()

    # -- connections

    def accept(self, now_s: float) -> None:
        """Take new connections, as many as there may be."""
        assert self.listener is not None
        while True:
            try:
                accepted, address = self.listener.accept()
            except BlockingIOError:
                return
            except OSError as error:  # the peer has gone already, or there are no descriptors left
                log.warning("a connection could not be accepted: %s", error.strerror)
                return
            if len(self.connections) >= self.spec.connections or self.admission.crowded:
                self.counters.add("connections_refused")
                accepted.close()
                continue
            accepted.setblocking(False)
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            try:
                accepted = self.admission.secure(accepted)
            except OSError:  # the peer has gone already
                accepted.close()
                continue
            peer = shown(address[0], address[1])
            joiner = self.intake.joiner()
            connection = Connection(peer, joiner, self.spec.frame_bytes, self.spec.inflated_bytes)
            connection.heard_s = now_s
            self.admission.meet(connection, accepted, now_s)
            self.connections[accepted.fileno()] = connection
            self.sockets[connection] = accepted
            self.counters.add("connections")
            self.set_interest(connection)

    def attend(self, connection: Connection, events: int, now_s: float) -> None:
        """Act on a connection's poll events."""
        if self.admission.shaking(connection):
            self.work[connection] = None
            return
        if events & select.EPOLLOUT:
            self.send(connection)
        if (
            not connection.ended
            and connection.chunk is None
            and (events & ~select.EPOLLOUT or self.admission.wish(connection))
        ):
            self.read(connection, now_s)
        elif events & (select.EPOLLERR | select.EPOLLHUP):
            connection.ended = connection.gone = True
        self.work[connection] = None

    def read(self, connection: Connection, now_s: float) -> None:
        """Read once."""
        try:
            count = self.sockets[connection].recv_into(connection.inbox.room())
        except BlockingIOError:
            return
        except OSError as error:
            self.admission.lost(connection, error)
            connection.ended = connection.gone = True
            return
        connection.heard_s = now_s
        connection.inbox.filled(count)
        connection.ended = count == 0
        self.counters.add("bytes_in", count)

    def send(self, connection: Connection) -> None:
        """Send what the peer takes of our answers."""
        if connection.gone or not connection.outgoing:
            return
        try:
            sent = self.sockets[connection].send(connection.outgoing)
            del connection.outgoing[:sent]
        except BlockingIOError:
            pass
        except OSError:
            connection.ended = connection.gone = True
        if len(connection.outgoing) > MOST_OUTGOING_BYTES:
            connection.ended = connection.gone = True
        if connection.gone:
            connection.outgoing.clear()
            self.work[connection] = None

    def set_interest(self, connection: Connection) -> None:
        """Watch a connection for what can be done with it now."""
        fd = self.sockets[connection].fileno()
        events = (select.EPOLLOUT if connection.outgoing else 0) | self.admission.wish(connection)
        if not connection.ended and connection.chunk is None:
            events |= select.EPOLLIN
        known = self.interest.get(fd)
        if known is None:
            self.poller.register(fd, events)
        elif known < 0:
            return
        elif connection.gone:
            self.poller.unregister(fd)
            events = -1
        elif known != events:
            self.poller.modify(fd, events)
        self.interest[fd] = events

    def drop(self, connection: Connection) -> None:
        """Close a connection; parts of messages that it has not brought to their end are lost, and may come again."""
        self.intake.close(connection)
        self.admission.forget(connection)
        closing = self.sockets.pop(connection)
        del self.connections[closing.fileno()]
        if self.interest.pop(closing.fileno(), -1) >= 0:
            self.poller.unregister(closing)
        closing.close()
        connection.ended = connection.gone = True
        connection.outgoing.clear()
        self.work.pop(connection, None)
        self.stalled.pop(connection, None)

    def fail(self, connection: Connection, error: MalformedTraffic) -> None:
        """End a connection that brought what it must not."""
        log.warning("%s: %s; the connection is closed", connection.peer, error)
        self.counters.add("connections_failed")
        self.drop(connection)

    def process(self, connection: Connection) -> None:
        """Take the chunks that a connection has brought, until one has to wait; close it when it has nothing left."""
        self.work.pop(connection, None)
        if connection not in self.sockets:
            return
        try:
            done = not self.admission.passed(connection) or self.intake.run(connection)
        except MalformedTraffic as error:
            self.fail(connection, error)
            return
        finally:
            self.work.update(dict.fromkeys(self.intake.superseded))
            self.intake.superseded.clear()
        self.send(connection)
        if not done:
            self.stalled[connection] = None
            self.set_interest(connection)
            return
        if self.deadline_s is not None:
            self.intake.lose_parts(connection)
        answered = connection.gone or not (connection.outgoing or self.intake.owes(connection))
        if connection.ended and answered and self.deadline_s is None:
            if connection.in_frame:
                self.counters.add("connections_failed")
                log.warning("%s: the connection ended inside a frame", connection.peer)
            self.drop(connection)
            return
        self.set_interest(connection)

    def check(self, now_s: float) -> None:
        """End connections that hold a frame back, or do not say who they are."""
        for connection in list(self.connections.values()):
            try:
                self.admission.check(connection, now_s)
                connection.check_stall(now_s, self.spec.stall_s)
            except MalformedTraffic as error:
                self.fail(connection, error)


def shown(host: str, port: int) -> str:
    """Return an address as it is written: IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
