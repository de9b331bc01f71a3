"""The engine of a replay: requests go out on connections, answers come back, never waiting.

In: requests of sessions, bytes of the target, time.  Out: bytes to the target, outcomes of requests, answers.
Invariant: a request that was taken has exactly one outcome, whatever the target does.
"""

from collections import deque
from heapq import heappush

from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.stdlib cimport free, malloc

from emit.answer cimport BROKEN, ENDED, INTERIM
from emit.channel cimport LATER, NEVER
from emit.connections cimport OPEN, Connection, Connections
from emit.prepare cimport EXPECTS, IDEMPOTENT, TO_CONNECT, TO_HEAD
from emit.requests cimport CLOCK_MONOTONIC, CLOCK_REALTIME, Request, Session, clock_ns

from emit.follow import send_cookies, set_cookies, step_to
from emit.upstream import NOWHERE


cdef extern from "<sys/epoll.h>" nogil:
    uint32_t EPOLLIN
    uint32_t EPOLLOUT
    uint32_t EPOLLERR
    uint32_t EPOLLHUP

cdef enum:
    ROOM = 256 * 1024                    # read at once
    READS = 16                           # of one connection in a turn
    CONTINUE_NS = 1_000_000_000          # how long a 100 is waited for (RFC 9110 section 10.1.1)
    CLOSER_NS = 1_000_000_000            # a target that closes a kept connection so soon does so after each answer
    RETRY_NS = 100_000_000               # before the first retry, twice that before the second, and so on
    RETRY_DOUBLINGS = 6
    MOST_JARS = 10_000


cdef inline bytes head_of(Connection connection):
    """Return the head of an answer that was kept."""
    return bytes(connection.kept[:connection.answer.head])


cdef class Engine(Connections):
    """Sends the requests of one worker to one target, and takes the answers.

    `answers` is what came back, as `AnswerWriter.write` takes it; whoever takes them out sets `waiting_bytes` right.
    """

    def __init__(self, spec, consumer, sieve, summary, writer, upstream):
        super().__init__(spec, consumer, sieve, summary, writer, upstream)
        self.jars = {}
        self.timeout_ns = <int64_t>(spec.timeout_s * 1e9)
        self.longest_ns = <int64_t>(spec.longest_s * 1e9)
        self.tells = writer is not None
        self.keeps_answers = self.tells or spec.redirects > 0 or spec.target_cookies
        self.answers = deque()
        self.room = <uint8_t*>malloc(ROOM)
        if self.room == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.room)

    # -- out

    def tell_answers(self):
        """Have what the target answers in `answers`, also if there is no writer for it."""
        self.tells = self.keeps_answers = True

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

    cdef int change(self, Request request, tuple changed) except -1:
        """Put other bytes in the place of a request's."""
        self.queued_bytes -= len(request.data)
        request.data, request.head = changed
        self.queued_bytes += len(request.data)
        return 0

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

    cdef int send_body(self, Connection connection) except -1:
        """Send the body that a 100 was waited for with."""
        connection.body_ns = 0
        connection.stop = len(connection.request.data)
        self.await_answer(connection)
        return self.push(connection)

    # -- in

    cdef int act(self, Connection connection, uint32_t events) except -1:
        if events & EPOLLOUT and connection.request is not None:
            self.push(connection)
        if events & (EPOLLIN | EPOLLHUP | EPOLLERR) and connection.state == OPEN:
            self.pull(connection)
        return 0

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

    cdef int await_answer(self, Connection connection) except -1:
        """Set how long the target may be silent from now on."""
        cdef int64_t at_ns = min(self.now_ns + self.timeout_ns, connection.request.sent_ns + self.longest_ns)
        if connection.body_ns and connection.body_ns < at_ns:
            at_ns = connection.body_ns
        return self.remind(connection, at_ns)

    cdef int overdue(self, Connection connection) except -1:
        if connection.body_ns and connection.body_ns <= self.now_ns:
            return self.send_body(connection)
        return self.failed(connection, "failed_timeout")

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

    # -- what became of it

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
            self.remember(session, set_cookies(session.cookies, head_of(connection)))
        step = None
        if request.redirects < <int>self.spec.redirects and 300 < status < 309:
            step = step_to(request.data, request.head, status, head_of(connection), self.spec)
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

    cdef int tell(self, Request request, Connection connection, int64_t now_ns) except -1:
        """Tell of an answer to whoever wants to know."""
        if request.copy > 1:
            return 0
        answer = connection.answer
        if self.summary is not None:
            self.summary.answered(request.id, answer.status, answer.size, now_ns - request.sent_ns)
        if self.tells:
            ended_ns = request.wall_ns + now_ns - request.sent_ns
            payload = bytes(connection.kept)
            self.waiting_bytes += len(payload)
            self.answers.append((
                request.id, answer.status, request.wall_ns, ended_ns, *connection.ends,
                payload, min(answer.head, len(payload)), connection.missing == 0,
            ))
        return 0

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

    cdef int account(self, Request request, str reason) except -1:
        if self.tells and request.copy == 1:
            now_ns = clock_ns(CLOCK_REALTIME)
            self.answers.append((request.id, 0, request.wall_ns or now_ns, now_ns, *NOWHERE, b"", 0, False))
        return self.done(request, reason)

    cdef int again(self, Connection connection, int64_t wait_ns) except -1:
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
        return self.proceed(session)
