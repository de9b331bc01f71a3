"""The two ways through libpcap: the direct one fails fast, the one in pieces goes as far as there are whole
frames.
"""

import os

import pcapy
import pytest
from packets_files import pcap

from capture.readers import META_BYTES, PIECE_BYTES, FileReader, PieceReader
from capture.streams import Plain, Stop

FRAMES = [(at * 1000, at.to_bytes(2, "big") * 200) for at in range(2000)]


@pytest.fixture
def memory():
    """A file in memory."""
    fd = os.memfd_create("test")
    yield fd
    os.close(fd)


def pieces(fd: int, skip: int = 0) -> PieceReader:
    """Read a file in pieces, from its beginning."""
    os.lseek(fd, 0, os.SEEK_SET)
    return PieceReader(Plain(fd, Stop()), "a.pcap", None, Stop(), skip)


def drain(reader: FileReader | PieceReader, count: int) -> list[bytes]:
    """Read to the end; return the frames."""
    frames = []
    while (chunk := reader.read(count)) is not None:
        for at in range(chunk.skip, chunk.skip + chunk.frames):
            start, size = (int.from_bytes(chunk.meta[at * META_BYTES + o :][:4], "little") for o in (8, 12))
            frames.append(chunk.data[start : start + size])
    reader.close()
    return frames


@pytest.mark.parametrize("count", [1, 7, 100_000])
@pytest.mark.parametrize("skip", [0, 1, 700, 1999, 2000])
def test_skipping_leaves_out_exactly_so_many_frames(memory, skip, count):
    """One too few repeats a frame, one too many loses it."""
    os.write(memory, pcap(FRAMES))
    assert os.fstat(memory).st_size > 3 * PIECE_BYTES
    assert drain(pieces(memory, skip), count) == [data for _, data in FRAMES[skip:]]


def test_frames_that_libpcap_keeps_to_itself_are_missed(memory, monkeypatch):
    """pcapy-ng drops frames without a word when it gets no memory; we know how many there have to be."""
    os.write(memory, pcap(FRAMES[:10]))
    reader = pieces(memory)
    monkeypatch.setattr(reader, "_store", lambda piece: PieceReader._store(reader, piece[: -(400 + 16)]))
    assert len(drain(reader, 100)) == 9
    assert reader.fault == "libpcap gave 9 frames of 10"


def test_both_ways_give_the_same(memory):
    """The direct way is a short cut, nothing more."""
    os.write(memory, pcap(FRAMES))
    assert drain(FileReader(memory, "a.pcap", None), 100) == drain(pieces(memory), 100)


def test_the_direct_way_raises_at_a_fault(memory):
    """Why there is another way: the frames of the batch are gone then."""
    os.write(memory, pcap(FRAMES)[:-1])
    reader = FileReader(memory, "a.pcap", None)
    assert reader.read(1500) is not None
    with pytest.raises(pcapy.PcapError):
        reader.read(1500)
    assert reader.frames == 1500
    reader.close()


def test_memory_does_not_grow_with_the_filtered_stream():
    """pcapy-ng's setfilter leaks its program; thousands of pieces would be thousands of leaks."""
    reading, writing = os.pipe()
    os.write(writing, pcap([]))
    reader = PieceReader(
        Plain(reading, Stop()), "a.pcap", "ether[0] = 0 and " + " and ".join(["not port 9"] * 50), Stop()
    )
    frame = pcap([(0, bytes(60))])[24:]
    peaks = []
    for _ in range(3):
        for _ in range(700):
            os.write(writing, frame)
            chunk = reader.read(100)
            assert chunk is not None
        peaks.append(resident_bytes())
    assert peaks[2] - peaks[0] < 300_000
    reader.close()
    for fd in (reading, writing):
        os.close(fd)


def resident_bytes() -> int:
    """Memory that this process has in use (proc(5), statm)."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
