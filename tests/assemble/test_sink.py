"""Message rings: large messages in parts that join again, a flow in one ring, and nothing lost when it is full."""

import base64
import threading
from collections import defaultdict

import pytest
from talks import CLIENT, SERVER, Talk, batches

from assemble import Message, Settings
from assemble.assembler import Assembler
from assemble.message import read_message
from assemble.records import MESSAGE_HEADER, PART_BYTES
from assemble.sink import RingSink
from capture.records import KIND_MESSAGE
from capture.ring import Consumer, Ring

FIELDS = "id first last src dst sport dport kind flags status method target_at target start head total missing"
TOTAL, OFFSET, PART, PARTS = 15, 17, 18, 19


def parts_in(ring: Ring) -> list[tuple[tuple, bytes]]:
    """Take all records out of a ring: header fields and the bytes behind them."""
    consumer, out = Consumer(ring), []
    position = consumer.tail
    while (record := consumer.read(position)) is not None:
        kind, view, position = record
        assert kind == KIND_MESSAGE
        out.append((MESSAGE_HEADER.unpack_from(view), bytes(view[MESSAGE_HEADER.size :])))
        consumer.release(position)
    return out


def body(size: int) -> bytes:
    """Give a request of exactly so many bytes."""
    head = b"POST / HTTP/1.1\r\nContent-Length: %07d\r\n\r\n" % 0
    return head.replace(b"%07d" % 0, b"%07d" % (size - len(head))) + bytes(i % 251 for i in range(size - len(head)))


def sent(talks: list[Talk], rings: list[Ring]) -> None:
    """Assemble connections into rings that are large enough, and close them."""
    sink = RingSink(rings)
    assembler = Assembler(Settings(), sink)
    for talk in talks:
        for record in batches(talk.frames):
            assembler.feed_batch(record)
    assembler.finish()
    sink.close()


@pytest.mark.parametrize("size", [100, 400, 455, 456, 457, 912, 5000, 20_000])
def test_parts_join_to_the_message(size):
    """Base64 of the parts is the base64 of the message, so each must be a multiple of 3 long."""
    whole = body(size)
    ring = Ring.create(65_536)
    largest = ring.largest
    part_bytes = (largest - MESSAGE_HEADER.size) // 4 // 24 * 24
    sent([Talk().open().say(CLIENT, whole)], [ring])
    parts = parts_in(ring)
    assert len(parts) == -(-size // part_bytes)
    sizes = [min(part_bytes, size - fields[OFFSET]) for fields, _ in parts]
    pieces = [data[:n] for (_, data), n in zip(parts, sizes, strict=True)]
    assert b"".join(pieces) == whole
    assert b"".join(map(base64.b64encode, pieces)) == base64.b64encode(whole)
    assert [(f[TOTAL], f[OFFSET], f[PART], f[PARTS]) for f, _ in parts] == [
        (size, part_bytes * n, n, len(parts)) for n in range(len(parts))
    ]


def test_a_part_in_a_large_ring_is_as_long_as_the_table_says():
    """Workers size their buffers by it."""
    ring = Ring.create(16 << 20)
    sent([Talk().open().say(CLIENT, body(PART_BYTES + 1), 60_000)], [ring])
    assert [(f[OFFSET], f[PARTS]) for f, _ in parts_in(ring)] == [(0, 2), (PART_BYTES, 2)]


def test_a_flow_keeps_to_one_ring_and_flows_are_spread():
    """Order within a connection holds only if one worker has all of it."""
    rings = [Ring.create(1 << 20) for _ in range(3)]
    get, ok = b"GET / HTTP/1.1\r\n\r\n", b"HTTP/1.1 204 No\r\n\r\n"
    talks = [Talk(cport=port) for port in range(1000, 1100)]
    for talk in talks:
        talk.open().put(CLIENT, get).put(SERVER, ok).put(CLIENT, get).put(SERVER, ok)
    sent(talks, rings)
    where: dict[int, set[int]] = defaultdict(set)
    counts = []
    for number, ring in enumerate(rings):
        messages = [read_message(MESSAGE_HEADER.pack(*fields) + data) for fields, data in parts_in(ring)]
        counts.append(len(messages))
        for m in messages:
            where[m.sport if m.kind == "request" else m.dport].add(number)
    assert [len(rings_of) for rings_of in where.values()] == [1] * 100
    assert sum(counts) == 400
    assert min(counts) > 60


def test_a_full_ring_is_waited_for():
    """Messages larger than the ring go through it all the same, nothing dropped, nothing mixed."""
    ring = Ring.create(4096)
    wholes = [body(30_000), body(50), body(12_345)]
    talk = Talk().open()
    for whole in wholes:
        talk.say(CLIENT, whole)
    sender = threading.Thread(target=sent, args=([talk], [ring]))
    sender.start()
    got: list[Message] = []
    consumer, position, payload = Consumer(ring), 0, b""
    while not (consumer.closed and consumer.head == position):
        if not consumer.wait(position):
            continue
        _, view, position = consumer.read(position)
        fields = list(MESSAGE_HEADER.unpack_from(view))
        payload += bytes(view[MESSAGE_HEADER.size :])
        consumer.release(position)
        if fields[PART] + 1 == fields[PARTS]:
            got.append(read_message(MESSAGE_HEADER.pack(*fields) + payload))
            payload = b""
    sender.join(30)
    assert [m.payload for m in got] == wholes
