"""The assembler as a whole: its books close for any traffic, and nothing depends on how frames were batched."""

import resource
import struct
from collections.abc import Sequence
from random import Random
from typing import Any

import packets
import pytest
from hypothesis import given
from hypothesis import strategies as st
from packets_files import Frame
from strategies import pick
from strategies_packets import interleaved
from talks import CLIENT, SERVER, START_NS, Talk, assembled, audit, batches
from test_envelopes import in_fragments, ip_packet

from assemble import Message, MessageStream, Settings
from assemble.assembler import Assembler
from capture.errors import MirrorError
from capture.records import BATCH_HEADER, CLOCK, FRAME_ENTRY, KIND_CLOCK, KIND_FRAMES, KIND_MESSAGE
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


class RingTap:
    """An assembler behind a frame ring: frames and clocks in, messages out."""

    def __init__(self, **settings: Any) -> None:
        self.ring = Ring.create(1 << 20)
        self.producer, self.consumer = Producer(self.ring), Consumer(self.ring)
        self.assembler = Assembler(Settings(**settings))

    def frames(self, frames: Sequence[Frame]) -> list[Message]:
        """Take one batch."""
        for record in batches(frames):
            self.producer.put(KIND_FRAMES, record)
        return self.taken()

    def clock(self, ts_ns: int) -> list[Message]:
        """Take the time."""
        self.producer.put(KIND_CLOCK, CLOCK.pack(ts_ns))
        return self.taken()

    def taken(self) -> list[Message]:
        """Return what came out."""
        self.assembler.feed_ring(self.consumer, self.consumer.tail)
        return self.assembler.sink.take()

    def finish(self) -> list[Message]:
        """Return what was under way."""
        self.assembler.finish()
        return self.assembler.sink.take()


def holed() -> Talk:
    """Tell a request of which the tap has missed a piece that its receiver has."""
    talk = Talk().open().put(CLIENT, b"POST / HTTP/1.1\r\nContent-Length: 6\r\n\r\n")
    return talk.lose(CLIENT, b"abc").put(CLIENT, b"def").put(SERVER)


def test_a_hole_is_given_up_when_only_the_clock_moves():
    """On a silent wire a message must not wait for the next one to come out."""
    tap, talk = RingTap(gap_timeout_s=2.0), holed()
    assert tap.frames(talk.frames) == []
    for after_s in (0.5, 1.0, 1.9):
        assert tap.clock(talk.now_ns + round(after_s * 1e9)) == []
    got = tap.clock(talk.now_ns + 2_200_000_000)
    assert [(m.kind, m.complete, m.missing) for m in got] == [("request", False, 3)]
    assert tap.finish() == []
    audit(tap.assembler.page.as_dict(), talk.frames, got)


def test_an_idle_flow_is_closed_when_only_the_clock_moves():
    """Its memory comes back, and a response that runs until close goes out, though nobody says anything any more."""
    tap = RingTap(idle_timeout_s=60.0)
    talk = Talk().open().put(CLIENT, GET).put(SERVER, b"HTTP/1.1 200 OK\r\n\r\nuntil close")
    assert [m.kind for m in tap.frames(talk.frames)] == ["request"]
    assert tap.clock(talk.now_ns + 59 * 10**9) == []
    assert tap.assembler.page["flows_now"] == 1
    assert [m.kind for m in tap.clock(talk.now_ns + 61 * 10**9)] == ["response"]
    assert (tap.assembler.page["flows_now"], tap.assembler.page["flows_idle"]) == (0, 1)


def test_fragments_of_a_datagram_are_given_up_when_only_the_clock_moves():
    """They are held in memory, and the row of the ledger they end in is known only then."""
    tap = RingTap()
    request = Talk().put(CLIENT, bytes(1200)).frames[0][1]
    pieces = in_fragments(ip_packet(request), Random(1), 7)
    tap.frames([(START_NS, packets.ethernet(piece)) for piece in pieces[1:]])
    assert tap.assembler.page["fragments_held"] == len(pieces) - 1
    tap.clock(START_NS + 40 * 10**9)
    counts = tap.assembler.page.as_dict()
    assert (counts["fragments_held"], counts["refused_ip_fragment"]) == (0, len(pieces) - 1)


@given(frames=mistreated(), data=st.data())
def test_a_clock_that_is_not_ahead_of_the_frames_changes_nothing(frames, data):
    """Time does not go back for it: neither what is given up nor what is closed may depend on how often it is told."""
    settings = {"gap_timeout_s": 0.01, "idle_timeout_s": 0.5}
    plain, told = RingTap(**settings), RingTap(**settings)
    wanted, got, newest_ns = [], [], 0
    for ts_ns, frame in frames:
        wanted += plain.frames([(ts_ns, frame)])
        got += told.frames([(ts_ns, frame)])
        newest_ns = max(newest_ns, ts_ns)
        for back_ns in data.draw(st.lists(pick(0, 1, 10**6, 10**9, 10**12, 2**62), max_size=2)):
            got += told.clock(newest_ns - back_ns)
    assert got + told.finish() == wanted + plain.finish()
    assert told.assembler.page.as_dict() == plain.assembler.page.as_dict()


@pytest.mark.parametrize("back_s", [0, 1, 3, 1000, 2 * 10**9])
def test_a_clock_that_was_set_back_neither_hurries_nor_delays_what_waits(back_s):
    """Clocks of live machines are set: a hole is given up at its time, by the newest time that was seen."""
    tap, talk = RingTap(gap_timeout_s=2.0), holed()
    tap.frames(talk.frames)
    assert tap.clock(talk.now_ns + 10**9) == []
    assert tap.clock(talk.now_ns - back_s * 10**9) == []
    assert tap.clock(talk.now_ns + 1_900_000_000) == []
    assert [m.missing for m in tap.clock(talk.now_ns + 2_200_000_000)] == [3]


def test_frames_from_before_the_clock_are_taken_as_ever():
    """A frame may have been on its way while the source looked at its clock."""
    tap, talk = RingTap(), Talk().open().put(CLIENT, GET).put(SERVER, OK)
    assert tap.clock(talk.now_ns + 10**9) == []
    assert [m.complete for m in tap.frames(talk.frames)] == [True, True]
    assert tap.clock(talk.now_ns + 59 * 10**9) == []
    assert tap.assembler.page["flows_now"] == 1


def test_a_clock_without_a_time_is_a_damaged_record():
    """What another process wrote is checked before it is used."""
    tap = RingTap()
    tap.producer.put(KIND_CLOCK, b"")
    with pytest.raises(MirrorError, match="damaged"):
        tap.taken()


def test_an_iterator_left_early_gives_its_memory_back():
    """Notebooks stop after the first match; what was held then must not stay for good."""
    post = b"POST / HTTP/1.1\r\nContent-Length: 99000000\r\n\r\n" + bytes(1_000_000)
    frames = Talk().open().say(CLIENT, post, 60_000).frames
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(100):
        MessageStream().feed(frames)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000
