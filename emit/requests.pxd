"""C face of the requests of a replay: from the ring to the sessions that they belong to."""

from libc.stdint cimport int64_t, uint64_t

from assemble.records cimport MessageHeader
from capture.ring cimport Consumer
from emit.answers cimport AnswerWriter
from emit.pace cimport Pace
from emit.prepare cimport Preparer
from emit.sieve cimport Sieve
from emit.walk cimport Item, Joint


cdef enum:
    LOOKAHEAD_NS = 1_000_000_000     # requests are taken that long before they are due, to be sorted by their time

cdef extern from "<time.h>" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    int clock_gettime(int clock, timespec* now)
    int CLOCK_MONOTONIC
    int CLOCK_REALTIME


cdef inline int64_t clock_ns(int which) noexcept nogil:
    """Return a clock, in nanoseconds."""
    cdef timespec now
    clock_gettime(which, &now)
    return <int64_t>now.tv_sec * 1_000_000_000 + now.tv_nsec


cdef class Held:                     # a message of which requests are not done with
    cdef uint64_t start              # ring position before it
    cdef int left                    # requests
    cdef Held following

cdef class Session

cdef class Request:
    cdef Held held
    cdef Session session
    cdef uint64_t id
    cdef bytes data
    cdef size_t head                 # bytes of it before the body
    cdef int flags
    cdef int copy                    # from 1
    cdef int64_t due_ns              # monotonic clock
    cdef int64_t sent_ns             # when its first byte was
    cdef int64_t wall_ns             # the same, in nanoseconds since the epoch
    cdef int retries
    cdef int redirects               # followed
    cdef bint renewed                # sent again as the target had closed a connection that was kept
    cdef Request following           # in its session

cdef class Session:                  # the requests of one captured connection, in order
    cdef bytes key
    cdef Request first
    cdef Request last
    cdef object connection           # in mode "session": its own, if there is one
    cdef uint64_t left               # requests of it that are not done with, due or not
    cdef bint busy                   # a request of it is on a connection
    cdef bint waiting                # for a connection
    cdef int64_t resume_ns           # nothing is sent before
    cdef dict cookies                # that the target has set
    cdef Session heir                # of the captured connection with the same addresses that followed this one
    cdef bint waits                  # there is an earlier one that is not done
    cdef void append(self, Request request)
    cdef void put_back(self, Request request)
    cdef Request pop(self)


cdef class Requests:
    cdef readonly object spec        # HttpSpec
    cdef uint64_t most_bytes         # of it, like the next
    cdef int multiply
    cdef object summary
    cdef AnswerWriter writer         # None: nobody wants answers
    cdef Consumer consumer
    cdef Sieve sieve
    cdef Preparer preparer
    cdef Pace pace
    cdef dict sessions               # by key
    cdef list due                    # heap of (due_ns, number, Request)
    cdef uint64_t number             # of entries ever made in a heap
    cdef Held oldest
    cdef Held newest
    cdef uint64_t let_go_to
    cdef readonly uint64_t queued_bytes
    cdef readonly uint64_t queued
    cdef int64_t ahead_ns            # when the request taken last is due
    cdef int64_t now_ns
    cdef bint stopped                # nothing more is sent
    cdef Joint joint                 # the message in parts under way
    cdef bytearray body
    cdef MessageHeader whole         # its header
    cdef readonly dict counts        # since `take_counts`
    cdef int count(self, str name, uint64_t amount=*) except -1
    cdef int take_item(self, const Item* item) except -1
    cdef int take_part(self, const Item* item) except -1
    cdef int take_request(
        self, const MessageHeader* header, const unsigned char* at, size_t size, uint64_t start
    ) except -1
    cdef int take_response(self, const MessageHeader* header) except -1
    cdef Session session_of(self, const MessageHeader* header, int copy)
    cdef int schedule(self, Request request) except -1
    cdef int enqueue(self, Request request) except -1
    cdef int release_due(self) except -1
    cdef int done(self, Request request, str failure) except -1
    cdef int trim(self) except -1
    cdef bint full(self) noexcept
    cdef int ready(self, Session session) except -1
    cdef int retire(self, Session session) except -1
    cdef int forget(self, Session session) except -1
