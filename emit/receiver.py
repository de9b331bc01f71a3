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

from capture.child import ending, run_child
from capture.errors import MalformedTraffic
from emit.admission import Admission
from emit.connection import Connection
from emit.descriptors import raise_descriptor_limit
from emit.feeding import Feeder
from emit.intake import Intake
from emit.joining import Budget
from emit.listening import Listener, shown
from emit.places import Places
from emit.records import ReceiverSpec
from emit.sessions import Sessions
from emit.sparing import Sparing

log = logging.getLogger(__name__)

MOST_OUTGOING_BYTES: Final = 1024 * 1024
"""Acknowledgements that a peer may leave unread."""
CHECK_S: Final = 1.0
"""How often slow connections are looked for, and a sign of life is given."""
LONGEST_TURN_S: Final = 2 * CHECK_S
"""Time beyond that in which we did not look is not held against anybody: we were stopped, or there was much to do."""


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
        self.places = Places(spec.connections, spec.connections_per_address, spec.idle_s)
        self.sparing = Sparing()
        self.held_bytes = 0  # by connections
        self.now_s = 0.0  # time in which we looked at connections
        self.checked_s = 0.0
        self.turned_s = time.monotonic()
        self.connections: dict[int, Connection] = {}
        self.sockets: dict[Connection, socket.socket] = {}
        self.interest: dict[int, int] = {}
        self.work: dict[Connection, None] = {}  # with bytes to look at, in order
        self.stalled: dict[Connection, None] = {}  # waiting for room in a ring
        self.poller = select.epoll()
        self.listener: Listener | None = None
        self.wake_fd = -1
        self.stop = False
        self.deadline_s: float | None = None  # of the drain, once it has begun

    # -- life

    def run(self) -> None:
        """Listen, receive until SIGTERM, finish what is there as a whole, and close the rings."""
        raise_descriptor_limit()
        for handler in logging.getLogger().handlers:
            handler.addFilter(self.sparing)
        with ending(self.feeder.close):
            self.watch_signals()  # first: whoever hears that it listens may ask it to end
            self.listen()
            for producer in self.feeder.producers:
                self.poller.register(producer.fileno(), select.EPOLLIN)
            while not self.finished():
                self.turn()
        self.leave()

    def listen(self) -> None:
        """Bind the listening socket, and tell where."""
        self.listener = Listener(self.spec.host, self.spec.taken.port or self.spec.port, self.poller)
        host, port = self.listener.address
        self.spec.taken.port = port
        self.spec.events.tell("listening", host=host, port=port)
        log.info("listening on %s", shown(host, port))

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
        now_s = self.tick()
        if self.stop and self.deadline_s is None:
            self.begin_drain()
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

    def tick(self) -> float:
        """Return the time by which connections are judged: it does not go on while we do not."""
        clock_s = time.monotonic()
        self.now_s += min(clock_s - self.turned_s, LONGEST_TURN_S)
        self.turned_s = clock_s
        return self.now_s

    def timeout_s(self) -> float | None:
        """Return how long to sleep at most."""
        if self.deadline_s is not None:
            return max(self.deadline_s - time.monotonic(), 0)
        return CHECK_S

    def begin_drain(self) -> None:
        """Stop accepting and reading; what has come as a whole is finished."""
        self.deadline_s = time.monotonic() + self.spec.drain_s
        if self.listener is not None:
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
        self.sparing.tell()

    # -- connections

    def accept(self, now_s: float) -> None:
        """Take new connections, as many as there may be."""
        assert self.listener is not None
        for accepted, address in self.listener.accept():
            if self.admission.crowded or not self.make_place(address[0], now_s):
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
            connection.heard_s = connection.brought_s = now_s
            self.places.take(connection, address[0])
            self.admission.meet(connection, accepted, now_s)
            self.connections[accepted.fileno()] = connection
            self.sockets[connection] = accepted
            self.counters.add("connections")
            self.set_interest(connection)

    def make_place(self, host: str, now_s: float) -> bool:
        """Whether there is a place for a connection from an address; one that brings nothing gives way for it."""
        why = self.places.refusal(host)
        if why is None and self.places.full:
            idle = self.places.idle(now_s, self.intake.owes)
            if idle is not None:
                self.counters.add("connections_evicted")
                self.drop(idle)
                return True
            why = f"{self.places.most} are open already (input.max_connections)"
        if why is not None:
            log.warning("a connection from %s is refused: %s", host, why)
        return why is None

    def attend(self, connection: Connection, events: int, now_s: float) -> None:
        """Act on a connection's poll events."""
        if self.admission.shaking(connection):
            self.work[connection] = None
            return
        if events & select.EPOLLOUT:
            self.send(connection)
        if connection.behind:
            return
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
        self.weigh(connection)

    def weigh(self, connection: Connection) -> None:
        """Note what a connection holds now; if all together hold too much, the one that holds most is closed."""
        self.held_bytes += connection.held_bytes - connection.weight
        connection.weight = connection.held_bytes
        if self.held_bytes > self.spec.held_bytes:
            largest = max(self.connections.values(), key=lambda each: each.weight)
            error = MalformedTraffic("frames under way, over all connections, of too many bytes", at=0)
            self.fail(largest, error)

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
            log.warning("%s: acknowledgements are asked for and not read; the connection is closed", connection.peer)
            self.counters.add("connections_failed")
            connection.cut_off()
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
        self.places.leave(connection)
        self.held_bytes -= connection.weight
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
        self.weigh(connection)
        if connection not in self.sockets:
            return
        if connection.brought_s == connection.heard_s:
            self.places.refresh(connection)
        self.send(connection)
        if connection.behind:
            self.work[connection] = None
            return
        if not done:
            self.stalled[connection] = None
            self.set_interest(connection)
            return
        if self.deadline_s is not None:
            self.intake.lose_parts(connection)
        if connection.ended and self.deadline_s is None and self.is_answered(connection):
            if connection.in_frame:
                self.counters.add("connections_failed")
                log.warning("%s: the connection ended inside a frame", connection.peer)
            self.drop(connection)
            return
        self.set_interest(connection)

    def is_answered(self, connection: Connection) -> bool:
        """Whether there is nothing more to be sent to a connection."""
        return connection.gone or not (connection.outgoing or self.intake.owes(connection))

    def check(self, now_s: float) -> None:
        """Once in a while, end connections that hold back a frame, or who they are; and see to what is not urgent."""
        if now_s - self.checked_s < CHECK_S:
            return
        self.checked_s = now_s
        for connection in list(self.connections.values()):
            try:
                self.admission.check(connection, now_s)
                connection.check_stall(now_s, self.spec.stall_s)
            except MalformedTraffic as error:
                self.fail(connection, error)
            else:
                if connection.chunk is None:
                    connection.inbox.rest()
                    self.weigh(connection)
        if self.listener is not None:
            self.listener.wake()
        self.sparing.tell()
