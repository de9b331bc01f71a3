"""One input: read the quick way where libpcap can, and asked for as many frames as their size allows."""

import pytest
from packets_files import pcap, pcapng

from capture.inputs import FIRST_FRAMES, READ_BYTES, READ_FRAMES, Input
from capture.readers import FileReader, PieceReader
from capture.streams import Stop


def opened(path, wire):
    path.write_bytes(wire)
    source = Input(str(path), None, Stop())
    source.open()
    return source


@pytest.mark.parametrize(
    ("wire", "kind"),
    [
        (pcap([(0, b"x")]), FileReader),
        (pcap([(0, b"x")], order=">"), FileReader),
        (pcapng([(0, b"x")], nanoseconds=True), FileReader),
        (pcap([(0, b"x")], nanoseconds=True), PieceReader),
    ],
)
def test_libpcap_reads_plain_files_itself(tmp_path, wire, kind):
    """It is twice as fast; nanosecond pcap alone goes the other way, because libpcap would round it."""
    source = opened(tmp_path / "a", wire)
    assert type(source._reader) is kind
    chunk = source.read()
    assert chunk is not None
    assert chunk.frames == 1
    source.close()


@pytest.mark.parametrize(("size", "most"), [(60, READ_FRAMES), (65000, READ_BYTES // 65000)])
def test_the_size_of_frames_decides_how_many_are_asked_for(tmp_path, size, most):
    """Eight thousand frames of an offloading interface would be half a gigabyte at once."""
    source = opened(tmp_path / "a", pcap([(at, bytes(size)) for at in range(300)] * (30 if size < 100 else 1)))
    counts = []
    while (chunk := source.read()) is not None:
        counts.append(chunk.frames)
    assert counts[0] == FIRST_FRAMES
    assert max(counts[1:]) in range(most * 9 // 10, most + 1)


def test_a_parked_input_begins_anew(tmp_path):
    """Many files are looked into at the start, and read when their time comes."""
    source = opened(tmp_path / "a", pcap([(at, bytes([at])) for at in range(5)]))
    first = source.read(1)
    source.park()
    assert source.read_bytes == 0
    again = source.read()
    assert first is not None
    assert again is not None
    assert (first.data, again.data) == (b"\0", bytes(range(5)))
    assert source.read() is None
    assert source.cut is None


def test_progress_never_goes_back(tmp_path):
    """Reading a cut file again from its start is our affair, not the progress bar's."""
    wire = pcap([(at, bytes(1000)) for at in range(5000)])
    source = opened(tmp_path / "a", wire[:-1])
    seen = [0]
    while source.read() is not None:
        seen.append(source.read_bytes)
    assert seen == sorted(seen)
    assert source.read_bytes == len(wire) - 1
    assert source.cut is not None
