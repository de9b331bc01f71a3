"""One connection's bytes: cut anywhere, bounded, and given back in frames."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capture.errors import MalformedTraffic
from emit.connection import LEAST_BYTES_PER_S, Connection
from emit.joining import Budget, Joiner
from tests.emit.builders import packed_forward

LIMIT = 1 << 20
IDLE_S = 10.0


def connection(frame_bytes: int = LIMIT) -> Connection:
    """Make a connection."""
    return Connection("peer", Joiner(Budget(LIMIT, LIMIT), LIMIT), frame_bytes, LIMIT)


def feed(made: Connection, data: bytes) -> None:
    """Let bytes come, as many at a time as there is room for."""
    room = made.inbox.room()
    assert len(room) >= len(data)
    room[: len(data)] = data
    made.inbox.filled(len(data))


@given(st.lists(st.integers(0, 3000), max_size=6), st.integers(1, 5000))
def test_frames_come_out_as_they_went_in(sizes: list[int], step: int):
    """Whatever the network does to the stream, and whatever the buffer does to keep it in one piece."""
    bodies = [bytes([number]) * size for number, size in enumerate(sizes)]
    wire = b"".join(packed_forward(body, f"id{number}") + b"\xc0" for number, body in enumerate(bodies))
    made = connection()
    found = []
    for at in range(0, len(wire), step):
        feed(made, wire[at : at + step])
        while (chunk := made.next_chunk()) is not None:
            found.append(bytes(chunk.entries))
            made.finish_chunk()
    assert found == bodies
    assert not made.in_frame


def test_memory_grows_with_the_frame_and_not_with_the_stream():
    """A connection lives for weeks."""
    made = connection()
    frame = packed_forward(bytes(300_000))
    for _ in range(40):
        for at in range(0, len(frame), 50_000):
            feed(made, frame[at : at + 50_000])
        assert made.next_chunk() is not None
        made.finish_chunk()
    assert len(made.inbox.memory) < 4 * len(frame)


def test_a_frame_over_the_limit_ends_the_connection():
    """Before its bytes are waited for."""
    made = connection(frame_bytes=1000)
    feed(made, packed_forward(bytes(2000))[:100])
    with pytest.raises(MalformedTraffic, match="more than 1000"):
        made.next_chunk()


def test_a_frame_that_stops_ends_the_connection():
    """A client that sends half a frame and nothing more would hold its place for ever; one that is silent may."""
    made = connection()
    made.check_stall(100.0, 60.0)
    feed(made, packed_forward(bytes(2000))[:100])
    assert made.next_chunk() is None
    made.check_stall(60.0, 60.0)
    with pytest.raises(MalformedTraffic, match="stops for 60 s"):
        made.check_stall(60.1, 60.0)


def test_a_connection_cut_off_finishes_its_chunk_and_takes_no_other():
    """Its sender has gone elsewhere, and sends the rest there."""
    made = connection()
    feed(made, packed_forward(b"one", "1") + packed_forward(b"two", "2"))
    assert made.next_chunk() is not None
    made.cut_off()
    assert made.chunk is not None
    made.finish_chunk()
    assert made.next_chunk() is None


def test_a_frame_that_trickles_ends_the_connection():
    """One byte a second is never silence, and would hold a place and a buffer for years."""
    made = connection()
    wire = packed_forward(bytes(200_000))
    for second in range(60):
        made.heard_s = float(second)
        feed(made, wire[second : second + 1])
        assert made.next_chunk() is None
        made.check_stall(float(second), 60.0)
    with pytest.raises(MalformedTraffic, match="too slowly"):
        made.check_stall(60.1, 60.0)


def test_a_slow_line_may_take_its_time():
    """What counts is the rate: a frame of megabytes over a thin line takes longer than any fixed time."""
    made = connection()
    wire = packed_forward(bytes(900_000))
    step = LEAST_BYTES_PER_S // 4
    for at in range(0, len(wire), step):
        now_s = 0.24 * at / step
        made.heard_s = now_s
        feed(made, wire[at : at + step])
        chunk = made.next_chunk()
        made.check_stall(now_s, 5.0)
    assert chunk is not None


def test_each_frame_has_its_own_time():
    """A connection lives for weeks, and the time of a frame begins with the frame."""
    made = connection()
    wire = packed_forward(bytes(2000))
    for number in range(1, 50):
        made.heard_s = 50.0 * number
        feed(made, wire[:100])
        assert made.next_chunk() is None
        made.check_stall(made.heard_s, 60.0)
        feed(made, wire[100:])
        assert made.next_chunk() is not None
        made.finish_chunk()


def test_heartbeats_are_no_reason_to_stay():
    """Who brings a chunk, or is about to, stays; who only says that he is there may have to go."""
    made = connection()
    assert not made.is_idle(IDLE_S - 0.1, IDLE_S)
    assert made.is_idle(IDLE_S, IDLE_S)
    made.heard_s = 5 * IDLE_S
    feed(made, b"\xc0" * 5000)
    assert made.next_chunk() is None
    assert made.is_idle(5 * IDLE_S, IDLE_S)
    feed(made, packed_forward(b"one"))
    assert made.next_chunk() is not None
    assert not made.is_idle(5 * IDLE_S, IDLE_S)
    made.finish_chunk()
    assert not made.is_idle(6 * IDLE_S - 0.1, IDLE_S)
    assert made.is_idle(6 * IDLE_S, IDLE_S)
    made.heard_s = 6 * IDLE_S
    feed(made, packed_forward(bytes(60_000))[:40_000])
    assert made.next_chunk() is None
    assert not made.is_idle(6 * IDLE_S + 1.0, IDLE_S)
    assert made.is_idle(6 * IDLE_S + 40_000 / LEAST_BYTES_PER_S + 0.1, IDLE_S)


def test_memory_is_given_back_between_frames():
    """Thousands of connections, each of which once brought something large, must not keep the room for it."""
    made = connection()
    assert len(made.inbox.memory) == 0
    for data in (packed_forward(bytes(500_000))[:50_000], packed_forward(bytes(500_000))[50_000:]):
        for at in range(0, len(data), 30_000):
            feed(made, data[at : at + 30_000])
    chunk = made.next_chunk()
    assert chunk is not None
    made.inbox.rest()
    assert bytes(chunk.entries) == bytes(500_000)
    made.finish_chunk()
    made.inbox.rest()
    assert made.held_bytes == len(made.inbox.memory) == 0
    feed(made, packed_forward(b"two"))
    again = made.next_chunk()
    assert again is not None
    assert bytes(again.entries) == b"two"
