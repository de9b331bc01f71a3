"""The connections of a replay: requests go out, answers come back, never waiting; one request at a time on each.

In: sessions that have something to send, events of sockets, time.  Out: bytes to the target, outcomes of requests.
Invariant: a request that was taken has exactly one outcome, whatever the target does; a session has one request on its
way at a time; every wait has an end.
"""

import os
from collections import deque
from heapq import heappop, heappush

from libc.errno cimport errno
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.stdlib cimport free, malloc

from emit.answer cimport BROKEN, ENDED, INTERIM, Answer
from emit.channel cimport LATER, NEVER, Channel
from emit.prepare cimport EXPECTS, IDEMPOTENT, TO_CONNECT, TO_HEAD
from emit.requests cimport Request, Requests, Session

from emit.breaker import Breaker
from emit.follow import send_cookies, set_cookies, step_to
from emit.target import NOWHERE, ends_of, explain


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

cdef extern from "<time.h>" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    int clock_gettime(int clock, timespec* now)
    int CLOCK_MONOTONIC
    int CLOCK_REALTIME

cdef enum:
    CONNECTING = 0
    SHAKING = 1                          # hands, for TLS
    OPEN = 2
    CLOSED = 3

    ROOM = 256 * 1024                    # read at once
    EVENTS = 256                         # taken from epoll at once
    ROUNDS = 8                           # of that in a turn
    READS = 16                           # of one connection in a turn
    CONTINUE_NS = 1_000_000_000          # how long a 100 is waited for (RFC 9110 section 10.1.1)
    CLOSER_NS = 1_000_000_000            # a target that closes a kept connection so soon does so after each answer
    RETRY_NS = 100_000_000               # before the first retry, twice that before the second, and so on
    RETRY_DOUBLINGS = 6
    MOST_JARS = 10_000


cdef inline int64_t clock_ns(int which) noexcept nogil:
    cdef timespec now
    clock_gettime(which, &now)
    return <int64_t>now.tv_sec * 1_000_000_000 + now.tv_nsec


cdef class Connection(Channel):
    """One connection to the target, and the request on it."""


