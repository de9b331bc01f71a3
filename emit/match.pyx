"""Filter expressions applied to messages in a ring (docs/filters.md): comparisons that lead to one another.

In: an `Expression`, and records of a message ring.  Out: verdicts, and the bits of a request that its response needs.
Invariant: no Python per message but for regular expressions, and those see a bounded part of a value.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy

from assemble.records cimport FLAG_COMPLETE, FLAG_IPV6, REPLAYED, REQUEST, MessageHeader
from emit.fields cimport (
    Text, body_of, cookie_of, header_of, host_of, method_of, nothing, pair, path_of, query_of, same_letters, target_of,
)
from emit.walk cimport Item


cdef extern from "<string.h>" nogil:
    void* memmem(const void* haystack, size_t size, const void* needle, size_t needle_size)

cdef enum Field:
    METHOD
    TARGET
    PATH
    QUERY
    HOST
    KIND
    BODY
    HEADER
    PARAM
    COOKIE
    STATUS          # from here on numbers
    SPORT
    DPORT
    SIZE
    SRC             # addresses
    DST
    COMPLETE

cdef enum Op:
    IS
    EQUAL
    DIFFERENT
    LESS
    AT_MOST
    MORE
    AT_LEAST
    FOUND
    NOT_FOUND

cdef enum:
    YES = -1
    NO = -2

FIELDS = {
    "method": METHOD, "target": TARGET, "path": PATH, "query": QUERY, "host": HOST, "kind": KIND, "body": BODY,
    "header": HEADER, "param": PARAM, "cookie": COOKIE, "status": STATUS, "sport": SPORT, "dport": DPORT,
    "size": SIZE, "src": SRC, "dst": DST, "complete": COMPLETE,
}
OPS = {
    "is": IS, "==": EQUAL, "in": EQUAL, "!=": DIFFERENT, "<": LESS, "<=": AT_MOST, ">": MORE, ">=": AT_LEAST,
    "~": FOUND, "!~": NOT_FOUND,
}


cdef inline Text text_of(const Step* step, const Item* item) noexcept nogil:
    """Return a field that is text."""
    if step.field == METHOD:
        return method_of(item)
    if step.field == TARGET:
        return target_of(item)
    if step.field == PATH:
        return path_of(item)
    if step.field == QUERY:
        return query_of(item)
    if step.field == HOST:
        return host_of(item)
    if step.field == KIND:
        if item.header.kind == REQUEST:
            return Text(<const uint8_t*>b"request", 7)
        if item.header.kind == REPLAYED:
            return Text(<const uint8_t*>b"replayed", 8)
        return Text(<const uint8_t*>b"response", 8)
    if step.field == BODY:
        return body_of(item)
    if step.field == HEADER:
        return header_of(item, step.name.at, step.name.size)
    if step.field == PARAM:
        return pair(query_of(item), c'&', step.name.at, step.name.size)
    if step.field == COOKIE:
        return cookie_of(item, step.name.at, step.name.size)
    return nothing()


cdef inline bint is_one_of(const Step* step, Text value) noexcept nogil:
    """Tell whether a value is one of a step's texts."""
    cdef size_t i
    for i in range(step.count):
        if step.texts[i].size == value.size and (
            same_letters(step.texts[i].at, value.at, value.size) if step.any_case
            else memcmp(step.texts[i].at, value.at, value.size) == 0
        ):
            return True
    return False


cdef inline bint holds_text(const Step* step, Text value) noexcept nogil:
    """Tell whether a step's plain text occurs in a value, or begins it."""
    cdef Text text = step.texts[0]
    if text.size > value.size:
        return False
    if step.anchored or text.size == 0:
        return memcmp(value.at, text.at, text.size) == 0
    return memmem(value.at, value.size, text.at, text.size) != NULL


cdef inline bint test_number(const Step* step, const MessageHeader* header) noexcept nogil:
    cdef uint64_t value
    cdef uint64_t first = <uint64_t>step.numbers[0] if step.count else 0
    cdef size_t i
    if step.field == STATUS:
        value = header.status
        if header.kind == REQUEST or value == 0:
            return False
    elif step.field == SPORT:
        value = header.sport
    elif step.field == DPORT:
        value = header.dport
    else:
        value = header.total
    if step.op == EQUAL:
        for i in range(step.count):
            if value == <uint64_t>step.numbers[i]:
                return True
        return False
    if step.op == DIFFERENT:
        return value != first
    if step.op == LESS:
        return value < first
    if step.op == AT_MOST:
        return value <= first
    if step.op == MORE:
        return value > first
    return value >= first if step.op == AT_LEAST else True


cdef inline bint inside(const Network* network, const uint8_t* address, bint v6) noexcept nogil:
    """Tell whether an address is in a network."""
    cdef size_t whole = network.bits // 8
    cdef int rest = network.bits % 8
    if network.v6 != v6 or memcmp(network.address, address, whole) != 0:
        return False
    return rest == 0 or (network.address[whole] ^ address[whole]) >> (8 - rest) == 0


