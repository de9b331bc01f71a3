"""C face of the engine of a replay."""

from libc.stdint cimport int64_t, uint8_t, uint64_t

from emit.connections cimport Connection, Connections
from emit.requests cimport Request, Session


cdef class Engine(Connections):
    cdef int closers                 # connections in a row that the target closed without a word
    cdef dict jars                   # Session: None, of which the target has set cookies, oldest first
    cdef bint keeps_answers          # while they come
    cdef bint tells                  # in `answers`, when they have
    cdef int64_t timeout_ns
    cdef int64_t longest_ns
    cdef uint8_t* room               # owned: what was read last
    cdef readonly object answers     # deque of what the target answered
    cdef public uint64_t waiting_bytes    # in them
    cdef int change(self, Request request, tuple changed) except -1
    cdef bint risky(self, Connection connection, Request request) except -1
    cdef int push(self, Connection connection) except -1
    cdef int send_body(self, Connection connection) except -1
    cdef int pull(self, Connection connection) except -1
    cdef int feed(self, Connection connection, size_t size) except -1
    cdef int await_answer(self, Connection connection) except -1
    cdef int ended(self, Connection connection, bint orderly) except -1
    cdef int answered(self, Connection connection, bint usable) except -1
    cdef int tell(self, Request request, Connection connection, int64_t now_ns) except -1
    cdef int remember(self, Session session, dict cookies) except -1
    cdef int failed(self, Connection connection, str reason) except -1
    cdef int again(self, Connection connection, int64_t wait_ns) except -1
