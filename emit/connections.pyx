"""The connections of a replay: opened when a captured connection has something to send, kept, shared, closed.

In: sessions that have something to send, events of sockets, time.  Out: connections for them, one request at a time on
each.  Invariant: a session has one request on its way at a time, and waits for a connection or its turn, nothing else;
every wait has an end.
"""

import os
from collections import deque
from heapq import heappop, heappush

from libc.errno cimport errno
from libc.stdint cimport int64_t, uint32_t

from emit.answer cimport Answer
from emit.channel cimport Channel
from emit.requests cimport CLOCK_MONOTONIC, LOOKAHEAD_NS, Request, Requests, Session, clock_ns

from emit.breaker import Breaker
from emit.upstream import ends_of, explain


cdef extern from "<sys/epoll.h>" nogil:
    ctypedef union epoll_data_t:
        int fd
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    int epoll_create1(int flags)
    int epoll_ctl(int epfd, int op, int fd, epoll_event* event)
    int epoll_wait(int epfd, epoll_event* events, int maxevents, int timeout)
    int EPOLL_CLOEXEC
    int EPOLL_CTL_ADD
    int EPOLL_CTL_MOD
    uint32_t EPOLLIN
    uint32_t EPOLLOUT
    uint32_t EPOLLERR
    uint32_t EPOLLHUP

cdef enum:
    EVENTS = 256                         # taken from epoll at once
    ROUNDS = 8                           # of that in a turn


cdef class Connection(Channel):
    """One connection to the target, and the request on it."""


