"""What a replay did: each request that was sent, joined by its id with its original response and with its answer.

In: requests sent, original responses, answers and failures, in any order.  Out: sums for each endpoint.  Invariant:
nothing is kept but sums and the latest OPEN requests, in an anonymous memory file: whoever made it reads it while the
one who counts is at work, and after it was killed, and a successor goes on with it.

A comparison of the messages themselves, their headers and bodies, would begin in `compare`, the one place where both
sides of a request are known: it needs the ids of those to look at, and the messages from a recording (docs/answers.md).

The page, all integers in native byte order:

opened       8 bytes   requests ever opened; number n is in slot n % OPEN
endpoints    8 bytes   in use; number 0 is for all that have no place
unknown      8 bytes   answers and failures of requests that were no longer open, or had one
reserved     8 bytes
reasons      REASONS times REASON_BYTES   why there was no answer, as text that ends with 0
late_ns      a histogram: how much later than wanted requests were sent
requests     OPEN slots of 48 bytes: Request
each         ENDPOINTS slots: Endpoint; untouched pages take no memory
"""

from multiprocessing import reduction

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from capture.memory cimport Memory
from emit.endpoint cimport name_endpoint
from emit.histogram cimport Histogram, bucket_of
from emit.index cimport enter, forget, free_index, look, make_index

from capture.memory import make_memory
from emit.totals import EndpointTotals, Totals

globals().update(OPEN=OPEN, ENDPOINTS=ENDPOINTS, PAIRS=PAIRS, REASONS=REASONS)

OTHER = "other"
"""What is left over is counted under this name: endpoints, and reasons of failures."""


cdef inline size_t hash_name(const uint8_t* name, size_t size) noexcept nogil:
    """Spread names over the index (FNV-1a)."""
    cdef uint64_t n = 0xcbf29ce484222325u
    cdef size_t i
    for i in range(size):
        n = (n ^ name[i]) * 0x100000001b3u
    return (n ^ (n >> 32)) & (NAMES - 1)