cdef class Engine(Requests):
    """All connections of one worker to one target.

    `answers` is what came back, as `AnswerWriter.write` takes it; whoever takes them out sets `waiting_bytes` right.
    """

    def __init__(self, spec, consumer, sieve, summary, writer, target):
        super().__init__(spec, consumer, sieve, summary, writer)
        self.target = target
        self.breaker = Breaker(int(spec.retry_s * 1e9))
        self.fd = epoll_create1(EPOLL_CLOEXEC)
        if self.fd < 0:
            raise OSError(errno, os.strerror(errno))
        self.by_fd = {}
        self.idle = {}
        self.waiting = deque()
        self.jars = {}
        self.timers = []
        self.pooled = spec.pooled
        self.timeout_ns = <int64_t>(spec.timeout_s * 1e9)
        self.longest_ns = <int64_t>(spec.longest_s * 1e9)
        self.idle_ns = <int64_t>(spec.idle_s * 1e9)
        self.keeps_answers = writer is not None or spec.redirects > 0 or spec.target_cookies
        self.answers = deque()
        self.room = <uint8_t*>malloc(ROOM)
        if self.room == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.room)

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
                if connection is not None:
                    self.advance(connection, events[i].events)
            self.serve()
            if count <= 0:
                return
        self.busy = True

    def deadline_ns(self):
        """Return when there is something to do next, by the clock; None if nothing is awaited."""
        times = [<int64_t>heap[0][0] for heap in (self.timers, self.due) if heap]
        if self.waiting and self.breaker.next_ns > self.now_ns:
            times.append(self.breaker.next_ns)
        if self.ahead_ns - self.now_ns > 1_000_000_000:
            times.append(self.ahead_ns - 1_000_000_000)
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
        if connection.state != OPEN:
            why = f"no answer within {self.spec.connect_timeout_s:g} s"
            return self.unreachable(connection, connection.session, why)
        if connection.request is None:
            return self.close_connection(connection)
        if connection.body_ns and connection.body_ns <= self.now_ns:
            return self.send_body(connection)
        return self.failed(connection, "failed_timeout")

    cdef int send_body(self, Connection connection) except -1:
        """Send the body that a 100 was waited for with."""
        connection.body_ns = 0
        connection.stop = len(connection.request.data)
        self.await_answer(connection)
        return self.push(connection)

    cdef int await_answer(self, Connection connection) except -1:
        """Set how long the target may be silent from now on."""
        cdef int64_t at_ns = min(self.now_ns + self.timeout_ns, connection.request.sent_ns + self.longest_ns)
        if connection.body_ns and connection.body_ns < at_ns:
            at_ns = connection.body_ns
        return self.remind(connection, at_ns)

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
            opened = self.target.connect()
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

    cdef int unreachable(self, Connection connection, Session session, str why) except -1:
        """Act on an attempt to connect that failed: what it was for waits, or is given up."""
        if connection is not None:
            self.connecting -= 1
            connection.session = None
            self.close_connection(connection)
        self.target.failed()
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
        return self.forget(session)

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
            if session.over:
                return self.retire(session)
            if self.pooled and session.cookies is None:
                self.forget(session)
            return 0
        if session.busy or session.waiting or session.resume_ns > self.now_ns or self.holding:
            return 0
        if not self.pooled and session.connection is not None:
            connection = <Connection>session.connection
            return self.send(connection, session) if connection.state == OPEN else 0
        session.waiting = True
        self.waiting.append(session)
        return 0

    cdef int retire(self, Session session) except -1:
        """Close the connection of a session that is over, once it has nothing more to send."""
        if session.left:
            return 0
        if session.connection is not None:
            connection = <Connection>session.connection
            if connection.state != OPEN:             # it will be closed when it is idle
                return 0
            self.close_connection(connection)
        return self.forget(session)

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

    # -- one request

    cdef int send(self, Connection connection, Session session) except -1:
        """Send the first request of a session on a connection that is idle."""
        cdef Request request = session.first
        self.idle.pop(connection, None)
        if connection.served and self.risky(connection, request):
            self.close_connection(connection)
            return self.proceed(session)
        session.pop()
        session.busy = True
        connection.session = session
        connection.request = request
        connection.heard = False
        connection.sent = 0
        connection.missing = 0
        if session.cookies is not None:
            self.change(request, send_cookies(request.data, request.head, session.cookies))
        connection.stop = len(request.data)
        connection.body_ns = 0
        if request.flags & EXPECTS:
            connection.stop = request.head
            connection.body_ns = self.now_ns + CONTINUE_NS
        connection.kept = bytearray() if self.keeps_answers else None
        connection.answer.begin(request.flags & TO_HEAD, request.flags & TO_CONNECT)
        request.sent_ns = clock_ns(CLOCK_MONOTONIC)
        request.wall_ns = clock_ns(CLOCK_REALTIME)
        again = request.retries or request.redirects or request.renewed
        if self.pace.timed and self.summary is not None and not again:
            self.summary.late(request.sent_ns - request.due_ns)
        self.await_answer(connection)
        return self.push(connection)

    def change(self, Request request, tuple changed):
        """Put other bytes in the place of a request's."""
        self.queued_bytes -= len(request.data)
        request.data, request.head = changed
        self.queued_bytes += len(request.data)

    cdef bint risky(self, Connection connection, Request request) except -1:
        """Tell whether a kept connection may be at its end, where nobody could tell if a request was acted upon.

        Requests that may be repeated take the risk, once.
        """
        if request.flags & IDEMPOTENT:
            return request.renewed
        return self.closers > 0 or connection.stirs()

    cdef int push(self, Connection connection) except -1:
        """Send as much of the request as the target takes."""
        cdef ssize_t size
        cdef size_t before = connection.sent
        while connection.sent < connection.stop:
            size = connection.write(connection.request.data, connection.sent, connection.stop)
            if size == LATER:
                break
            if size == NEVER:                        # no more is wanted; the answer may have come, and is read first
                connection.stop = connection.sent
                break
            connection.sent += size
        if connection.sent > before and before:
            self.await_answer(connection)
        return self.watch(connection, EPOLLIN if connection.sent == connection.stop else EPOLLIN | EPOLLOUT)

    cdef int pull(self, Connection connection) except -1:
        """Read what has come, and act on it; with TLS to its end, as epoll does not see what is decrypted."""
        cdef ssize_t size
        cdef int reads = 0
        while connection.state == OPEN and (reads < READS or connection.tls):
            reads += 1
            size = connection.read(self.room, ROOM)
            if size == LATER:
                return 0
            if size <= 0:
                return self.ended(connection, size == 0)
            self.feed(connection, size)
            if size < ROOM and not connection.tls:
                return 0
        return 0

    cdef int feed(self, Connection connection, size_t size) except -1:
        """Take bytes of the target, which are in `room`."""
        cdef size_t at = 0
        cdef size_t used
        cdef int verdict
        cdef size_t keep
        if connection.request is None:
            return self.close_connection(connection)       # nothing was asked
        connection.heard = True
        while at < size:
            verdict = connection.answer.feed(self.room + at, size - at, &used)
            if connection.kept is not None:
                keep = min(used, max(0, <int64_t>self.spec.max_answer - len(connection.kept)))
                connection.kept += self.room[at:at + keep]
                connection.missing += used - keep
            at += used
            if verdict == BROKEN:
                return self.failed(connection, "failed_garbage")
            if verdict == INTERIM:
                if connection.kept is not None:
                    connection.kept, connection.missing = bytearray(), 0
                if connection.answer.status == 100 and connection.body_ns:
                    self.send_body(connection)
            elif verdict == ENDED:
                return self.answered(connection, at == size)
        self.await_answer(connection)
        return 0

    cdef int ended(self, Connection connection, bint orderly) except -1:
        """Act on the end of a connection, or on its failure."""
        cdef Request request = connection.request
        if request is None:
            if self.now_ns - connection.answered_ns < CLOSER_NS and connection.served == 1:
                self.closers += 1
            return self.close_connection(connection)
        if orderly and connection.answer.close() == ENDED:
            return self.answered(connection, False)
        if connection.served and not connection.heard:
            self.closers += 1
            if request.flags & IDEMPOTENT and not request.renewed:
                request.renewed = True                     # RFC 9112 section 9.3.1
                return self.again(connection, 0)
        return self.failed(connection, "failed_reset")

    cdef int answered(self, Connection connection, bint usable) except -1:
        """Account for an answer; `usable` says that nothing has come behind it."""
        cdef Request request = connection.request
        cdef Session session = connection.session
        cdef int status = connection.answer.status
        cdef bint idle = usable and connection.answer.keeps and connection.sent == <size_t>len(request.data)
        cdef int64_t now_ns = clock_ns(CLOCK_MONOTONIC)
        connection.request = None
        connection.served += 1
        connection.answered_ns = now_ns
        session.busy = False
        if connection.served > 1:
            self.closers = 0
        if self.spec.target_cookies:
            self.remember(session, set_cookies(session.cookies, bytes(connection.kept)))
        step = None
        if request.redirects < <int>self.spec.redirects and 300 < status < 309:
            step = step_to(request.data, request.head, status, bytes(connection.kept), self.spec)
        if step is not None:
            request.redirects += 1
            self.change(request, step[:2])
            request.flags = step[2]
            session.put_back(request)
        else:
            self.tell(request, connection, now_ns)
            self.done(request, None)
        connection.kept = None
        if not idle:
            self.close_connection(connection)
        else:
            if self.pooled:
                connection.session = None
            self.rest(connection)
        return self.proceed(session)

    def tell(self, Request request, Connection connection, int64_t now_ns):
        """Tell of an answer to whoever wants to know."""
        if request.copy > 1:
            return
        answer = connection.answer
        if self.summary is not None:
            self.summary.answered(request.id, answer.status, answer.size, now_ns - request.sent_ns)
        if self.writer is not None:
            ended_ns = request.wall_ns + now_ns - request.sent_ns
            payload = bytes(connection.kept)
            self.waiting_bytes += len(payload)
            self.answers.append((
                request.id, answer.status, request.wall_ns, ended_ns, *connection.ends,
                payload, min(answer.head, len(payload)), connection.missing == 0,
            ))

    cdef int remember(self, Session session, dict cookies) except -1:
        """Keep what a target has set, for the latest MOST_JARS sessions that it did so for."""
        cdef Session oldest
        session.cookies = cookies
        if cookies is None:
            return 0
        self.jars[session] = None
        if len(self.jars) > MOST_JARS:
            oldest = next(iter(self.jars))
            del self.jars[oldest]
            oldest.cookies = None
            return self.forget(oldest)
        return 0

    cdef int failed(self, Connection connection, str reason) except -1:
        """Act on a request that was not answered: it is sent again if that is wanted and does no harm."""
        cdef Request request = connection.request
        cdef Session session = connection.session
        if request.flags & IDEMPOTENT and request.retries < <int>self.spec.retries:
            request.retries += 1
            return self.again(connection, <int64_t>RETRY_NS << min(request.retries - 1, RETRY_DOUBLINGS))
        connection.request = None
        session.busy = False
        self.account(request, reason)
        self.close_connection(connection)
        return self.proceed(session)

    def account(self, Request request, str reason):
        """Account for a request that failed."""
        if self.writer is not None and request.copy == 1:
            now_ns = clock_ns(CLOCK_REALTIME)
            self.answers.append((request.id, 0, request.wall_ns or now_ns, now_ns, *NOWHERE, b"", 0, False))
        self.done(request, reason)

    def again(self, Connection connection, int64_t wait_ns):
        """Send a request once more, on another connection."""
        cdef Request request = connection.request
        cdef Session session = connection.session
        self.count("retried")
        connection.request = None
        session.busy = False
        session.put_back(request)
        self.close_connection(connection)
        if wait_ns:
            session.resume_ns = self.now_ns + wait_ns
            self.number += 1
            heappush(self.timers, (session.resume_ns, self.number, session))
        self.proceed(session)
        return 0

    # -- events

    cdef int advance(self, Connection connection, uint32_t events) except -1:
        """Act on what epoll says of a connection."""
        if connection.state == CONNECTING or connection.state == SHAKING:
            return self.arrive(connection)
        if events & EPOLLOUT and connection.request is not None:
            self.push(connection)
        if events & (EPOLLIN | EPOLLHUP | EPOLLERR) and connection.state == OPEN:
            self.pull(connection)
        return 0

    cdef int arrive(self, Connection connection) except -1:
        """Go on with a connection that is being made."""
        cdef object awaited = None
        try:
            if connection.state == CONNECTING:
                connection.arrived()
                connection.state = SHAKING
            if connection.tls:
                awaited = connection.shake()
        except OSError as error:
            return self.unreachable(connection, connection.session, explain(error))
        if awaited is not None:
            return self.watch(connection, EPOLLIN if awaited == "read" else EPOLLOUT)
        return self.opened(connection)
