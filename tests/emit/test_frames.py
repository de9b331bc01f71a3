"""Finding frames in bytes as they arrive."""

from itertools import pairwise

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from capture.errors import MalformedTraffic
from emit.frames import FrameScanner, count_nils, split_body

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.binary(max_size=40)
    | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
frames = st.lists(plain, min_size=2, max_size=4) | st.none()


@given(st.lists(frames, min_size=1, max_size=4), st.data())
def test_frames_are_found_however_the_bytes_are_cut(objects: list[object], data: st.DataObject):
    """Where TCP happens to cut is the network's business."""
    packed = [msgpack.packb(each) for each in objects]
    wire = b"".join(packed)
    cuts = [*sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=12))), len(wire)]
    scanner = FrameScanner(1 << 20)
    found, start = [], 0
    for cut in cuts:
        while (offsets := scanner.scan(wire[start:cut])) is not None:
            found.append(wire[start : start + offsets[-1]])
            spans = [wire[start + a : start + b] for a, b in pairwise(offsets)]
            elements = msgpack.unpackb(found[-1]) or []
            assert [msgpack.packb(element) for element in elements] == spans
            start += offsets[-1]
            scanner.reset()
    assert found == packed


@given(st.binary(max_size=200))
def test_garbage_is_refused_or_waited_for(raw: bytes):
    """Bytes of strangers: never anything but an offset inside them, None, or MalformedTraffic."""
    scanner = FrameScanner(100)
    try:
        offsets = scanner.scan(raw)
    except MalformedTraffic:
        return
    assert offsets is None or list(offsets) == sorted(offsets)
    assert offsets is None or offsets[-1] <= min(len(raw), 100)


@pytest.mark.parametrize(
    "head",
    [
        b"\x92\xa1t\xc6\xff\xff\xff\xff",  # bin32 of 4 GiB
        b"\x92\xa1t\xdd\xff\xff\xff\xff",  # array32 of 4 G elements
        b"\x92\xa1t\xdf\xff\xff\xff\xff",  # map32
        b"\x92\xa1t\xc9\xff\xff\xff\xff\x00",  # ext32
    ],
)
def test_sizes_over_the_limit_are_refused_at_their_head(head: bytes):
    """Waiting for 4 GiB that somebody has announced is how memory is lost."""
    with pytest.raises(MalformedTraffic, match="more than 1000 bytes"):
        FrameScanner(1000).scan(head)


@pytest.mark.parametrize(
    "start", [b"\x91\x01", b"\x95", b"\x81", b"\x01", b"GET / HTTP/1.1\r\n", b"\x16\x03\x01", b"\xc1"]
)
def test_other_protocols_are_refused_at_their_first_byte(start: bytes):
    """HTTP, TLS and msgpack that is not Forward must not be waited for."""
    with pytest.raises(MalformedTraffic, match="not a Forward frame"):
        FrameScanner(1000).scan(start)


def test_deep_nesting_needs_no_stack():
    """A thousand brackets in a thousand bytes are as good as any other thousand bytes."""
    wire = b"\x92" + b"\x91" * 100_000 + b"\x01\x02"
    assert FrameScanner(1 << 20).scan(wire) == (1, 100_002, 100_003)


def test_each_byte_is_looked_at_once():
    """A frame in many pieces must not cost the square of its length: the time is that of one pass."""
    wire = msgpack.packb(["tag", [[1, {"k": i}] for i in range(20_000)]])
    scanner = FrameScanner(1 << 20)
    view = memoryview(wire)
    for end in range(1, len(wire), 7):
        assert scanner.scan(view[:end]) is None
    assert scanner.scan(view) is not None


def test_the_second_element_tells_the_mode():
    """The four modes differ in nothing else."""
    assert split_body(msgpack.packb(b"abc")) == ("packed", 2)
    assert split_body(msgpack.packb("abc")) == ("packed", 1)
    assert split_body(msgpack.packb([1, 2])) == ("forward", 1)
    assert split_body(msgpack.packb(1_700_000_000)) == ("message", 5)
    assert split_body(msgpack.packb(msgpack.ExtType(0, bytes(8))))[0] == "message"


@given(st.integers(0, 300), st.binary(max_size=3))
def test_heartbeats_in_a_row_are_passed_over_at_once(count: int, rest: bytes):
    """A million of them in Python, one by one, would keep everybody else waiting."""
    data = b"\xc0" * count + rest
    assert count_nils(data) == len(data) - len(data.lstrip(b"\xc0"))