cdef inline bint test_address(const Step* step, const MessageHeader* header) noexcept nogil:
    cdef const uint8_t* address = &header.src[0] if step.field == SRC else &header.dst[0]
    cdef bint v6 = (header.flags & FLAG_IPV6) != 0
    cdef size_t i
    if step.op == IS:
        return True
    for i in range(step.count):
        if inside(&step.networks[i], address, v6):
            return step.op == EQUAL
    return step.op == DIFFERENT


cdef class Matcher:
    """One expression, ready to be applied.

    `remembers` says that what is said of a request matters to its response.
    """

    def __cinit__(self, expression not None):
        cdef int i
        self.size = len(expression.tests)
        self.start = expression.start
        self.by_message = expression.by_message
        self.remembers = not self.by_message or any(test.of_request for test in expression.tests)
        self.kept = []
        self.patterns = [test.pattern for test in expression.tests]
        self.steps = <Step*>calloc(self.size, sizeof(Step))
        if self.steps == NULL:
            raise MemoryError
        for i, test in enumerate(expression.tests):
            self.steps[i].field = FIELDS[test.field]
            self.steps[i].op = OPS[test.op]
            self.steps[i].yes = test.yes
            self.steps[i].no = test.no
            self.steps[i].of_request = test.of_request
            self.steps[i].any_case = test.field == "host"
            self.steps[i].anchored = test.anchored
            self.steps[i].subject_bytes = test.subject_bytes
            self.steps[i].name = self.keep(test.name.encode())
            self.fill(&self.steps[i], test)

    def __dealloc__(self):
        cdef int i
        if self.steps != NULL:
            for i in range(self.size):
                free(self.steps[i].texts)
                free(self.steps[i].numbers)
                free(self.steps[i].networks)
            free(self.steps)

    cdef Text keep(self, bytes text):
        """Return a span of bytes that live as long as we do."""
        self.kept.append(text)
        return Text(<const uint8_t*>PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))

    cdef int fill(self, Step* step, test) except -1:
        """Lay out what a step compares with."""
        cdef size_t i
        cdef const uint8_t* packed
        step.texts = <Text*>calloc(len(test.texts) + 1, sizeof(Text))
        step.numbers = <int64_t*>calloc(len(test.numbers) + 1, sizeof(int64_t))
        step.networks = <Network*>calloc(len(test.networks) + 1, sizeof(Network))
        if step.texts == NULL or step.numbers == NULL or step.networks == NULL:
            raise MemoryError
        step.count = len(test.texts) + len(test.numbers) + len(test.networks)
        for i, text in enumerate(test.texts):
            step.texts[i] = self.keep(text)
        for i, number in enumerate(test.numbers):
            step.numbers[i] = number
        for i, network in enumerate(test.networks):
            packed = self.keep(network.network_address.packed.ljust(16, b"\0")).at
            memcpy(step.networks[i].address, packed, 16)
            step.networks[i].bits = network.prefixlen
            step.networks[i].v6 = network.version == 6
        return 0

    cdef bint judge(self, const Item* item, uint64_t known, bint recall) noexcept nogil:
        """Evaluate the expression; with `recall`, comparisons about the request are bits of `known`."""
        cdef int at = self.start
        cdef bint holds
        while at >= 0:
            if recall and (self.steps[at].of_request or not self.by_message):
                holds = (known >> at) & 1
            else:
                holds = self.test(at, item)
            at = self.steps[at].yes if holds else self.steps[at].no
        return at == YES

    cdef uint64_t about_request(self, const Item* item) noexcept nogil:
        """Evaluate what is about the request, as the bits that `judge` takes."""
        cdef uint64_t known = 0
        cdef int at
        for at in range(self.size):
            if self.steps[at].of_request and self.test(at, item):
                known |= <uint64_t>1 << at
        return known

    cdef bint test(self, int at, const Item* item) noexcept nogil:
        """Evaluate one comparison; false if the message does not have what is compared."""
        cdef const Step* step = &self.steps[at]
        cdef Text value
        if step.field == COMPLETE:
            return (item.header.flags & FLAG_COMPLETE) != 0
        if step.field == SRC or step.field == DST:
            return test_address(step, item.header)
        if step.field >= STATUS:
            return test_number(step, item.header)
        value = text_of(step, item)
        if value.at == NULL:
            return False
        if step.op == IS:
            return True
        if step.op == EQUAL:
            return is_one_of(step, value)
        if step.op == DIFFERENT:
            return not is_one_of(step, value)
        return self.search(at, value) == (step.op == FOUND)

    cdef bint search(self, int at, Text value) noexcept nogil:
        """Look for a step's pattern in a value; a pattern sees its first `subject_bytes`."""
        cdef const Step* step = &self.steps[at]
        if step.subject_bytes == 0:
            return holds_text(step, value)
        if value.size > step.subject_bytes:
            value.size = step.subject_bytes
        with gil:
            subject = PyBytes_FromStringAndSize(<const char*>value.at, value.size)
            return self.patterns[at].search(subject) is not None
