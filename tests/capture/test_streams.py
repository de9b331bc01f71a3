"""Streams: the bytes that went in come out, packed or not, however cut; faults are told, never raised."""

import contextlib
import gzip
import os
import random
import threading
import tracemalloc
import zlib

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from capture.streams import Plain, Stop, Stream, unpacked


def zstd(data: bytes) -> bytes:
    packed: bytes = zstandard.ZstdCompressor().compress(data)
    return packed


PACKERS = {"plain": bytes, "gzip": gzip.compress, "zstd": zstd}
NOISE = random.Random(1).randbytes(150_000).hex().encode()  # packs to half its size


def stream_of(data: bytes) -> tuple[Stream, int]:
    """A stream over a regular file that holds the data; and its descriptor, for the caller to close."""
    fd = os.memfd_create("test")
    os.pwrite(fd, data, 0)
    return unpacked(Plain(fd, Stop())), fd


def everything(data: bytes, size: int = 65536) -> tuple[bytes, str | None]:
    """Read a stream to its end; return its bytes and its fault."""
    stream, fd = stream_of(data)
    out = []
    while piece := stream.read(size):
        assert len(piece) <= size or stream.fault is not None
        out.append(piece)
    assert stream.read(size) == b""
    os.close(fd)
    return b"".join(out), stream.fault


@pytest.mark.parametrize("kind", PACKERS)
@given(parts=st.lists(st.binary(min_size=5, max_size=3000), min_size=1, max_size=4), size=st.integers(1, 5000))
def test_what_was_packed_comes_out(kind, parts, size):
    """Also as several members or frames after each other, which `cat a.gz b.gz` and rotating writers make."""
    data = b"".join(PACKERS[kind](part) for part in parts)
    assert everything(data, size) == (b"".join(parts), None)


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_padding_and_skippable_frames_are_no_data(kind):
    """Tapes pad gzip with zeros; pzstd puts a frame of its own before every frame of data."""
    packed = PACKERS[kind](b"a" * 1000)
    skippable = bytes.fromhex("502a4d180400000011223344")
    data = {"gzip": packed + bytes(700) + packed, "zstd": skippable + packed + skippable + packed}
    assert everything(data[kind]) == (b"a" * 2000, None)


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
@given(cut=st.integers(5, 100_000))
def test_a_cut_packed_stream_gives_what_it_has(kind, cut):
    """A copy that was interrupted holds every block before the cut."""
    packed = PACKERS[kind](NOISE)
    out, fault = everything(packed[:cut])
    assert fault == f"the {kind} data ends early"
    assert NOISE.startswith(out)
    assert len(out) > cut - 131072 - 100  # zstd: all but the block that was cut
    if kind == "gzip":
        assert out == zlib.decompressobj(31).decompress(packed[:cut])


@settings(max_examples=8)
@given(at=st.integers(20, 250_000))
def test_damaged_gzip_gives_all_before_the_damage(at):
    """zlib throws away what it unpacked in the call that meets the fault; a file is worth more than that."""
    packed = bytearray(gzip.compress(NOISE, 1))
    at %= len(packed) - 30
    packed[at : at + 16] = b"\xff" * 16
    out, fault = everything(bytes(packed))
    assert fault is not None
    assert "gzip" in fault
    reference, member = bytearray(), zlib.decompressobj(31)
    with contextlib.suppress(zlib.error):
        for byte in packed:
            reference += member.decompress(bytes([byte]))
    assert out == reference


def test_a_wrong_checksum_costs_no_byte():
    """The checksum comes last: everything has been unpacked by then."""
    packed = bytearray(gzip.compress(NOISE))
    packed[-8] ^= 1
    out, fault = everything(bytes(packed))
    assert out == NOISE
    assert fault is not None
    assert "damaged" in fault


def test_damaged_zstd_gives_the_blocks_before():
    """As far as the library lets them out: the last one before the damage may go with it."""
    packed = bytearray(zstd(NOISE))
    at = zstandard.frame_header_size(bytes(packed))
    for _ in range(2):  # RFC 8878 3.1.1.2: 3 bytes before each block, with its size from bit 3 on
        at += 3 + (int.from_bytes(packed[at : at + 3], "little") >> 3)
    packed[at] |= 6  # a type of block that there is not
    out, fault = everything(bytes(packed))
    assert fault is not None
    assert "zstd data is damaged" in fault
    assert len(out) >= 131072
    assert NOISE.startswith(out)


def test_rubbish_after_gzip_is_told():
    """It may have been the rest of the capture."""
    out, fault = everything(gzip.compress(NOISE) + b"rubbish")
    assert out == NOISE
    assert fault is not None


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_a_bomb_takes_bounded_memory(kind):
    """A file of a few kilobytes that unpacks to hundreds of megabytes must not take the machine with it."""
    packed = PACKERS[kind](bytes(200 << 20))
    stream, fd = stream_of(packed)
    tracemalloc.start()
    try:
        size = 0
        while piece := stream.read(65536):
            size += len(piece)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    os.close(fd)
    assert size == 200 << 20
    assert most < (80 << 20 if kind == "zstd" else 1 << 20)


def test_a_pipe_gives_what_it_has_and_tells_whether_it_is_ready():
    """Frames that have arrived must not wait for those that have not."""
    reading, writing = os.pipe()
    stop = Stop()
    plain = Plain(reading, stop)
    assert not plain.ready()
    os.write(writing, b"abcdef")
    assert plain.ready()
    assert plain.peek(2) == b"ab"
    assert plain.ready(), "what was peeked at is still to be read"
    assert plain.read(100) == b"ab"
    assert plain.read(3) == b"cde"
    assert plain.read(3) == b"f"
    assert plain.position == 6
    os.close(writing)
    assert plain.read(3) == b""
    os.close(reading)
    stop.close()


def test_a_wish_to_stop_wakes_a_read():
    """SIGTERM has to end a run that waits for a silent standard input."""
    reading, writing = os.pipe()
    stop = Stop()
    timer = threading.Timer(0.1, stop.set)
    timer.start()
    assert Plain(reading, stop).read(10) == b""
    timer.join()
    assert stop.wished
    for fd in (reading, writing):
        os.close(fd)
    stop.close()
    stop.set()  # a late signal finds nothing to write to, and does no harm


def test_a_read_error_is_a_fault():
    """A disk that fails in mid-file: what was read is used, what happened is told."""
    fd = os.open("/", os.O_RDONLY)
    plain = Plain(fd, Stop())
    plain._waits = False
    assert plain.read(10) == b""
    assert plain.fault == "Is a directory"
    os.close(fd)


def test_whoever_is_about_to_wait_says_so_first_and_does_not_when_there_is_something():
    """What was gathered so far must not wait with him; to say it for every read would undo the gathering."""
    reading, writing = os.pipe()
    stop = Stop()
    said = []

    def before_waiting() -> None:
        said.append(len(said))
        os.write(writing, b"later")

    stop.before_waiting = before_waiting
    plain = Plain(reading, stop)
    os.write(writing, b"now")
    assert plain.read(100) == b"now"
    assert said == []
    assert plain.read(100) == b"later"
    assert said == [0]
    for fd in (reading, writing):
        os.close(fd)
    stop.close()