cdef class Summary:
    """The memory itself, made by `Summary.create`; one process counts."""

    def __cinit__(self, int memory_fd):
        cdef size_t at
        self.memory = Memory("summary", memory_fd, sizeof(Page), "a summary")
        self.page = <Page*>self.memory.at
        if not make_index(&self.index, OPEN, self.page.requests, sizeof(Request)):
            raise MemoryError
        for at in range(min(self.page.opened, <uint64_t>OPEN)):
            enter(&self.index, at)
        for at in range(1, self.page.endpoints):
            self.names[self.place(self.page.each[at].name, self.page.each[at].name_size)] = <uint16_t>at + 1

    def __dealloc__(self):
        free_index(&self.index)

    @staticmethod
    def create():
        """Make an empty one; its pages take room when they are touched."""
        return Summary(make_memory("summary", sizeof(Page)))

    def __reduce__(self):
        return _attach, (reduction.DupFd(self.memory.fd),)

    cdef Request* find(self, uint64_t id, bint begins, bint make) noexcept nogil:
        """Return a request that is open; opened now with `make`, in place of the oldest; else NULL if it is not.

        `begins`: the event is one that a request begins with.  One of which all has been seen is then sent once more.
        """
        cdef size_t slot = self.page.opened % OPEN
        cdef size_t at = look(&self.index, id)
        cdef Request* request
        if self.index.at[at]:
            request = &self.page.requests[self.index.at[at] - 1]
            if begins and request.known & SENT and request.known & ORIGINAL and request.known & (ANSWERED | FAILED):
                request.known = 0
            return request
        if not make:
            return NULL
        request = &self.page.requests[slot]
        if self.page.opened >= OPEN:
            forget(&self.index, request.id)
        memset(request, 0, sizeof(Request))
        request.id = id
        self.page.opened += 1
        enter(&self.index, slot)
        return request

    cdef size_t place(self, const uint8_t* name, size_t size) noexcept nogil:
        """Return the place in the index that holds a name, or the free one where it would be."""
        cdef size_t at = hash_name(name, size)
        cdef Endpoint* found
        while self.names[at]:
            found = &self.page.each[self.names[at] - 1]
            if found.name_size == size and memcmp(found.name, name, size) == 0:
                break
            at = (at + 1) & (NAMES - 1)
        return at

    cdef uint16_t endpoint(self, const uint8_t* name, size_t size) noexcept nogil:
        """Return the number of an endpoint, a new one if there is room for it."""
        cdef size_t at = self.place(name, size)
        cdef size_t number = max(self.page.endpoints, <uint64_t>1)
        if self.names[at]:
            return self.names[at] - 1
        if number == ENDPOINTS:
            return 0
        memcpy(self.page.each[number].name, name, size)
        self.page.each[number].name_size = <uint16_t>size
        self.page.endpoints = number + 1
        self.names[at] = <uint16_t>number + 1
        return <uint16_t>number

    cdef void count_original(self, Request* request) noexcept nogil:
        """Count an original response for its endpoint, once that is known."""
        cdef Endpoint* endpoint = &self.page.each[request.endpoint]
        endpoint.originals += 1
        endpoint.original_bytes += request.original_bytes
        endpoint.original_ns[bucket_of(request.last_ns - request.first_ns)] += 1

    cdef void compare(self, Request* request) noexcept nogil:
        """Compare both sides of a request, once both are known."""
        cdef Endpoint* endpoint = &self.page.each[request.endpoint]
        cdef Pair* pair
        cdef size_t at
        for at in range(PAIRS):
            pair = &endpoint.pairs[at]
            if pair.count == 0:
                pair.original = request.original
                pair.replayed = request.replayed
            if pair.original == request.original and pair.replayed == request.replayed:
                pair.count += 1
                return
        endpoint.more_pairs += 1

    cdef void note_sent(self, uint64_t id, Text method, Text target, int64_t first_ns) noexcept nogil:
        """Note a request that is sent; `first_ns` is when its original was."""
        cdef Request* request = self.find(id, True, True)
        cdef uint8_t[NAME_BYTES] name
        cdef size_t size = name_endpoint(name, method, target)
        if request.known & SENT:             # sent again, before its original came
            request.known = 0
        request.endpoint = self.endpoint(name, size)
        request.first_ns = first_ns
        request.known |= SENT
        self.page.each[request.endpoint].requests += 1
        if request.known & ORIGINAL:
            self.count_original(request)

    cdef void note_original(self, uint64_t id, uint16_t status, int64_t last_ns, uint64_t size) noexcept nogil:
        """Note an original response; interim ones are not what a request is answered."""
        cdef Request* request
        if 100 <= status < 200 and status != 101:
            return
        request = self.find(id, True, True)
        if request.known & ORIGINAL:
            return
        request.known |= ORIGINAL
        request.original = status
        request.last_ns = last_ns
        request.original_bytes = size
        if request.known & SENT:
            self.count_original(request)
        if request.known & ANSWERED:
            self.compare(request)

    cdef void note_answered(self, uint64_t id, uint16_t status, uint64_t size, int64_t ns) noexcept nogil:
        """Note what a request was answered."""
        cdef Request* request = self.find(id, False, False)
        cdef Endpoint* endpoint
        if request == NULL or not request.known & SENT or request.known & (ANSWERED | FAILED):
            self.page.unknown += 1
            return
        endpoint = &self.page.each[request.endpoint]
        endpoint.answered += 1
        endpoint.answered_bytes += size
        endpoint.answered_ns[bucket_of(ns)] += 1
        request.known |= ANSWERED
        request.replayed = status
        if request.known & ORIGINAL:
            self.compare(request)

    cdef void note_failed(self, uint64_t id, size_t reason) noexcept nogil:
        """Note that a request has no answer, for a reason that `reason` has numbered."""
        cdef Request* request = self.find(id, False, False)
        if request == NULL or not request.known & SENT or request.known & (ANSWERED | FAILED):
            self.page.unknown += 1
            return
        self.page.each[request.endpoint].failed[reason if reason < REASONS else REASONS - 1] += 1
        request.known |= FAILED

    cdef void note_late(self, int64_t ns) noexcept nogil:
        """Note how much later than wanted a request was sent."""
        self.page.late_ns[bucket_of(ns)] += 1

    def sent(self, uint64_t id, bytes method not None, bytes target not None, int64_t first_ns):
        """Note a request that is sent, with method and target of its start line; `first_ns`: its packet time."""
        self.note_sent(
            id, Text(<const uint8_t*>PyBytes_AS_STRING(method), len(method)),
            Text(<const uint8_t*>PyBytes_AS_STRING(target), len(target)), first_ns)

    def original(self, uint64_t id, uint16_t status, int64_t last_ns, uint64_t size):
        """Note an original response, with the packet time of its last byte."""
        self.note_original(id, status, last_ns, size)

    def answered(self, uint64_t id, uint16_t status, uint64_t size, int64_t latency_ns):
        """Note what a request was answered, and how long after it was sent the last byte came."""
        self.note_answered(id, status, size, latency_ns)

    def failed(self, uint64_t id, str reason not None):
        """Note that a request has no answer."""
        self.note_failed(id, self.reason(reason))

    def late(self, int64_t ns):
        """Note how much later than wanted a request was sent."""
        self.note_late(ns)

    def reason(self, str text not None):
        """Return the number of a reason; those that have no place are one."""
        cdef bytes wanted = text.encode()[:REASON_BYTES - 1]
        cdef size_t at
        cdef bytes known
        for at in range(REASONS - 1):
            known = <bytes>(<char*>self.page.reasons[at])
            if not known:
                memcpy(self.page.reasons[at], PyBytes_AS_STRING(wanted), len(wanted))
            if not known or known == wanted:
                return at
        return REASONS - 1

    def totals(self):
        """Return what there is so far."""
        cdef size_t at
        found = [self.total(at) for at in range(self.page.endpoints)]
        late = Histogram()
        late.load(self.page.late_ns)
        return Totals({each.name: each for each in found if each.requests}, late, self.page.unknown)

    cdef object total(self, size_t number):
        """Return the sums of one endpoint."""
        cdef Endpoint* endpoint = &self.page.each[number]
        cdef Histogram original = Histogram()
        cdef Histogram answered = Histogram()
        cdef size_t at
        original.load(endpoint.original_ns)
        answered.load(endpoint.answered_ns)
        name = PyBytes_FromStringAndSize(<char*>endpoint.name, endpoint.name_size).decode("latin-1")
        reasons = [<bytes>(<char*>self.page.reasons[at]) for at in range(REASONS)]
        failed = {
            reasons[at].decode(errors="replace") or OTHER: endpoint.failed[at]
            for at in range(REASONS) if endpoint.failed[at]
        }
        statuses = {
            (endpoint.pairs[at].original, endpoint.pairs[at].replayed): endpoint.pairs[at].count
            for at in range(PAIRS) if endpoint.pairs[at].count
        }
        return EndpointTotals(
            name if number else OTHER, endpoint.requests, endpoint.answered, endpoint.originals,
            endpoint.original_bytes, endpoint.answered_bytes, failed, statuses, endpoint.more_pairs, original, answered)


def _attach(memory):
    return Summary(memory.detach())
