"""Sources: whatever a file is packed in, its frames come out; whatever is wrong with it, the whole ones do.
do.
"""

import gzip
import os
import random
import struct
import subprocess
import threading

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from packets_files import pcap, pcapng

from capture import inputs
from capture.errors import ConfigError, SourceError
from capture.frames import Merger
from capture.ring import Consumer, Producer, Ring
from capture.sources import FrameSource, expand
from tests.capture.batches import Got, pairs, read, unpack, unpack_all

NOW_NS = 1_700_000_000_123_456_000
CHANCE = random.Random(1)
FRAMES = [(NOW_NS + at * 1_234_000, CHANCE.randbytes(CHANCE.randrange(20, 1500))) for at in range(3000)]
WRITERS = {"pcap": pcap, "pcapng": pcapng}


def zstd(data: bytes) -> bytes:
    packed: bytes = zstandard.ZstdCompressor().compress(data)
    return packed


PACKERS = {"plain": bytes, "gzip": gzip.compress, "zstd": zstd}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("nanoseconds", [False, True])
@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("writer", WRITERS)
def test_every_kind_of_file_gives_its_frames(tmp_path, writer, packer, nanoseconds, order):
    """The same capture is kept as .pcap, .pcapng.gz or .zst in different places, by different machines."""
    path = tmp_path / "a.bin"  # the name says nothing, the content does
    path.write_bytes(PACKERS[packer](WRITERS[writer](FRAMES, nanoseconds=nanoseconds, order=order)))
    frames, warnings, counters = read(path)
    assert pairs(frames) == FRAMES
    assert {(frame.link, frame.source) for frame in frames} == {(1, 0)}
    assert warnings == []
    assert counters["bytes_read"] == counters["bytes_total"] == path.stat().st_size


@pytest.mark.parametrize("packer", PACKERS)
def test_nanoseconds_are_kept_in_pcap(tmp_path, packer):
    """libpcap asked for microseconds divides; the trick of the cutter gets round that."""
    given_frames = [(NOW_NS + at * 7, bytes([at])) for at in range(100)]
    path = tmp_path / "a.pcap"
    path.write_bytes(PACKERS[packer](pcap(given_frames, nanoseconds=True)))
    assert pairs(read(path)[0]) == given_frames


@settings(max_examples=25)
@given(
    cut=st.integers(0, 10**9),
    writer=st.sampled_from(list(WRITERS)),
    packer=st.sampled_from(["plain", "gzip"]),
)
def test_a_file_cut_anywhere_gives_every_whole_frame_and_one_warning(tmp_path_factory, cut, writer, packer):
    """The promise of DESIGN 3: not an exception, not a lost batch."""
    some = FRAMES[:300]
    wire = WRITERS[writer](some)
    head = len(WRITERS[writer]([]))
    cut = head + 1 + cut % (len(wire) - head - 1)
    whole = max(count for count in range(len(some) + 1) if len(WRITERS[writer](some[:count])) <= cut)
    path = tmp_path_factory.mktemp("cut") / "a.pcap"
    path.write_bytes(PACKERS[packer](wire[:cut]))
    frames, warnings, _ = read(path)
    assert pairs(frames) == some[:whole]
    clean = len(WRITERS[writer](some[:whole])) == cut
    assert len(warnings) == (0 if clean else 1)
    if not clean:
        assert warnings[0].startswith(f"{path}: ends in the middle of a record")
        assert f"the {whole} frames before that were read" in warnings[0]


