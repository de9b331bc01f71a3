"""An assembler that is killed, again and again: no message twice, the sums close, and what was lost is counted."""

import contextlib
import multiprocessing
import os
import random
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import zip_longest

import pytest
from talks import CLIENT, SEGMENTS, SERVER, Frame, Talk, batches

from assemble import Settings
from assemble.books import Books
from assemble.process import AssembleSpec, main
from assemble.records import AT_PART, AT_PARTS, AT_TOTAL, MESSAGE_HEADER
from assemble.sink import RingSink
from assemble.tally import ASSEMBLE_COUNTERS
from capture.child import EventQueue
from capture.counters import Counters
from capture.records import KIND_FRAMES
from capture.ring import Consumer, Producer, Ring

DEADLINE_S = 60
PER_BATCH = 7


def traffic(count: int) -> tuple[list[Frame], set[bytes]]:
    """Frames of connections that overlap in time, some messages larger than a ring; and every message in them."""
    talks, wanted = [], set()
    for number in range(count):
        talk = Talk(cport=1024 + number).open()
        for at in range(4):
            request = b"GET /%d/%d HTTP/1.1\r\nHost: h\r\n\r\n" % (number, at)
            body = b"%d " % number * (40_000 if number % 40 == 7 and at == 1 else 30)
            response = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nX: %d-%d\r\n\r\n" % (len(body), number, at) + body
            talk.say(CLIENT, request).say(SERVER, response)
            wanted |= {request, response}
        talks.append(talk.close().frames)
    frames: list[Frame] = []
    for at in range(0, count, 8):  # eight at a time, frame by frame
        for row in zip_longest(*talks[at : at + 8]):
            frames += [frame for frame in row if frame is not None]
    return frames, wanted


class Downstream:
    """Reads message rings to their ends, as workers do: messages whose parts are all there, in order."""

    def __init__(self, rings: tuple[Ring, ...]) -> None:
        self.rings = rings
        self.found: Counter[bytes] = Counter()
        self.cut = 0
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.read, args=(ring,)) for ring in rings]

    def read(self, ring: Ring) -> None:
        """Take one ring's messages."""
        consumer, parts = Consumer(ring), list[bytes]()
        while True:
            ended = consumer.closed
            while (record := consumer.read(consumer.tail)) is not None:
                header = MESSAGE_HEADER.unpack_from(record[1])
                if header[AT_PART] != len(parts):
                    self.cut += 1
                    parts.clear()
                assert header[AT_PART] == len(parts)
                parts.append(bytes(record[1][MESSAGE_HEADER.size :]))
                if len(parts) == header[AT_PARTS]:
                    payload = b"".join(parts)[: header[AT_TOTAL]]  # records are padded, parts are not but for the last
                    with self.lock:
                        self.found[payload] += 1
                    parts.clear()
                consumer.release(record[2])
            if ended:
                return
            consumer.wait(consumer.tail, 20)

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Read beside the block, which closes the rings."""
        for thread in self.threads:
            thread.start()
        try:
            yield
        finally:
            for ring in self.rings:
                Producer(ring).close()
            for thread in self.threads:
                thread.join(DEADLINE_S)


class Feeder:
    """Writes frames into a ring beside the test, as far as it is told to, and closes it."""

    def __init__(self, ring: Ring, frames: list[Frame]) -> None:
        self.records = list(batches(frames, PER_BATCH))
        self.producer = Producer(ring)
        self.more = threading.Semaphore(0)
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        """Put one record each time that one may be."""
        for record in self.records:
            self.more.acquire()
            self.producer.put(KIND_FRAMES, record)
        self.producer.close()


@pytest.mark.parametrize("seed", range(2))
def test_killed_at_random_nothing_comes_twice_and_what_is_lost_is_counted(seed):
    """Twelve deaths in one run: most messages come out, none of them twice, and every sum closes."""
    dice = random.Random(seed)
    frames, wanted = traffic(400)
    frame_ring, outputs = Ring.create(1 << 16), tuple(Ring.create(1 << 16) for _ in range(2))
    counters = Counters(ASSEMBLE_COUNTERS)
    settings = Settings(gap_timeout_s=0.5)
    spec = AssembleSpec(os.getpid(), EventQueue(), counters, frame_ring, outputs, settings)
    downstream = Downstream(outputs)
    context = multiprocessing.get_context("spawn")
    kills = 0
    with downstream.reading():
        feeder = Feeder(frame_ring, frames)
        step = len(feeder.records) // 13
        for attempt in range(1000):
            process = context.Process(target=main, args=(replace(spec, events=EventQueue(), attempt=attempt),))
            process.start()
            goal = Consumer(frame_ring).tail + dice.randrange(1, 50_000)
            feeder.more.release(step if kills < 12 else len(feeder.records))
            if kills < 12:
                while Consumer(frame_ring).tail < goal:
                    assert process.is_alive()
                process.kill()
                kills += 1
            process.join(DEADLINE_S)
            code = process.exitcode
            process.close()
            assert code in (0, -9)
            if code == 0:
                break
        feeder.thread.join(DEADLINE_S)
    c = counters.as_dict()
    assert kills == 12
    assert max(downstream.found.values()) == 1
    whole = {payload for payload in downstream.found if payload in wanted}
    assert sum(downstream.found.values()) == c["messages"] == c["messages_complete"] + c["messages_incomplete"]
    assert len(whole) == c["messages_complete"] > 0.5 * len(wanted)
    refused = sum(count for name, count in c.items() if name.startswith("refused_"))
    assert c["frames_decoded"] + c["frames_lost"] + refused == len(frames)
    assert c["segments_data"] == sum(c[f"segments_{kind}"] for kind in SEGMENTS) + c["segments_lost"]
    skipped = sum(count for name, count in c.items() if name.startswith("skipped_"))
    assert c["bytes_payload"] == c["bytes_in_messages"] + c["bytes_duplicate"] + skipped
    assert c["bytes_in_messages"] == sum(map(len, downstream.found))
    assert c["flows_now"] == c["bytes_held"] == 0
    assert c["frames_lost"] <= kills * PER_BATCH * 2
    assert max(c.values()) < 2**63, "a counter went below zero"


def test_what_was_noted_and_not_published_is_published_by_the_next():
    """Killed between the two: the counters have it, so the ring must have it."""
    ring, frame_ring = Ring.create(1 << 16), Ring.create(1 << 16)
    page, books = Counters(ASSEMBLE_COUNTERS), Books()
    Producer(frame_ring).put(KIND_FRAMES, b"a batch that was being worked on")
    before = RingSink((ring,), books, page)
    page.set("messages", 3)
    page.set("flows_now", 2)
    before.close()  # notes and publishes; the counters of a later moment are not noted
    page.set("messages", 5)
    page.set("bytes_payload", 70)
    after = RingSink((ring,), books, page)
    after.recover(Consumer(frame_ring))
    assert (page["messages"], page["flows_now"], page["bytes_payload"]) == (3, 0, 0)


def test_more_rings_than_there_is_room_for_are_refused():
    """The table has a size; a write behind it would be in somebody else's counters."""
    rings = [Ring.create(4096)] * 65
    with pytest.raises(ValueError, match="65 message rings"):
        RingSink(rings, Books(), Counters(ASSEMBLE_COUNTERS))