cdef class Connections(Requests):
    """All connections of one worker to one target; subclasses send requests on them, and take answers."""

    def __init__(self, spec, consumer, sieve, summary, writer, upstream):
        super().__init__(spec, consumer, sieve, summary, writer)
        self.upstream = upstream
        self.breaker = Breaker(int(spec.retry_s * 1e9))
        self.fd = epoll_create1(EPOLL_CLOEXEC)
        if self.fd < 0:
            raise OSError(errno, os.strerror(errno))
        self.by_fd = {}
        self.idle = {}
        self.waiting = deque()
        self.timers = []
        self.pooled = spec.pooled
        self.idle_ns = <int64_t>(spec.idle_s * 1e9)

    # -- what the output calls

    def turn(self):
        """Act on what has become possible: events of sockets, times that have come, sessions that wait."""
        cdef epoll_event[EVENTS] events
        cdef Connection connection
        cdef int count, i
        self.busy = False
        for _round in range(ROUNDS):
            self.now_ns = clock_ns(CLOCK_MONOTONIC)
            self.run_timers()
            self.release_due()
            self.serve()
            count = epoll_wait(self.fd, events, EVENTS, 0)
            for i in range(count):
                connection = self.by_fd.get(events[i].data.fd)
                if connection is None:
                    continue
                if connection.state == OPEN:
                    self.act(connection, events[i].events)
                else:
                    self.arrive(connection)
            self.serve()
            if count <= 0:
                return
        self.busy = True

    def deadline_ns(self):
        """Return when there is something to do next, by the clock; None if nothing is awaited."""
        times = [<int64_t>heap[0][0] for heap in (self.timers, self.due) if heap]
        if self.waiting and self.breaker.next_ns > self.now_ns:
            times.append(self.breaker.next_ns)
        if self.ahead_ns - self.now_ns > LOOKAHEAD_NS:
            times.append(self.ahead_ns - LOOKAHEAD_NS)
        return min(times) if times else None

    def descriptors(self):
        """Return the poll events of interest by descriptor: the sockets are behind one."""
        return {self.fd: 1}                                  # POLLIN

    def hold(self, bint holding):
        """Begin no request until that is taken back; those under way go on."""
        cdef Session session
        if holding == self.holding:
            return
        self.holding = holding
        if not holding:
            for session in list(self.sessions.values()):
                self.proceed(session)

    @property
    def connected(self):
        """How many connections there are, or are being made."""
        return len(self.by_fd)

    @property
    def quiet(self):
        """Whether nothing is queued and nothing under way."""
        return self.queued == 0 and self.body is None

    def stop(self):
        """Give up what has a time, and is not under way: the run is to end, and nobody waits for that."""
        cdef Session session
        if not self.pace.timed:
            return
        self.stopped = True
        self.ahead_ns = 0
        while self.due:
            self.account(<Request>heappop(self.due)[2], "failed_left")
        for session in list(self.sessions.values()):
            while session.first is not None:
                self.account(session.pop(), "failed_left")

    def leave(self):
        """Give up what is under way, as nobody will hear the answer; what is not sent stays for a successor."""
        cdef Connection connection
        for connection in list(self.by_fd.values()):
            if connection.request is not None:
                self.account(connection.request, "failed_left")
                connection.request = None

    def close(self):
        """Close everything."""
        for connection in list(self.by_fd.values()):
            self.close_connection(connection)
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    # -- time

    cdef int remind(self, Connection connection, int64_t at_ns) except -1:
        """Have `timeout` look at a connection then; an entry that comes earlier is made use of."""
        connection.deadline_ns = at_ns
        if connection.timer_ns == 0 or at_ns < connection.timer_ns:
            connection.timer_ns = at_ns
            self.number += 1
            heappush(self.timers, (at_ns, self.number, connection))
        return 0

    cdef int run_timers(self) except -1:
        """Act on the times that have come."""
        cdef Connection connection
        cdef int64_t at_ns
        while self.timers and <int64_t>self.timers[0][0] <= self.now_ns:
            at_ns, _number, each = heappop(self.timers)
            if isinstance(each, Session):
                self.proceed(<Session>each)
                continue
            connection = <Connection>each
            if connection.timer_ns == at_ns:
                connection.timer_ns = 0
            if connection.state == CLOSED:
                continue
            if connection.deadline_ns <= self.now_ns:
                self.timeout(connection)
            else:
                self.remind(connection, connection.deadline_ns)
        return 0

    cdef int timeout(self, Connection connection) except -1:
        """Act on a connection whose time has come."""
        if connection.state != OPEN:
            why = f"no answer within {self.spec.connect_timeout_s:g} s"
            return self.unreachable(connection, connection.session, why)
        if connection.request is None:
            return self.close_connection(connection)
        return self.overdue(connection)

    # -- connections

    cdef int watch(self, Connection connection, uint32_t events) except -1:
        """Have epoll watch for these events."""
        cdef epoll_event event
        cdef int op = EPOLL_CTL_MOD if connection.events else EPOLL_CTL_ADD
        if connection.events == events:
            return 0
        event.events = events
        event.data.fd = connection.fd
        if epoll_ctl(self.fd, op, connection.fd, &event) < 0:
            raise OSError(errno, os.strerror(errno))
        connection.events = events
        return 0

    cdef bint may_open(self) except -1:
        """Tell whether another connection may be opened now; one that is idle makes room for one that is needed."""
        if not self.breaker.may_try(self.now_ns, self.connecting):
            return False
        if len(self.by_fd) >= <Py_ssize_t>self.spec.connections:
            if self.pooled or not self.idle:
                return False
            self.close_connection(next(iter(self.idle)))
        return True

    cdef int open(self, Session session) except -1:
        """Begin to connect; for a session of its own, or for whoever comes first."""
        cdef Connection connection
        try:
            opened = self.upstream.connect()
        except OSError as error:
            return self.unreachable(None, session, explain(error))
        connection = Connection(opened)
        connection.state = CONNECTING
        connection.answer = Answer()
        self.by_fd[connection.fd] = connection
        self.connecting += 1
        if session is not None:
            connection.session = session
            session.connection = connection
        self.watch(connection, EPOLLOUT)
        self.remind(connection, self.now_ns + <int64_t>(self.spec.connect_timeout_s * 1e9))
        return 0

    cdef int arrive(self, Connection connection) except -1:
        """Go on with a connection that is being made."""
        cdef object awaited = None
        try:
            if connection.state == CONNECTING:
                connection.arrived()
                connection.secured(self.upstream.secure(connection.socket))
                connection.state = SHAKING
            if connection.tls:
                awaited = connection.shake()
        except OSError as error:
            return self.unreachable(connection, connection.session, explain(error))
        if awaited is not None:
            return self.watch(connection, EPOLLIN if awaited == "read" else EPOLLOUT)
        return self.opened(connection)

    cdef int opened(self, Connection connection) except -1:
        """Act on a connection that is ready for requests."""
        cdef Session session = connection.session
        self.connecting -= 1
        connection.state = OPEN
        connection.ends = ends_of(connection.socket)
        self.count("connections")
        self.breaker.reached()
        self.watch(connection, EPOLLIN)
        self.rest(connection)
        if session is not None and session.first is not None:
            self.send(connection, session)
        return 0

    cdef int unreachable(self, Connection connection, Session session, str why) except -1:
        """Act on an attempt to connect that failed: what it was for waits, or is given up."""
        if connection is not None:
            self.connecting -= 1
            connection.session = None
            self.close_connection(connection)
        self.upstream.failed()
        self.trouble = why
        self.breaker.failed(self.now_ns)
        if session is not None:
            session.connection = None
            if not session.waiting:
                session.waiting = True
                self.waiting.appendleft(session)
        while self.breaker.broken and self.waiting:
            self.give_up(<Session>self.waiting.popleft())
        return 0

    cdef int give_up(self, Session session) except -1:
        """Fail what a session has to send now, as nothing is there to take it."""
        session.waiting = False
        while session.first is not None:
            self.account(session.pop(), "failed_unreachable")
        return self.retire(session) if session.heir is not None else self.forget(session)

    cdef int rest(self, Connection connection) except -1:
        """Put a connection where it waits for the next request, or for the end of its time."""
        self.idle[connection] = None
        return self.remind(connection, self.now_ns + self.idle_ns)

    cdef int close_connection(self, Connection connection) except -1:
        """Close, and let go of, a connection that no request is on."""
        if connection.state == CLOSED:
            return 0
        connection.state = CLOSED
        self.by_fd.pop(connection.fd, None)
        self.idle.pop(connection, None)
        session, connection.session = connection.session, None
        connection.socket.close()
        if session is not None and not self.pooled:
            (<Session>session).connection = None
            if (<Session>session).cookies is None:
                self.forget(<Session>session)
        return 0

    # -- sessions

    cdef int ready(self, Session session) except -1:
        return self.proceed(session)

    cdef int proceed(self, Session session) except -1:
        """Send what a session has next, or have it wait for a connection."""
        cdef Connection connection
        if session.first is None:
            if session.heir is not None:
                return self.retire(session)
            if self.pooled and session.cookies is None:
                self.forget(session)
            return 0
        if session.busy or session.waiting or session.waits or session.resume_ns > self.now_ns or self.holding:
            return 0
        if not self.pooled and session.connection is not None:
            connection = <Connection>session.connection
            return self.send(connection, session) if connection.state == OPEN else 0
        session.waiting = True
        self.waiting.append(session)
        return 0

    cdef int retire(self, Session session) except -1:
        """Close the connection of a session that has ended, so that the one which followed has its own."""
        cdef Connection connection
        if session.left == 0 and session.connection is not None:
            connection = <Connection>session.connection
            if connection.state == OPEN:
                self.close_connection(connection)
            session.connection = connection.session = None
        return Requests.retire(self, session)

    cdef int serve(self) except -1:
        """Give sessions that wait what connections there are, and may be."""
        cdef Session session
        while self.waiting and not self.holding:
            if self.pooled and self.idle:
                session = self.waiting.popleft()
                session.waiting = False
                if session.first is not None:
                    self.send(<Connection>self.idle.popitem()[0], session)
                continue
            if self.breaker.broken and self.connecting == 0 and not self.breaker.may_try(self.now_ns, 0):
                self.give_up(<Session>self.waiting.popleft())
                continue
            if not self.may_open() or (self.pooled and self.connecting >= <Py_ssize_t>len(self.waiting)):
                return 0
            if self.pooled:
                self.open(None)
                continue
            session = self.waiting.popleft()
            session.waiting = False
            if session.first is not None:
                self.open(session)
        return 0

    # -- what subclasses say

    cdef int send(self, Connection connection, Session session) except -1:
        """Send the first request of a session on a connection that is idle."""
        return 0

    cdef int act(self, Connection connection, uint32_t events) except -1:
        """Act on what epoll says of an open connection."""
        return 0

    cdef int overdue(self, Connection connection) except -1:
        """Act on a request whose time has come."""
        return 0

    cdef int account(self, Request request, str reason) except -1:
        """Account for a request that failed."""
        return self.done(request, reason)
