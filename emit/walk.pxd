"""Steps over the message records of a ring: where each lies, how long it is, and how parts join up."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from assemble.records cimport KIND_MESSAGE, MESSAGE_HEADER_BYTES, PART_BYTES, REQUEST, MessageHeader
from capture.ring cimport HEADER_BYTES, Consumer, RecordHeader
from emit.buffer cimport Buffer, reserve


cdef enum Place:
    WHOLE = 0     # a message in one record
    FIRST = 1     # the first of several parts
    MIDDLE = 2    # the part that was expected
    LAST = 3      # the part that was expected, and the message's last
    STRAY = 4     # a part of a message whose earlier parts were not seen

cdef struct Item:
    const MessageHeader* header   # borrowed, like payload: from the ring until the record is released
    const uint8_t* payload
    size_t size                   # bytes of payload in this record
    const uint8_t* line           # borrowed: the message from its first byte; the payload, unless gathered
    size_t line_size
    uint64_t start                # ring position before the record

cdef struct Joint:                # the message in parts that is under way
    uint64_t id
    uint64_t start                # ring position before its first part
    uint32_t next                 # number of the part that must follow; 0: none is under way
    uint8_t kind


cdef inline bint ends_message(const MessageHeader* header) noexcept nogil:
    """Tell whether a message ends with this record; each message is counted there, once."""
    return header.parts <= 1 or header.part + 1 >= header.parts


cdef inline size_t part_size(const MessageHeader* header, size_t room) noexcept nogil:
    """Return the payload bytes of a record that has `room` bytes for them, padding included.

    A part that is not the last has a multiple of 3 bytes, and so many that fewer than 3 of its room are padding.
    """
    cdef uint64_t size
    if header.parts <= 1:
        size = header.total
    elif header.part + 1 < header.parts:
        size = room - room % 3
        if size > PART_BYTES:
            size = PART_BYTES
    else:
        size = header.total - header.offset if header.offset < header.total else 0
    return size if size < room else room


cdef inline bint next_item(Consumer consumer, uint64_t* cursor, uint64_t head, Item* item) noexcept nogil:
    """Step to the next message record before `head` and describe it; false at the end."""
    cdef const RecordHeader* record
    while True:
        item.start = cursor[0]
        record = consumer.next_record(cursor, head)
        if record == NULL:
            return False
        if record.kind == KIND_MESSAGE and record.length >= HEADER_BYTES + MESSAGE_HEADER_BYTES:
            break
    item.header = <const MessageHeader*>(<const uint8_t*>record + HEADER_BYTES)
    item.payload = <const uint8_t*>item.header + MESSAGE_HEADER_BYTES
    item.size = part_size(item.header, record.length - HEADER_BYTES - MESSAGE_HEADER_BYTES)
    item.line = item.payload
    item.line_size = item.size
    return True


cdef inline Place join(Joint* joint, const Item* item) noexcept nogil:
    """Say where a record belongs, and remember what must follow it."""
    cdef const MessageHeader* header = item.header
    if header.parts <= 1:
        joint.next = 0
        return WHOLE
    if header.part == 0:
        joint.id = header.id
        joint.kind = header.kind
        joint.start = item.start
        joint.next = 1
        return FIRST
    if joint.next == 0 or header.part != joint.next or header.id != joint.id or header.kind != joint.kind:
        joint.next = 0
        return STRAY
    if header.part + 1 >= header.parts:
        joint.next = 0
        return LAST
    joint.next += 1
    return MIDDLE


cdef inline size_t start_size(const MessageHeader* header) noexcept nogil:
    """Return how many bytes of a request reach to the end of its target; 0 if that is more than the message has."""
    cdef uint64_t size = <uint64_t>header.target_at + header.target_len
    if header.kind != REQUEST or header.part != 0:
        return 0
    if size < header.method_len:
        size = header.method_len
    return size if size <= header.total else 0


cdef inline int gather(Consumer consumer, Item* item, uint64_t following, uint64_t head, Buffer* into) noexcept nogil:
    """Collect a start line that does not lie in the first part alone: 1 done or no need, 0 not there yet, -1 never."""
    cdef size_t needed = start_size(item.header)
    cdef Joint joint = Joint(0, 0, 0, 0)
    cdef Item next
    cdef Place place
    if needed <= item.size or needed > consumer.capacity // 4:     # more than that may never be there at once
        return 1
    into.size = 0
    if reserve(into, needed) == NULL:
        return -1
    memcpy(into.at, item.payload, item.size)
    into.size = item.size
    join(&joint, item)
    while into.size < needed:
        if not next_item(consumer, &following, head, &next):
            return 0
        place = join(&joint, &next)
        if place != MIDDLE and place != LAST:
            return -1
        if next.size > needed - into.size:
            next.size = needed - into.size
        memcpy(into.at + into.size, next.payload, next.size)
        into.size += next.size
        if place == LAST and into.size < needed:
            return -1
    item.line = into.at
    item.line_size = into.size
    return 1
