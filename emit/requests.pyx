"""The requests of a replay: out of the ring, into one queue for each captured connection, each at its time.

In: records of a message ring.  Out: sessions that have something to send, outcomes of messages.  Invariant: a message
stays in the ring until all that was made of it has an outcome, unless it is let go; requests of a captured connection
are in the order in which they were captured.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcpy

from assemble.records cimport FLAG_COMPLETE, FLAG_INTERIM, FLAG_OPENS, REQUEST, RESPONSE, MessageHeader
from capture.ring cimport Consumer
from emit.answers cimport AnswerWriter
from emit.prepare cimport Preparer
from emit.sieve cimport Sieve
from emit.walk cimport LAST, STRAY, WHOLE, Item, Place, ends_message, join, next_item

from heapq import heappop, heappush

cdef enum:
    MOST_QUEUED = 50_000               # requests taken and not done with
    TURN = 4096                        # records taken in a row, before connections have their turn
    HOLD_SHARE = 4                     # messages up to this share of the ring stay in it until all parts are there


cdef class Held:
    """A message whose requests are not all done with, in the order of the ring."""


cdef class Request:
    """One request to be sent, or under way."""


cdef class Session:
    """The requests of one captured connection."""

    cdef void append(self, Request request):
        if self.first is None:
            self.first = request
        else:
            self.last.following = request
        self.last = request

    cdef void put_back(self, Request request):
        """Make a request that was taken out the first again."""
        request.following = self.first
        if self.first is None:
            self.last = request
        self.first = request

    cdef Request pop(self):
        cdef Request request = self.first
        self.first = request.following
        request.following = None
        if self.first is None:
            self.last = None
        return request


cdef class Requests:
    """What is to be sent by one worker to one target.

    `summary` is told of requests, of original responses and of answers; `writer` takes the answers, and is told which
    requests they will be to.  Both may be None.
    """

    def __init__(self, spec, Consumer consumer not None, Sieve sieve, summary, AnswerWriter writer):
        self.spec = spec
        self.most_bytes = spec.queue_bytes
        self.multiply = spec.multiply
        self.consumer = consumer
        self.sieve = sieve
        self.summary = summary
        self.writer = writer
        self.preparer = Preparer(spec.base, spec.authority, spec.copy_header, spec.copy_parameter)
        self.pace = spec.pace
        self.sessions = {}
        self.due = []
        self.counts = {}

    # -- from the ring

    def take(self, uint64_t cursor, uint64_t head):
        """Take records from `cursor` on while there is room, and they are due soon; return the new cursor."""
        cdef Item item
        cdef uint64_t following = cursor
        cdef int left = TURN
        self.now_ns = clock_ns(CLOCK_MONOTONIC)
        while left > 0 and not self.full() and next_item(self.consumer, &following, head, &item):
            left -= 1
            if self.sieve is not None and not self.sieve.wants(&item):
                join(&self.joint, &item)
                continue
            self.take_item(&item)
        return following

    cdef bint full(self) noexcept:
        """Tell whether no more is to be taken now."""
        return (
            self.queued_bytes >= self.most_bytes
            or self.queued >= MOST_QUEUED
            or self.ahead_ns - self.now_ns > LOOKAHEAD_NS
        )

    @property
    def hungry(self):
        """Whether more would be taken."""
        return not self.full()

    cdef int take_item(self, const Item* item) except -1:
        cdef Place place = join(&self.joint, item)
        if place == STRAY:
            self.body = None
            if ends_message(item.header):
                self.count("strays")
            return 0
        if item.header.kind == REQUEST:
            if self.writer is not None and item.header.part == 0:
                self.writer.note(item)
            if place == WHOLE:
                return self.take_request(item.header, item.payload, item.size, item.start)
            return self.take_part(item)
        if item.header.kind == RESPONSE and (place == WHOLE or place == LAST):
            return self.take_response(item.header)
        if ends_message(item.header):
            self.count("responses")
        return 0

    cdef int take_part(self, const Item* item) except -1:
        """Put a request together that comes in parts; one that takes up too much of the ring does not stay there."""
        cdef uint64_t start = self.joint.start
        if item.header.part == 0:
            self.whole = item.header[0]
            self.body = bytearray()
        if self.body is None:
            return 0
        self.body += item.payload[:item.size]
        if not ends_message(item.header):
            return 0
        if item.header.total > self.consumer.capacity // HOLD_SHARE:
            start = item.start
        body, self.body = self.body, None
        return self.take_request(&self.whole, body, len(body), start)

    cdef int take_request(
        self, const MessageHeader* header, const unsigned char* at, size_t size, uint64_t start
    ) except -1:
        cdef Held held
        cdef Request request
        cdef int copy
        cdef bytes data = None
        if header.flags & FLAG_COMPLETE and size == header.total:
            data = self.preparer.prepare(at, header, size, 1)
        if data is None or self.stopped:
            self.count("failed_incomplete" if data is None else "failed_left")
            return self.count("undelivered")
        held = Held.__new__(Held)
        held.start = start
        held.left = self.multiply
        if self.newest is None:
            self.oldest = held
        else:
            self.newest.following = held
        self.newest = held
        for copy in range(1, held.left + 1):
            request = Request.__new__(Request)
            request.held = held
            request.id = header.id
            request.data = data if copy == 1 else self.preparer.prepare(at, header, size, copy)
            request.head = self.preparer.head
            request.flags = self.preparer.flags
            request.copy = copy
            self.queued += 1
            self.queued_bytes += len(request.data)
            request.due_ns = self.pace.due(header.first_ns, self.now_ns)
            if self.summary is not None and copy == 1:
                target = at[header.target_at:header.target_at + header.target_len]
                self.summary.sent(header.id, at[:header.method_len], target, header.first_ns)
            request.session = self.session_of(header, copy)
            request.session.left += 1
            self.schedule(request)
        return 0

    cdef int take_response(self, const MessageHeader* header) except -1:
        self.count("responses")
        if self.summary is not None and not header.flags & FLAG_INTERIM:
            self.summary.original(header.id, header.status, header.last_ns, header.total)
        return 0

    # -- into sessions

    cdef Session session_of(self, const MessageHeader* header, int copy):
        """Return the session of a request's connection, and of its copy."""
        cdef bytes key = PyBytes_FromStringAndSize(NULL, 36 + sizeof(int))
        cdef uint8_t* at = <uint8_t*>PyBytes_AS_STRING(key)
        cdef Session session
        cdef Session earlier
        memcpy(at, header.src, 16)
        memcpy(at + 16, header.dst, 16)
        memcpy(at + 32, &header.sport, 2)
        memcpy(at + 34, &header.dport, 2)
        memcpy(at + 36, &copy, sizeof(int))
        session = earlier = self.sessions.get(key)
        if session is None or header.flags & FLAG_OPENS:
            session = Session.__new__(Session)
            session.key = key
            self.sessions[key] = session
        if earlier is not None and earlier is not session:
            self.number += 1
            earlier.key = key + b"%d" % self.number
            self.sessions[earlier.key] = earlier
            earlier.heir = session
            session.waits = True
            self.retire(earlier)
        return session

    cdef int forget(self, Session session) except -1:
        """Let go of a session, if nothing of it is left."""
        if session.left == 0:
            self.sessions.pop(session.key, None)
        return 0

    cdef int retire(self, Session session) except -1:
        """Give way to the captured connection that followed, once all of this one is done with."""
        if session.left == 0 and session.heir is not None:
            session.heir.waits = False
            self.forget(session)
            session.heir, heir = None, session.heir
            if heir.first is not None:
                return self.ready(heir)
        return 0

    cdef int schedule(self, Request request) except -1:
        """Put a request where its time will come."""
        if not self.pace.timed:
            return self.enqueue(request)
        self.number += 1
        self.ahead_ns = request.due_ns
        heappush(self.due, (request.due_ns, self.number, request))
        return 0

    cdef int enqueue(self, Request request) except -1:
        cdef Session session = request.session
        session.append(request)
        if session.first is request and not session.busy:
            return self.ready(session)
        return 0

    cdef int release_due(self) except -1:
        """Queue the requests whose time has come."""
        while self.due and <int64_t>self.due[0][0] <= self.now_ns:
            self.enqueue(<Request>heappop(self.due)[2])
        return 0

    cdef int ready(self, Session session) except -1:
        """Act on a session that has a request to send, and none under way; for subclasses."""
        return 0

    # -- what became of it

    cdef int count(self, str name, uint64_t amount=1) except -1:
        self.counts[name] = self.counts.get(name, 0) + amount
        return 0

    def take_counts(self):
        """Return what was counted since the last call."""
        counts, self.counts = self.counts, {}
        return counts

    cdef int done(self, Request request, str failure) except -1:
        """Account for a request that was answered, or failed, for the reason that a counter names."""
        self.queued -= 1
        request.session.left -= 1
        self.queued_bytes -= len(request.data)
        if request.copy > 1:
            if failure is not None:
                self.count("copies_failed")
        elif failure is None:
            self.count("delivered")
            self.count("delivered_bytes", len(request.data))
        else:
            self.count("undelivered")
            self.count(failure)
            if self.summary is not None:
                self.summary.failed(request.id, failure.removeprefix("failed_"))
        request.held.left -= 1
        if request.held.left == 0:
            return self.trim()
        return 0

    cdef int trim(self) except -1:
        """Forget the oldest messages that are done with."""
        while self.oldest is not None and self.oldest.left == 0:
            self.oldest = self.oldest.following
        if self.oldest is None:
            self.newest = None
        return 0

    def safe(self, uint64_t cursor):
        """Return the ring position from which a successor would have to go on."""
        cdef uint64_t position = cursor
        if self.body is not None and self.whole.total <= self.consumer.capacity // HOLD_SHARE:
            position = self.joint.start
        if self.oldest is not None and self.oldest.start < position:
            position = self.oldest.start
        return max(position, self.let_go_to)

    def let_go(self, uint64_t cursor):
        """No longer keep in the ring what was taken."""
        self.let_go_to = cursor

    def abandon_part(self):
        """Forget the message in parts that is under way; what follows of it is passed over."""
        self.body = None
        self.joint.next = 0
