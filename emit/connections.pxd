"""C face of the connections of a replay."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from emit.answer cimport Answer
from emit.channel cimport Channel
from emit.requests cimport Request, Requests, Session


cdef enum:
    CONNECTING = 0       # states of a connection
    SHAKING = 1          # hands, for TLS
    OPEN = 2
    CLOSED = 3

cdef class Connection(Channel):      # to the target
    cdef int state
    cdef uint32_t events             # that epoll watches
    cdef Session session             # of the request under way; in mode "session" always
    cdef Request request             # under way
    cdef Answer answer
    cdef size_t sent                 # bytes of the request
    cdef size_t stop                 # send up to here for now
    cdef uint64_t served             # answers
    cdef bint heard                  # a byte of the answer has come
    cdef int64_t deadline_ns
    cdef int64_t timer_ns            # of its earliest entry in Connections.timers; 0: none
    cdef int64_t body_ns             # when the body is sent though no 100 has come; 0: no body waits
    cdef int64_t answered_ns         # when the latest answer ended
    cdef bytearray kept              # of the answer
    cdef uint64_t missing            # bytes of it that were not kept
    cdef tuple ends                  # address and port of the target, and of ours


cdef class Connections(Requests):
    cdef object upstream
    cdef readonly object breaker
    cdef readonly str trouble        # why there is no connection
    cdef readonly int fd             # owned: closed by `close`
    cdef dict by_fd                  # Connection by descriptor
    cdef dict idle                   # Connection: None, least recently used first
    cdef object waiting              # deque of Session that a connection is wanted for
    cdef list timers                 # heap of (at_ns, number, Connection or Session)
    cdef readonly bint busy          # the latest turn ended before there was nothing more to do
    cdef readonly bint holding       # no request is begun
    cdef int connecting
    cdef bint pooled
    cdef int64_t idle_ns
    cdef int remind(self, Connection connection, int64_t at_ns) except -1
    cdef int run_timers(self) except -1
    cdef int timeout(self, Connection connection) except -1
    cdef int watch(self, Connection connection, uint32_t events) except -1
    cdef bint may_open(self) except -1
    cdef int open(self, Session session) except -1
    cdef int arrive(self, Connection connection) except -1
    cdef int opened(self, Connection connection) except -1
    cdef int unreachable(self, Connection connection, Session session, str why) except -1
    cdef int give_up(self, Session session) except -1
    cdef int rest(self, Connection connection) except -1
    cdef int close_connection(self, Connection connection) except -1
    cdef int proceed(self, Session session) except -1
    cdef int serve(self) except -1
    cdef int send(self, Connection connection, Session session) except -1
    cdef int act(self, Connection connection, uint32_t events) except -1
    cdef int overdue(self, Connection connection) except -1
    cdef int account(self, Request request, str reason) except -1
