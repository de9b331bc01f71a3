"""One HTTP message as the library gives it: the record of a message ring, whose fields become Python when asked for.

In: a KIND_MESSAGE record, or the fields by name.  Out: Message objects.  Invariant: a message does not change, and
making one from a record costs two allocations: millions are made of which most fields are never looked at.
"""

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_DecodeLatin1
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from assemble.framing cimport Head, parse_cut_head
from assemble.records cimport (
    FLAG_COMPLETE, FLAG_INTERIM, FLAG_IPV6, MESSAGE_HEADER_BYTES, REPLAYED, REQUEST, RESPONSE, MessageHeader,
)

from assemble.records import MESSAGE_HEADER


if sizeof(MessageHeader) != MESSAGE_HEADER.size or MESSAGE_HEADER_BYTES != MESSAGE_HEADER.size:
    raise ImportError("message: the compiled message header differs from the table in assemble/records.py")

KINDS = {"request": REQUEST, "response": RESPONSE, "replayed": REPLAYED}
NAMES = {number: name for name, number in KINDS.items()}
FIELDS = (
    "id", "kind", "src", "sport", "dst", "dport", "first_ns", "last_ns", "method", "target", "status", "head",
    "complete", "missing", "payload",
)


@lru_cache(maxsize=4096)
def address(bytes packed):
    """Return an address of 4 or 16 bytes as an object; connections are many, addresses few."""
    return IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed)


cdef class Message:
    """One HTTP message as it was on the wire; equal messages are equal in every field."""

    def __init__(self, *, uint64_t id, str kind not None, src, uint16_t sport, dst, uint16_t dport, int64_t first_ns,
                 int64_t last_ns, str method, str target, status, uint64_t head, bint complete, uint64_t missing,
                 bytes payload not None):
        cdef bytes here = src.packed
        cdef bytes there = dst.packed
        memset(&self.header, 0, sizeof(MessageHeader))
        if kind not in KINDS:
            raise ValueError(f"a message is one of {", ".join(KINDS)}, not {kind!r}")
        if len(here) != len(there):
            raise ValueError(f"{src} and {dst} are of two families")
        self.header.id = id
        self.header.kind = <uint8_t>KINDS[kind]
        memcpy(self.header.src, PyBytes_AS_STRING(here), len(here))
        memcpy(self.header.dst, PyBytes_AS_STRING(there), len(there))
        self.header.sport = sport
        self.header.dport = dport
        self.header.first_ns = first_ns
        self.header.last_ns = last_ns
        self.header.status = 0 if status is None else status
        self.header.flags = (FLAG_COMPLETE if complete else 0) | (FLAG_IPV6 if len(here) == 16 else 0)
        self.header.head_len = head
        self.header.missing = missing
        self.header.total = len(payload)
        self.header.parts = 1
        self.said_method = method
        self.said_target = target
        self.made = True
        self.payload = payload

    @property
    def id(self):
        return self.header.id

    @property
    def id_hex(self):
        """The id as it is written everywhere: 16 hexadecimal digits."""
        return f"{self.header.id:016x}"

    @property
    def kind(self):
        return NAMES.get(self.header.kind, "response")

    @property
    def src(self):
        return address(self.header.src[:16 if self.header.flags & FLAG_IPV6 else 4])

    @property
    def dst(self):
        return address(self.header.dst[:16 if self.header.flags & FLAG_IPV6 else 4])

    @property
    def sport(self):
        return self.header.sport

    @property
    def dport(self):
        return self.header.dport

    @property
    def first_ns(self):
        return self.header.first_ns

    @property
    def last_ns(self):
        return self.header.last_ns

    @property
    def method(self):
        if self.said_method is not None or self.header.kind != REQUEST:
            return self.said_method
        return self.text(0, self.header.method_len)

    @property
    def target(self):
        if self.said_target is not None or self.header.kind != REQUEST:
            return self.said_target
        return self.text(self.header.target_at, self.header.target_len)

    @property
    def status(self):
        return None if self.header.kind == REQUEST else self.header.status

    @property
    def head(self):
        return self.header.head_len

    @property
    def complete(self):
        return bool(self.header.flags & FLAG_COMPLETE)

    @property
    def missing(self):
        return self.header.missing

    cdef str text(self, uint64_t at, uint64_t size):
        """Return bytes of the payload, each one a Latin-1 character."""
        if at + size > <uint64_t>len(self.payload):
            return ""
        return PyUnicode_DecodeLatin1(PyBytes_AS_STRING(self.payload) + at, size, NULL)

    cdef tuple fields(self):
        return tuple([getattr(self, name) for name in FIELDS])

    def replace(self, **changes):
        """Return the same message with some fields changed."""
        return Message(**(dict(zip(FIELDS, self.fields())) | changes))

    __replace__ = replace

    def with_payload(self, bytes payload not None, uint64_t head):
        """Return the same message with other bytes, `head` of them start line and headers; its start line is theirs."""
        cdef Message message = Message.__new__(Message)
        message.header = self.header
        message.header.head_len = head
        message.payload = payload
        cdef size_t start = self.header.start_len
        if self.made or start == 0 or payload[:start] != self.payload[:start]:
            message.made = True
            message.header = message.laid_out()
            message.made = False
        return message

    cdef MessageHeader laid_out(self):
        """Return the header of a record of this message in one part.

        Of a message that was made in Python, the start line is looked for in its bytes: they are what is sent on.
        """
        cdef MessageHeader header = self.header
        cdef size_t size = len(self.payload)
        cdef Head head
        header.total = size
        header.offset = 0
        header.part = 0
        header.parts = 1
        if not self.made:
            return header
        header.start_len = <uint32_t>(self.payload.find(b"\n") + 1)
        header.method_len = header.target_at = header.target_len = 0
        if parse_cut_head(<const uint8_t*>PyBytes_AS_STRING(self.payload), size, &head):
            if header.kind == REQUEST == head.kind:
                header.method_len = head.method_len
                header.target_at = head.target_at
                header.target_len = head.target_len
            elif header.kind != REQUEST != head.kind:
                header.status = head.status
        header.flags &= ~FLAG_INTERIM
        if header.kind == RESPONSE and header.status // 100 == 1 and header.status != 101:
            header.flags |= FLAG_INTERIM
        return header

    def __eq__(self, other):
        if not isinstance(other, Message):
            return NotImplemented
        return self.fields() == (<Message>other).fields()

    def __hash__(self):
        return hash((self.header.id, self.header.first_ns, self.payload))

    def __repr__(self):
        return "Message(" + ", ".join([f"{name}={getattr(self, name)!r}" for name in FIELDS]) + ")"


cdef Message make_message(const MessageHeader* header, bytes payload):
    """Return the message that a record holds; `payload` is all of it."""
    cdef Message message = Message.__new__(Message)
    message.header = header[0]
    message.payload = payload
    return message


def read_message(const uint8_t[::1] record not None):
    """Build a message from one whole (single-part) KIND_MESSAGE payload; ValueError if it is shorter than it says."""
    cdef const MessageHeader* header
    cdef size_t size = record.shape[0]
    if size < MESSAGE_HEADER_BYTES:
        raise ValueError(f"a record of {size} bytes is shorter than its header")
    header = <const MessageHeader*>&record[0]
    if header.total > size - MESSAGE_HEADER_BYTES:
        raise ValueError(f"a record of {size} bytes says that it has {header.total} of a message")
    return make_message(
        header, PyBytes_FromStringAndSize(<const char*>&record[0] + MESSAGE_HEADER_BYTES, header.total))
