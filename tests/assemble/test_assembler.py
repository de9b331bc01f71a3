"""The assembler as a whole: its books close for any traffic, and nothing depends on how frames were batched."""

import resource
import struct

import packets
import pytest
from hypothesis import given
from hypothesis import strategies as st
from packets_files import Frame
from strategies import pick
from strategies_packets import interleaved
from talks import CLIENT, SERVER, Talk, assembled, batches

from assemble import MessageStream, Settings
from assemble.assembler import Assembler
from capture.errors import MirrorError
from capture.records import BATCH_HEADER, FRAME_ENTRY, KIND_FRAMES, KIND_MESSAGE
from capture.ring import Consumer, Producer, Ring

GET = b"GET / HTTP/1.1\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "max_message": pick(1, 100, 2000),
        "max_header": pick(1, 40, 300),
        "memory": pick(0, 5000, 20_000),
        "responses": pick(False, True),
        "gap_timeout_s": pick(0.0, 0.0001, 2.0),
        "idle_timeout_s": pick(0.0, 0.001, 60.0),
        "ports": pick((), (80,)),
    },
)


@st.composite
def mistreated(draw: st.DrawFn) -> list[Frame]:
    """Give the frames of some connections: lost, cut, flags and numbers changed, times jumping, rubbish between."""
    _, frames = draw(interleaved(most=2))
    out: list[Frame] = []
    for ts_ns, frame in frames:
        what = draw(pick(*[None] * 12, "lose", "cut", "flag", "seq", "ack", "byte", "twice", "jump", "rubbish"))
        changed = bytearray(frame)
        tcp = 34 if frame[12:14] == b"\x08\x00" else 54
        if what == "lose":
            continue
        if what == "cut":
            changed = changed[: draw(st.integers(0, len(frame)))]
        elif what == "flag":
            changed[tcp + 13] ^= draw(pick(packets.FIN, packets.RST, packets.SYN, packets.ACK, 0xFF))
        elif what in ("seq", "ack"):
            at = tcp + (4 if what == "seq" else 8)
            (number,) = struct.unpack_from("!I", frame, at)
            step = draw(pick(1, -1, 7, -7, 3000, 2**30, -(2**30), 2**31))
            struct.pack_into("!I", changed, at, (number + step) % 2**32)
        elif what == "byte":
            changed[draw(st.integers(0, len(frame) - 1))] = draw(st.integers(0, 255))
        elif what == "twice":
            out.append((ts_ns, bytes(changed)))
        elif what == "jump":
            ts_ns += draw(pick(-(10**9), 3 * 10**9, 100 * 10**9))
        elif what == "rubbish":
            out.append((ts_ns, draw(st.binary(max_size=80))))
        out.append((ts_ns, bytes(changed)))
    return out


@given(frames=mistreated(), settings=SETTINGS, batch=pick(1, 3, 50))
def test_the_books_close_for_any_traffic_under_any_limits_however_it_is_batched(frames, settings, batch):
    """A user who asks where his request went finds it in one row: `assembled` holds every equation."""
    got = assembled(frames, **settings)
    assert all(len(m.payload) <= settings.get("max_message", 1 << 26) for m in got.messages)
    assert assembled(frames, batch=batch, **settings) == got


def test_frames_of_other_ports_are_refused_and_either_end_counts():
    """The watched port may be on either side of a segment."""
    frames = Talk().open().put(CLIENT, GET).put(SERVER, OK).frames
    assert len(assembled(frames, ports=(80,)).messages) == len(assembled(frames, ports=(40000,)).messages) == 2
    assert assembled(frames, ports=(81, 65535)).counters["refused_port"] == len(frames)


def test_packet_time_alone_ends_flows():
    """A file gives the same result at any reading speed."""
    talk = Talk().open().put(CLIENT, GET).put(SERVER, b"HTTP/1.1 200 OK\r\n\r\nuntil close")
    other = Talk(cport=50000, now_ns=talk.now_ns).wait(61).open()
    stream = MessageStream()
    assert len(stream.feed(talk.frames)) == 1
    assert [m.complete for m in stream.feed(other.frames)] == [False]
    assert (stream.counters["flows_idle"], stream.counters["flows_now"]) == (1, 1)


@pytest.mark.parametrize(
    "batch",
    [
        b"",
        BATCH_HEADER.pack(1, 0, 1),
        BATCH_HEADER.pack(2**32 - 1, 0, 1) + bytes(64),
        BATCH_HEADER.pack(1, 0, 1) + FRAME_ENTRY.pack(0, 1, 60, 60, 1, 0) + bytes(60),
        BATCH_HEADER.pack(1, 0, 1) + FRAME_ENTRY.pack(0, 2**32 - 1, 2**32 - 1, 60, 1, 0) + bytes(60),
    ],
    ids=["empty", "no table", "endless table", "a byte too far", "far outside"],
)
def test_a_batch_whose_table_points_outside_of_it_is_an_error(batch):
    """The table comes from another process; what it says is checked before it is used."""
    with pytest.raises(ValueError, match="batch"):
        MessageStream().feed_batch(batch)


def test_a_frame_ring_is_read_to_its_end_and_released():
    """What is not released would stop the capture."""
    ring = Ring.create(1 << 16)
    producer, consumer = Producer(ring), Consumer(ring)
    assembler = Assembler(Settings())
    producer.put(KIND_MESSAGE, b"a record of another kind is left alone")
    for record in batches(Talk().open().put(CLIENT, GET).frames, 2):
        producer.put(KIND_FRAMES, record)
    position = assembler.feed_ring(consumer, consumer.tail)
    assert position == consumer.head == consumer.tail
    assert [m.payload for m in assembler.sink.take()] == [GET]
    producer.put(KIND_FRAMES, BATCH_HEADER.pack(9, 0, 1))
    with pytest.raises(MirrorError, match="damaged"):
        assembler.feed_ring(consumer, position)


def test_an_iterator_left_early_gives_its_memory_back():
    """Notebooks stop after the first match; what was held then must not stay for good."""
    post = b"POST / HTTP/1.1\r\nContent-Length: 99000000\r\n\r\n" + bytes(1_000_000)
    frames = Talk().open().say(CLIENT, post, 60_000).frames
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(100):
        MessageStream().feed(frames)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000