@pytest.mark.parametrize("packer", ["gzip", "zstd"])
def test_a_cut_packed_file_gives_what_can_be_unpacked(tmp_path, packer):
    """A copy that was interrupted, an archive that was cut: most of it is there."""
    packed = PACKERS[packer](pcap(FRAMES))
    path = tmp_path / "a.pcap"
    path.write_bytes(packed[: len(packed) * 2 // 3])
    frames, (warning,), counters = read(path)
    assert pairs(frames) == FRAMES[: len(frames)]
    assert len(frames) > len(FRAMES) // 2
    assert f"the {packer} data ends early" in warning
    assert counters["files_cut"] == 1


@pytest.mark.parametrize("packer", PACKERS)
def test_a_bogus_record_ends_the_file_there(tmp_path, packer):
    """A disk that lost a block; libpcap would throw away up to thousands of frames before it."""
    wire = pcap(FRAMES[:2500]) + struct.pack("<IIII", 1, 1, 1 << 31, 1 << 31) + pcap(FRAMES[2500:])[24:]
    path = tmp_path / "a.pcap"
    path.write_bytes(PACKERS[packer](wire))
    frames, (warning,), _ = read(path)
    assert pairs(frames) == FRAMES[:2500]
    assert "says that it has 2147483648 bytes; the 2500 frames before that were read" in warning


@pytest.mark.parametrize("packer", PACKERS)
def test_a_block_that_only_libpcap_finds_wrong_ends_the_file_there(tmp_path, packer):
    """The cutter looks at lengths only; what lies inside a block is libpcap's to judge, frame by frame."""
    bad = struct.pack("<IIIIIIII", 6, 32, 77, 0, 0, 0, 0, 32)  # of an interface that there is not
    wire = pcapng(FRAMES[:2500]) + bad + pcapng(FRAMES[2500:])[len(pcapng([])) :]
    path = tmp_path / "a.pcapng"
    path.write_bytes(PACKERS[packer](wire))
    frames, (warning,), _ = read(path)
    assert pairs(frames) == FRAMES[:2500]
    assert "the 2500 frames before that were read" in warning


@pytest.mark.parametrize("packer", PACKERS)
def test_a_change_of_link_type_ends_the_file_there(tmp_path, packer):
    """One handle of libpcap has one link type; the frames before the change are whole."""
    path = tmp_path / "a.pcapng"
    path.write_bytes(PACKERS[packer](pcapng(FRAMES[:2000]) + pcapng(FRAMES[2000:], link=113)))
    frames, (warning,), _ = read(path)
    assert pairs(frames) == FRAMES[:2000]
    assert "link type 113" in warning


def test_files_are_merged_by_time(tmp_path):
    """Captures of two interfaces of one machine, or of two machines, belong together."""
    chance = random.Random(2)
    parts: list[list[tuple[int, bytes]]] = [[], [], []]
    for frame in FRAMES:
        parts[chance.randrange(3)].append(frame)
    for number, (part, link) in enumerate(zip(parts, (1, 113, 101), strict=True)):
        (tmp_path / f"{number}.pcap").write_bytes(pcap(part, link=link))
    frames, _, counters = read(*expand(str(tmp_path / "*.pcap")))
    assert pairs(frames) == FRAMES
    assert {(frame.source, frame.link) for frame in frames} == {(0, 1), (1, 113), (2, 101)}
    assert counters["bytes_read"] == counters["bytes_total"]


def test_a_files_own_order_is_kept_when_merging(tmp_path):
    """Packets of one interface may be stamped out of order; how they lie in the file is how they came."""
    first = [(5_000, b"a"), (1_000, b"b"), (9_000, b"c")]
    second = [(2_000, b"d"), (5_000, b"e"), (5_000, b"f")]
    (tmp_path / "1").write_bytes(pcap(first))
    (tmp_path / "2").write_bytes(pcap(second))
    frames, _, _ = read(tmp_path / "1", tmp_path / "2")
    assert b"".join(frame.data for frame in frames) == b"dabefc"


def test_files_that_follow_each_other_are_open_one_at_a_time(tmp_path, monkeypatch):
    """Rotated captures come by the thousand, descriptors do not."""
    size = 100
    for number in range(30):
        (tmp_path / f"{number:02}.pcap").write_bytes(pcap(FRAMES[number * size : (number + 1) * size]))
    most = 0
    real = inputs.Input.read

    def counting(self: inputs.Input, *args: int) -> object:
        nonlocal most
        most = max(most, len(os.listdir("/proc/self/fd")))
        return real(self, *args)

    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(inputs.Input, "read", counting)
    frames, _, _ = read(*expand(str(tmp_path / "*")))
    assert pairs(frames) == FRAMES
    assert most <= before + 8


def test_empty_captures_are_no_error(tmp_path):
    """A quiet hour is a file with a header and nothing else."""
    for number, wire in enumerate(
        (pcap([]), pcapng([]), pcap(FRAMES[:2]), gzip.compress(pcap([])), pcap([])[:24] + b"x")
    ):
        (tmp_path / f"{number}").write_bytes(wire)
    frames, warnings, _ = read(*expand(str(tmp_path / "*")))
    assert pairs(frames) == FRAMES[:2]
    assert len(warnings) == 1
    assert read(tmp_path / "0")[0] == []


def bad_files(folder):
    """Write one file of each kind that cannot be read; return paths and what has to be said."""
    (folder / "empty").write_bytes(b"")
    (folder / "empty.gz").write_bytes(gzip.compress(b""))
    (folder / "text").write_bytes(b"this is no capture at all, but some text")
    (folder / "text.gz").write_bytes(gzip.compress(b"this is no capture at all, but some text"))
    (folder / "short").write_bytes(pcap([])[:20])
    (folder / "short.gz").write_bytes(gzip.compress(pcap([])[:20]))
    (folder / "zigbee").write_bytes(pcap(FRAMES[:1], link=195))
    (folder / "zigbee.gz").write_bytes(gzip.compress(pcapng(FRAMES[:1], link=195)))
    (folder / "broken.gz").write_bytes(gzip.compress(pcap(FRAMES))[:6] + b"garbage, not packed")
    (folder / "folder").mkdir()
    return {
        "empty": "is empty",
        "empty.gz": "is empty",
        "text": "not a capture file",
        "text.gz": "not a capture file",
        "short": "file header",
        "short.gz": "cut in its first bytes",
        "zigbee": r"cannot decode link type 195 \(IEEE802_15_4_WITHFCS\), only .*ETHERNET",
        "zigbee.gz": r"cannot decode link type 195 \(IEEE802_15_4_WITHFCS\), only .*ETHERNET",
        "broken.gz": "gzip data",
        "folder": "is a directory; write .*pcap",
        "missing": "no such file",
    }


def test_a_file_that_cannot_be_read_is_named_in_one_line(tmp_path):
    """Before anything runs, also when it is the last of many."""
    (tmp_path / "good").write_bytes(pcap(FRAMES[:5]))
    for name, why in bad_files(tmp_path).items():
        for paths in ([tmp_path / name], [tmp_path / "good", tmp_path / name]):
            with pytest.raises(SourceError, match=rf"^{tmp_path / name}: .*{why}") as caught:
                FrameSource([str(path) for path in paths])
            assert "\n" not in str(caught.value)
            assert "/proc/" not in str(caught.value)


def test_a_file_that_cannot_be_opened_or_read_is_named(tmp_path):
    """As above, for errors of the system; these are ones that root meets too."""
    with pytest.raises(SourceError, match=r"^/proc/self/mem: Input/output error$"):
        FrameSource(["/proc/self/mem"])
    with pytest.raises(SourceError, match="cannot be opened"):
        FrameSource([str(tmp_path / "a\0b")])


def test_failing_leaves_no_descriptor(tmp_path):
    """The library may try many files."""
    (tmp_path / "good").write_bytes(pcap(FRAMES[:5]))
    names = bad_files(tmp_path)
    before = len(os.listdir("/proc/self/fd"))
    for name in names:
        with pytest.raises(SourceError):
            FrameSource([str(tmp_path / "good"), str(tmp_path / name)])
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_file_that_goes_away_in_mid_run_costs_only_itself(tmp_path):
    """What came before it is delivered, then the error."""
    (tmp_path / "1").write_bytes(pcap(FRAMES[:100]))
    (tmp_path / "2").write_bytes(pcap(FRAMES[100:]))
    with FrameSource([str(tmp_path / "1"), str(tmp_path / "2")]) as source:
        (tmp_path / "2").unlink()
        payloads = source.payloads()
        assert pairs(unpack(next(payloads))[1]) == FRAMES[:100]
        with pytest.raises(SourceError, match="2: no such file"):
            next(payloads)


@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("writer", WRITERS)
def test_a_filter_chooses_frames(tmp_path, writer, packer):
    """The same frames, whether libpcap applies it or we do."""
    path = tmp_path / "a.pcap"
    path.write_bytes(PACKERS[packer](WRITERS[writer](FRAMES)))
    frames, _, _ = read(path, bpf="ether[0] >= 128 and greater 700")
    assert pairs(frames) == [frame for frame in FRAMES if frame[1][0] >= 128 and len(frame[1]) >= 700]


def test_a_filter_and_a_cut_go_together(tmp_path):
    """Going back after libpcap's error counts frames behind the filter, not in the file."""
    wire = pcap(FRAMES)
    path = tmp_path / "a.pcap"
    path.write_bytes(wire[:-10])
    frames, (warning,), _ = read(path, bpf="ether[0] < 128")
    expected = [frame for frame in FRAMES[:-1] if frame[1][0] < 128]
    assert pairs(frames) == expected
    assert f"the {len(expected)} frames before" in warning


@pytest.mark.parametrize("packer", PACKERS)
def test_a_bad_filter_is_an_error_that_quotes_libpcap(tmp_path, packer):
    """The operator's move: exit code 2, and the words that search engines know."""
    path = tmp_path / "a.pcap"
    path.write_bytes(PACKERS[packer](pcap(FRAMES[:3])))
    with pytest.raises(ConfigError, match=r"'tcp prt 80' cannot be used .*syntax error"):
        FrameSource([str(path)], bpf="tcp prt 80")
    with pytest.raises(ConfigError, match="cannot be used"):
        FrameSource([str(path)], bpf="tcp\0port")


def test_expand_sorts_patterns_and_keeps_lists(tmp_path):
    """The order decides ties in time, so it has to be the same everywhere."""
    for name in ("b.pcap", "a.pcap", "c[1].pcap", "d.txt"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "e.pcap").mkdir()
    a, b, c = (str(tmp_path / name) for name in ("a.pcap", "b.pcap", "c[1].pcap"))
    assert expand(str(tmp_path / "*.pcap")) == (a, b, c)
    assert expand([b, str(tmp_path / "*.pcap"), "-"]) == (b, a, c, "-")
    assert expand(c) == (c,), "a file with such a name is meant as it is"
    assert expand("-") == ("-",)


@pytest.mark.parametrize(
    ("path", "why"),
    [("x.pcap", "x.pcap: no such file"), ("x*.pcap", "no file matches"), ([], "no input"), ([""], "no such")],
)
def test_expand_names_what_is_missing(tmp_path, monkeypatch, path, why):
    """Before any process is started."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match=why):
        expand(path)


@pytest.mark.parametrize("packer", PACKERS)
def test_standard_input_is_read_as_it_comes(packer):
    """`tcpdump -U -w - | pipeline run`: what has been written is delivered before more is written."""
    reading, writing = os.pipe()
    if packer == "gzip":
        import zlib

        squeezer = zlib.compressobj(wbits=31)
        pack = lambda data: squeezer.compress(data) + squeezer.flush(zlib.Z_SYNC_FLUSH)  # noqa: E731
    elif packer == "zstd":
        chunker = zstandard.ZstdCompressor().compressobj()
        pack = lambda data: chunker.compress(data) + chunker.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)  # noqa: E731
    else:
        pack = bytes
    wire = pcap(FRAMES[:10])
    os.write(writing, pack(wire[:30]))
    with FrameSource(["-"], stdin_fd=reading) as source:
        payloads = source.payloads()
        done, at = [], 30
        for count in (1, 3, 10):
            end = len(pcap(FRAMES[:count]))
            os.write(writing, pack(wire[at:end]))
            at = end
            while len(done) < count:
                first, got = unpack(next(payloads))
                assert first == len(done) + 1
                done += got
            assert pairs(done) == FRAMES[:count]
        os.close(writing)
        assert list(payloads) == []
    assert len(source.warnings) == (0 if packer == "plain" else 1)
    os.close(reading)


def test_a_big_standard_input_is_read_whole():
    """More than any pipe holds, with the writer ahead or behind at will."""
    wire = pcap(FRAMES * 3)
    reading, writing = os.pipe()
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=writing) as cat:
        os.close(writing)
        assert cat.stdin is not None
        thread = threading.Thread(target=lambda: (cat.stdin.write(wire), cat.stdin.close()))
        thread.start()
        frames, warnings, counters = read("-", stdin_fd=reading)
        thread.join()
    os.close(reading)
    assert pairs(frames) == FRAMES * 3
    assert warnings == []
    assert (counters["bytes_read"], counters["bytes_total"]) == (len(wire), 0)


def test_a_named_pipe_may_be_opened_before_its_writer(tmp_path):
    """Two programs started by one script come up in any order."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    thread = threading.Thread(target=lambda: path.write_bytes(pcap(FRAMES)))
    thread.start()
    frames, _, _ = read(path)
    thread.join()
    assert pairs(frames) == FRAMES


def test_standard_input_and_files_are_merged(tmp_path):
    """A stream has no first frame until someone writes one; the files wait for it."""
    (tmp_path / "a").write_bytes(pcap(FRAMES[::2]))
    reading, writing = os.pipe()
    thread = threading.Thread(target=lambda: (os.write(writing, pcap(FRAMES[1:40:2])), os.close(writing)))
    thread.start()
    frames, _, _ = read(tmp_path / "a", "-", stdin_fd=reading)
    thread.join()
    os.close(reading)
    assert pairs(frames) == sorted([*FRAMES[::2], *FRAMES[1:40:2]])


@settings(max_examples=12)
@given(st.integers(1, 3000), st.integers(1, 300_000), st.sampled_from([5000, 70_000, 1 << 20]))
def test_ring_and_library_give_the_same_frames_at_any_batch_size(tmp_path_factory, batch_frames, batch_bytes, capacity):
    """How frames are packed into batches is nobody's business but the machine's."""
    path = tmp_path_factory.mktemp("ring") / "a.pcap"
    path.write_bytes(pcap(FRAMES[:500]))
    ring = Ring.create(capacity)
    producer, consumer = Producer(ring), Consumer(ring)
    position, payloads = 0, []
    with FrameSource([str(path)], batch_frames=batch_frames, batch_bytes=batch_bytes) as source:
        while source.fill(producer):
            record = consumer.read(position)
            assert record is not None
            payloads.append(bytes(record[1]))
            position = record[2]
            consumer.release(position)
        assert source.counters["batches"] == len(payloads)
    assert pairs(unpack_all(payloads)) == FRAMES[:500]


def test_a_frame_that_no_ring_record_holds_is_counted(tmp_path):
    """At a tiny ring size: not a crash, not a silent loss."""
    frames = [(1000, bytes(100)), (2000, bytes(3000)), (3000, bytes(50))]
    (tmp_path / "a").write_bytes(pcap(frames))
    ring = Ring.create(4096)
    with FrameSource([str(tmp_path / "a")]) as source:
        while source.fill(Producer(ring)):
            pass
        counters = source.counters.as_dict()
    assert (counters["frames_captured"], counters["bytes_captured"]) == (3, 3150)
    assert (counters["frames_dropped_ring"], counters["bytes_dropped_ring"]) == (1, 3000)
    consumer = Consumer(ring)
    first = consumer.read(0)
    assert first is not None
    second = consumer.read(first[2])
    assert second is not None
    assert (unpack(first[1])[0], unpack(second[1])[0]) == (1, 3)


def test_stopping_delivers_what_was_read_and_is_no_cut(tmp_path):
    """Ctrl-C is not a fault of the file."""
    (tmp_path / "a").write_bytes(pcap(FRAMES * 5))
    with FrameSource([str(tmp_path / "a")], batch_frames=10) as source:
        payloads = source.payloads()
        frames = unpack_all([next(payloads)])
        source.stop()
        for payload in payloads:
            frames += unpack(payload)[1]
        counters = source.counters.as_dict()
    assert pairs(frames) == (FRAMES * 5)[: len(frames)]
    assert 10 < len(frames) < len(FRAMES) * 5
    assert counters["frames_captured"] == len(frames)
    assert (counters["files_read"], counters["files_cut"], source.warnings) == (0, 0, [])


def test_a_merger_gives_way_to_a_waiting_stream():
    """A batch that holds frames is not kept back while a stream is silent."""
    reading, writing = os.pipe()
    os.write(writing, pcap(FRAMES[:1]))
    with FrameSource(["-"], stdin_fd=reading, batch_frames=1000) as source:
        assert unpack(next(source.payloads()))[1] == [Got(*FRAMES[0], 1, 0)]
    for fd in (reading, writing):
        os.close(fd)
    assert isinstance(source._merger, Merger)
