"""C face of the engine of a replay."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from emit.answer cimport Answer
from emit.channel cimport Channel
from emit.requests cimport Request, Requests, Session


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
    cdef int64_t body_ns             # when the body is sent though no 100 has come; 0: no body waits
    cdef int64_t answered_ns         # when the latest answer ended
    cdef int64_t timer_ns            # of its earliest entry in Engine.timers; 0: none
    cdef bytearray kept              # of the answer
    cdef tuple ends                  # address and port of the target, and of ours
    cdef uint64_t missing            # bytes of it that were not kept


cdef class Engine(Requests):
    cdef object target
    cdef readonly object breaker
    cdef readonly int fd             # owned: closed by `close`
    cdef dict by_fd                  # Connection by descriptor
    cdef dict idle                   # Connection: None, least recently used first
    cdef object waiting              # deque of Session that a connection is wanted for
    cdef dict jars                   # Session: None, of which the target has set cookies, oldest first
    cdef list timers                 # heap of (at_ns, number, Connection or Session)
    cdef readonly bint busy          # the latest turn ended before there was nothing more to do
    cdef int connecting
    cdef int closers                 # connections in a row that the target closed without a word
    cdef bint pooled
    cdef bint keeps_answers          # while they come
    cdef int64_t timeout_ns
    cdef int64_t longest_ns
    cdef int64_t idle_ns
    cdef uint8_t* room               # owned: what was read last
    cdef readonly object answers     # deque of what the target answered
    cdef public uint64_t waiting_bytes    # in them
    cdef readonly bint holding       # no request is begun
    cdef readonly str trouble        # why there is no connection
    cdef int watch(self, Connection connection, uint32_t events) except -1
    cdef int remind(self, Connection connection, int64_t at_ns) except -1
    cdef int open(self, Session session) except -1
    cdef int opened(self, Connection connection) except -1
    cdef int unreachable(self, Connection connection, Session session, str why) except -1
    cdef int give_up(self, Session session) except -1
    cdef int serve(self) except -1
    cdef bint may_open(self) except -1
    cdef int send(self, Connection connection, Session session) except -1
    cdef bint risky(self, Connection connection, Request request) except -1
    cdef int push(self, Connection connection) except -1
    cdef int pull(self, Connection connection) except -1
    cdef int feed(self, Connection connection, size_t size) except -1
    cdef int answered(self, Connection connection, bint usable) except -1
    cdef int remember(self, Session session, dict cookies) except -1
    cdef int failed(self, Connection connection, str reason) except -1
    cdef int ended(self, Connection connection, bint orderly) except -1
    cdef int close_connection(self, Connection connection) except -1
    cdef int advance(self, Connection connection, uint32_t events) except -1
    cdef int arrive(self, Connection connection) except -1
    cdef int timeout(self, Connection connection) except -1
    cdef int run_timers(self) except -1
    cdef int send_body(self, Connection connection) except -1
    cdef int await_answer(self, Connection connection) except -1
    cdef int rest(self, Connection connection) except -1
    cdef int proceed(self, Session session) except -1
