"""Whole messages out of a ring, and into one: for what changes them on their way.

In: records, of which large messages have several; or messages.  Out: messages; or records.  Invariant: what is held is
the one message that is under way, and a message that never becomes whole is none.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy

from assemble.message cimport Message, make_message
from assemble.records cimport KIND_MESSAGE, MESSAGE_HEADER_BYTES, MessageHeader
from capture.ring cimport Consumer, Producer
from emit.sieve cimport Sieve
from emit.walk cimport FIRST, STRAY, WHOLE, Item, Joint, Place, ends_message, join, next_item

from assemble.records import part_bytes

cdef enum:
    HOLD_SHARE = 4        # messages up to this share of the ring stay in it until what is made of them is safe


cdef class MessageReader:
    """Takes the messages of a ring that a sieve lets through."""

    cdef Consumer consumer
    cdef Sieve sieve                   # None: every message is wanted
    cdef Joint joint
    cdef MessageHeader header          # of the message in parts that is under way, like the next two
    cdef list pieces
    cdef bint holding                  # it stays in the ring
    cdef uint64_t strays
    cdef readonly uint64_t start       # where a successor would have to go on to read the latest message again

    def __cinit__(self, Consumer consumer not None, Sieve sieve=None):
        self.consumer = consumer
        self.sieve = sieve
        self.pieces = []

    def next(self, uint64_t cursor, uint64_t head):
        """Return the next message that is whole before `head`, or None, and the position behind what was read."""
        cdef Item item
        cdef Place place
        while next_item(self.consumer, &cursor, head, &item):
            if self.sieve is not None and not self.sieve.wants(&item):
                self.forget()                       # if one was under way, this one has come instead
                continue
            place = join(&self.joint, &item)
            if place == WHOLE or place == FIRST or place == STRAY:
                self.pieces = []
            if place == STRAY:
                self.strays += ends_message(item.header)
                continue
            self.pieces.append(PyBytes_FromStringAndSize(<const char*>item.payload, item.size))
            if place == WHOLE or place == FIRST:
                self.header = item.header[0]
                self.start = item.start
                self.holding = item.header.total <= self.consumer.capacity // HOLD_SHARE or place == WHOLE
            if ends_message(item.header):
                if not self.holding:
                    self.start = cursor
                return self.whole(), cursor
        return None, cursor

    cdef Message whole(self):
        """Return the message of all the pieces."""
        cdef bytes payload = self.pieces[0] if len(self.pieces) == 1 else b"".join(self.pieces)
        self.pieces = []
        self.header.total = len(payload)
        self.header.offset = 0
        self.header.part = 0
        self.header.parts = 1
        return make_message(&self.header, payload)

    def safe(self, uint64_t cursor):
        """Return where a successor would have to go on, if all that was returned before `cursor` is safe."""
        return self.joint.start if self.joint.next and self.holding else cursor

    def forget(self):
        """Forget the message under way: its further parts are none of ours."""
        self.joint.next = 0
        self.pieces = []

    def take_strays(self):
        """Return how many messages without a beginning were passed over since the last call."""
        cdef uint64_t strays = self.strays
        self.strays = 0
        return strays


cdef class MessageWriter:
    """Writes messages to a ring, in parts if they are large."""

    cdef readonly Producer producer
    cdef uint64_t part_bytes
    cdef readonly uint64_t part        # the next of the message under way; 0: none is

    def __cinit__(self, Producer producer not None):
        self.producer = producer
        self.part_bytes = part_bytes(producer.ring.largest)

    def put(self, Message message not None):
        """Write a message, or as much of it as there is room for; False: ask again with the same one."""
        cdef MessageHeader header = message.laid_out()
        cdef uint64_t parts = max(<uint64_t>1, (header.total + self.part_bytes - 1) // self.part_bytes)
        cdef size_t size
        cdef uint8_t* room
        header.parts = parts
        while self.part < parts:
            header.part = self.part
            header.offset = self.part * self.part_bytes
            size = min(self.part_bytes, header.total - header.offset)
            room = self.producer.try_reserve(MESSAGE_HEADER_BYTES + size)
            if room == NULL:
                self.producer.publish()
                return False
            memcpy(room, &header, MESSAGE_HEADER_BYTES)
            memcpy(room + MESSAGE_HEADER_BYTES, PyBytes_AS_STRING(message.payload) + header.offset, size)
            self.producer.commit(KIND_MESSAGE, MESSAGE_HEADER_BYTES + size)
            self.part += 1
        self.producer.publish()
        self.part = 0
        return True

    @property
    def position(self):
        """Bytes ever written: a message that ends here is done with once its reader is."""
        return self.producer.position
