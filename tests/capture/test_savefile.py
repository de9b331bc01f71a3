"""The cutter: however a capture file arrives, the pieces are its whole frames, and nothing else."""

import os
import struct
from itertools import pairwise

import pcapy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from packets_files import pcap, pcapng

from capture.bpf import Program
from capture.savefile import Cutter

NOW_NS = 1_700_000_000_123_456_000
FRAMES = [(NOW_NS + at * 1_234_000, bytes([at]) * (at * 7 % 90)) for at in range(60)]
WRITERS = {"pcap": pcap, "pcapng": pcapng}


def frames_of(piece: bytes, unit_ns: int) -> list[tuple[int, bytes]]:
    """Read a piece as the pipeline does, with libpcap."""
    fd = os.memfd_create("test")
    os.pwrite(fd, piece, 0)
    handle = pcapy.open_offline(f"/proc/self/fd/{fd}")
    data, meta = handle.next_batch(100_000)
    handle.close()
    os.close(fd)
    return [(s * 10**9 + f * unit_ns, data[at : at + size]) for s, f, at, size in struct.iter_unpack("=IIII", meta)]


def cut(parts: list[bytes], program: Program | None = None) -> tuple[list[tuple[int, bytes]], Cutter]:
    """Feed all parts, taking every piece as soon as it is there; return the frames and the cutter."""
    cutter, frames, started = Cutter(), [], False
    for part in parts:
        cutter.feed(part)
        if cutter.known and not started:
            started = True
            cutter.start(program)
        while cutter.frames:
            count = cutter.frames
            got = frames_of(cutter.take(), cutter.unit_ns)
            assert len(got) == count
            frames += got
    return frames, cutter


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", WRITERS)
@given(cuts=st.lists(st.integers(0, 9000), max_size=12))
def test_where_the_stream_is_cut_does_not_matter(kind, order, cuts):
    """A pipe gives any number of bytes at a time."""
    wire = WRITERS[kind](FRAMES, order=order)
    bounds = [0, *sorted(at for at in cuts if at < len(wire)), len(wire)]
    frames, cutter = cut([wire[a:b] for a, b in pairwise(bounds)])
    assert frames == FRAMES
    assert (cutter.left, cutter.broken) == (0, None)


@pytest.mark.parametrize("kind", WRITERS)
def test_byte_by_byte_gives_every_frame_at_its_last_byte(kind):
    """No frame waits for the one after it."""
    wire = WRITERS[kind](FRAMES)
    frames, _ = cut([wire[at : at + 1] for at in range(len(wire))])
    assert frames == FRAMES


@pytest.mark.parametrize("order", ["<", ">"])
def test_nanoseconds_of_pcap_are_kept(order):
    """Inter-arrival times of a modern capture are below a microsecond."""
    frames = [(NOW_NS + at * 7, b"x") for at in range(50)]
    got, cutter = cut([pcap(frames, order=order, nanoseconds=True)])
    assert cutter.unit_ns == 1
    assert got == frames


@pytest.mark.parametrize("kind", WRITERS)
@given(end=st.integers(30, 5000))
def test_a_cut_file_gives_every_whole_frame(kind, end):
    """The promise of DESIGN 3, for every byte at which a disk may have been full."""
    wire = WRITERS[kind](FRAMES)
    end %= len(wire)
    frames, cutter = cut([wire[:end]])
    whole = [count for count in range(len(FRAMES) + 1) if len(WRITERS[kind](FRAMES[:count])) <= end]
    assert frames == FRAMES[: max(whole, default=0)]
    assert cutter.position + cutter.left == end


