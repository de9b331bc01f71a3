"""One connection's bytes: cut anywhere, bounded, and given back in frames."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capture.errors import MalformedTraffic
from emit.connection import Connection
from emit.joining import Budget, Joiner
from tests.emit.builders import packed_forward

LIMIT = 1 << 20


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
