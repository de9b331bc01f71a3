"""Reading pcap files in blocks: every whole frame, in any byte order and unit, and not a byte behind a fault."""

import os
import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packets_files import Frame, pcap

from capture.pcapfile import Broken, PcapFile, is_readable


def frames_of(wire: bytes, most: int) -> list[tuple[int, bytes]]:
    """Read a file to its end, `most` frames at a time; times in nanoseconds."""
    fd = os.memfd_create("test")
    try:
        os.write(fd, wire)
        file = PcapFile(fd, wire[:24])
        out = []
        while (found := file.read(most)) is not None:
            block, metas = found
            assert len(metas) // 16 <= most
            for seconds, fraction, offset, length in struct.iter_unpack("=IIII", metas):
                out.append((seconds * 1_000_000_000 + fraction * file.unit_ns, block[offset : offset + length]))
        assert file.position == len(wire)
        return out
    finally:
        os.close(fd)


@given(
    st.lists(st.tuples(st.integers(0, 2**31), st.binary(max_size=300)), max_size=30),
    st.sampled_from("<>"),
    st.booleans(),
    st.integers(1, 40),
)
def test_every_frame_comes_out_as_it_was_written(made: list[Frame], order: str, nanoseconds: bool, most: int):
    """In order, whatever the byte order, the unit of time and how many are asked for."""
    unit = 1 if nanoseconds else 1000
    wire = pcap([(ts_ns // unit * unit, data) for ts_ns, data in made], order=order, nanoseconds=nanoseconds)
    assert is_readable(wire[:24])
    assert frames_of(wire, most) == [(ts_ns // unit * unit, data) for ts_ns, data in made]


def test_frames_at_the_edges_of_blocks_are_whole():
    """A record is cut by a block's end anywhere: in its header, in its bytes, or between two."""
    rng = random.Random(5)
    made = [(at, rng.randbytes(rng.choice((0, 1, 60, 1500, 262_144)))) for at in range(400)]
    wire = pcap(made, nanoseconds=True)
    assert len(wire) > 10 << 20
    assert frames_of(wire, 1000) == made


@pytest.mark.parametrize("cut", range(1, 17 + 5))
def test_a_file_cut_anywhere_gives_what_is_whole_and_then_says_where(cut: int):
    """What comes before a fault is delivered first."""
    wire = pcap([(0, b"first"), (1, b"other")])[:-cut]
    fd = os.memfd_create("test")
    os.write(fd, wire)
    file = PcapFile(fd, wire[:24])
    assert len((file.read(10) or (b"", b""))[1]) == 16
    if cut == 16 + 5:
        assert file.read(10) is None
    else:
        with pytest.raises(Broken, match=f"byte {24 + 16 + 5}"):
            file.read(10)
    os.close(fd)


def test_a_length_that_cannot_be_ends_the_reading():
    """libpcap refuses it too; a block would have to be as large as the file says."""
    wire = pcap([(0, b"first")]) + struct.pack("<IIII", 0, 0, 262_145, 262_145)
    fd = os.memfd_create("test")
    os.write(fd, wire)
    file = PcapFile(fd, wire[:24])
    assert file.read(10) is not None
    with pytest.raises(Broken, match="262145 bytes"):
        file.read(10)
    os.close(fd)


@pytest.mark.parametrize(
    "header",
    [
        b"",
        pcap([])[:23],
        bytes.fromhex("0a0d0d0a") + bytes(20),
        bytes.fromhex("34cdb2a1") + pcap([])[4:],
        pcap([])[:4] + struct.pack("<HH", 2, 3) + pcap([])[8:],
        pcap([])[:4] + struct.pack(">HH", 2, 4) + pcap([])[8:],
    ],
    ids=["empty", "short", "pcapng", "patched", "old", "mixed"],
)
def test_what_is_not_plain_pcap_is_left_to_libpcap(header: bytes):
    """Old versions exchange the lengths, patched ones have longer headers."""
    assert not is_readable(header)
    with pytest.raises(ValueError, match="not a pcap file"):
        PcapFile(0, header)