@pytest.mark.parametrize(
    ("wire", "why"),
    [
        (b"not a capture file at all", "not a capture file"),
        (bytes(100), "not a capture file"),
        (
            pcap(FRAMES[:2])[:24] + struct.pack("<IIII", 0, 0, 262145, 262145),
            "record at byte 24 says that it has 262145",
        ),
        (pcapng(FRAMES[:1]) + struct.pack("<III", 6, 11, 0), "says that it has 11 bytes"),
        (pcapng(FRAMES[:1]) + struct.pack("<III", 6, 1 << 30, 0), "says that it has 1073741824 bytes"),
        (pcapng(FRAMES[:1]) + struct.pack("<IIII", 0x0A0D0D0A, 28, 0, 0), "has no byte order"),
        (pcapng([], link=1) + pcapng([], link=113), "has link type 113, the first one has 1"),
        (pcapng([])[:60] + struct.pack("<IIII", 6, 16, 0, 16), "comes before any interface"),
    ],
)
def test_what_cannot_be_is_named(wire, why):
    """The operator has to know what is wrong with the file, and where."""
    if "before any" in why:
        section = struct.unpack_from("<I", wire, 4)[0]
        wire = wire[:section] + struct.pack("<IIII", 6, 16, 0, 16)
    _, cutter = cut([wire])
    assert cutter.broken is not None
    assert why in cutter.broken
    position = cutter.position
    cutter.feed(b"more")
    assert cutter.position == position


@given(
    st.binary(max_size=400),
    st.sampled_from([pcap([]), pcap([], order=">"), pcapng([]), pcapng([], order=">"), b""]),
)
def test_garbage_never_raises(garbage, start):
    """Everything that parses bytes from a file is fuzzed."""
    cutter = Cutter()
    for part in (start, garbage):
        cutter.feed(part)
        if cutter.known:
            cutter.start(None)
    while cutter.frames:
        cutter.take()
    assert cutter.position <= len(start) + len(garbage)


def test_sections_after_each_other_change_byte_order():
    """`cat a.pcapng b.pcapng` is a valid file, whichever machines wrote the two."""
    wire = pcapng(FRAMES[:20]) + pcapng(FRAMES[20:40], order=">") + pcapng([]) + pcapng(FRAMES[40:])
    frames, cutter = cut([wire])
    assert frames == FRAMES
    assert cutter.broken is None


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", WRITERS)
def test_a_filter_leaves_out_what_it_refuses(kind, order):
    """It is applied here to streams, as libpcap does it for files."""
    program = Program(pcapy.compile(1, 262144, "ether[0] > 9 and ether[0] < 40", 1, 0).get_bpf())
    wire = WRITERS[kind](FRAMES, order=order)
    frames, _ = cut([wire[at : at + 100] for at in range(0, len(wire), 100)], program)
    assert frames == [frame for frame in FRAMES if frame[1] and 9 < frame[1][0] < 40]


@pytest.mark.parametrize("kind", WRITERS)
def test_what_is_filtered_out_does_not_pile_up(kind):
    """A stream of which nothing is wanted may run for weeks."""
    cutter = Cutter()
    wire = WRITERS[kind](FRAMES * 10)
    head = len(WRITERS[kind]([]))
    cutter.feed(wire[:head])
    cutter.start(Program([(6, 0, 0, 0)]))
    for _ in range(1000):
        cutter.feed(wire[head:])
        assert cutter.frames == 0
        assert cutter.left < 1000
    assert len(cutter.take()) < 1000


def test_the_patched_format_of_linux_is_read():
    """Kuznetzov's libpcap wrote longer record headers, and files of it are still about."""
    wire = struct.pack("<IHHiIII", 0xA1B2CD34, 2, 4, 0, 0, 65535, 1)
    for second in range(5):
        wire += struct.pack("<IIIIIHBB", second, 0, 3, 3, 1, 2048, 0, 0) + b"abc"
    frames, cutter = cut([wire + b"rest"])
    assert frames == [(second * 10**9, b"abc") for second in range(5)]
    assert cutter.left == 4


def test_ancient_files_have_their_lengths_the_other_way_round():
    """Before version 2.3 of the format; libpcap reads them, so the cutter must not misjudge them."""
    wire = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 2, 0, 0, 65535, 1) + struct.pack("<IIII", 1, 0, 9, 3) + b"abc"
    frames, cutter = cut([wire])
    assert frames == [(10**9, b"abc")]
    assert cutter.left == 0
