"""Passes over the message records of a ring without taking anything out: count them, or skip them.

In: a consumer and two positions.  Out: positions and numbers.  A message in several parts counts once, at its last.
"""

from libc.stdint cimport uint64_t

from assemble.records cimport MESSAGE_HEADER_BYTES, PART_BYTES, MessageHeader
from capture.ring cimport Consumer

from assemble.records import MESSAGE_HEADER
from assemble.records import PART_BYTES as PART_BYTES_TABLE

if sizeof(MessageHeader) != MESSAGE_HEADER.size or MESSAGE_HEADER_BYTES != MESSAGE_HEADER.size \
        or PART_BYTES != PART_BYTES_TABLE:
    raise ImportError("walk: the compiled message layout differs from the table in assemble/records.py")


def count_messages(Consumer consumer not None, uint64_t start, uint64_t end):
    """Return (messages, payload bytes) of the records in [start, end), which must not be released meanwhile."""
    cdef Item item
    cdef uint64_t messages = 0
    cdef uint64_t size = 0
    with nogil:
        while next_item(consumer, &start, end, &item):
            size += item.size
            if ends_message(item.header):
                messages += 1
    return messages, size


def skip_messages(Consumer consumer not None, uint64_t cursor, uint64_t until, uint64_t head):
    """Pass over records from `cursor` to `until`, and on to where a message begins; return (position, messages)."""
    cdef Item item
    cdef uint64_t messages = 0
    cdef uint64_t following = cursor
    with nogil:
        while next_item(consumer, &following, head, &item):
            if item.start >= until and (item.header.parts <= 1 or item.header.part == 0):
                following = item.start
                break
            if ends_message(item.header):
                messages += 1
    return following, messages
