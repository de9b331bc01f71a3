"""Rare link types: every way in which 802.11 carries a packet gives that packet, anything else is refused."""

import shutil
import subprocess
import sys

import packets
import packets_dot11 as w
import pytest
from hypothesis import given
from hypothesis import strategies as st
from packets_files import pcap
from strategies import pick
from talks import CLIENT, SERVER, START_NS, Talk, assembled

from assemble.rare import RARE, strip
from capture.links import SUPPORTED

GET = b"GET / HTTP/1.1\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
V4 = packets.ip(packets.Tcp(data=GET))
V6 = packets.ip(packets.Tcp(src="2001:db8::1", dst="2001:db8::2", data=GET))
SNAP = w.snap(V4)

FRAMES = {
    "to the DS": w.dot11(SNAP),
    "from the DS": w.dot11(SNAP, flags=w.FROM_DS),
    "neither": w.dot11(SNAP, flags=0),
    "four addresses": w.dot11(SNAP, flags=w.TO_DS | w.FROM_DS),
    "QoS": w.dot11(SNAP, kind=w.QOS_DATA, qos=5),
    "QoS, four addresses": w.dot11(SNAP, kind=w.QOS_DATA, flags=w.TO_DS | w.FROM_DS),
    "HT control": w.dot11(SNAP, kind=w.QOS_DATA, flags=w.TO_DS | w.ORDER),
    "sent again": w.dot11(SNAP, flags=w.TO_DS | w.RETRY),
    "IPv6": w.dot11(w.snap(V6)),
    "with a check sequence": w.dot11(SNAP, check=True),
    "an A-MSDU of one": w.dot11(w.amsdu([SNAP]), kind=w.QOS_DATA, qos=0x80, check=True),
}
PREFIXED = {
    "none": (w.LINK_DOT11, FRAMES["to the DS"]),
    "radiotap": (w.LINK_RADIOTAP, w.radiotap(FRAMES["QoS"])),
    "radiotap, more words": (w.LINK_RADIOTAP, w.radiotap(FRAMES["QoS"], extended=True)),
    "radiotap, check sequence": (w.LINK_RADIOTAP, w.radiotap(w.dot11(SNAP, check=True), flags=w.FCS)),
    "radiotap, padded": (w.LINK_RADIOTAP, w.radiotap(w.dot11(SNAP, kind=w.QOS_DATA, padded=True), flags=w.PADDED)),
    "Prism": (w.LINK_PRISM, w.prism(FRAMES["QoS"])),
    "Prism, big-endian": (w.LINK_PRISM, w.prism(FRAMES["QoS"], order=">")),
    "AVS in place of Prism": (w.LINK_PRISM, w.avs(FRAMES["QoS"])),
    "AVS": (w.LINK_AVS, w.avs(FRAMES["QoS"])),
    "PPI": (w.LINK_PPI, w.ppi(FRAMES["QoS"])),
    "PPI, Ethernet": (w.LINK_PPI, w.ppi(packets.ethernet(V4, pad=False), link=1)),
}


def stripped(link: int, frame: bytes) -> list[bytes] | None:
    """Give the packets behind the Ethernet headers."""
    found = strip(link, frame)
    return None if found is None else [ethernet[14:] for ethernet in found]


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
def test_a_data_frame_gives_its_packet(frame):
    """Where the header ends depends on five bits."""
    [packet] = stripped(w.LINK_DOT11, frame) or []
    assert packet.removesuffix(frame[-4:]) in (V4, V6) or packet in (V4, V6)


@pytest.mark.parametrize(("link", "frame"), PREFIXED.values(), ids=PREFIXED)
def test_what_a_driver_puts_before_it_is_stepped_over(link, frame):
    """Each driver family has its own header, with its own byte order."""
    [packet] = stripped(link, frame) or []
    assert packet[: len(V4)] == V4


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
@pytest.mark.parametrize(
    ("link", "frame"),
    [*((w.LINK_RADIOTAP, w.radiotap(frame)) for name, frame in FRAMES.items() if not name.startswith(("with", "an"))),
     *(pair for name, pair in PREFIXED.items() if name not in ("none", "Prism, big-endian"))],
)  # fmt: skip
def test_the_builders_read_the_same_in_tshark(tmp_path, link, frame):
    """A builder that errs would hide what it tests."""
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap([(START_NS, frame)], link=link))
    fields = ["-T", "fields", "-e", "tcp.dstport", "-e", "tcp.len"]
    check = ["-o", "wlan.ignore_wep:No", "-o", "tcp.check_checksum:TRUE", "-Y", "tcp.checksum.status == 1"]
    ran = subprocess.run(["tshark", "-n", "-r", str(path), *check, *fields], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["80", str(len(GET))]


def test_an_aggregate_gives_all_its_packets_also_when_it_is_cut():
    """One frame on the air carries a burst of segments; each of them counts."""
    body = w.amsdu([w.snap(V4 + b"x" * extra) for extra in range(4)])
    frame = w.dot11(body, kind=w.QOS_DATA, qos=0x80, check=True)
    assert stripped(w.LINK_DOT11, frame) == [V4 + b"x" * extra for extra in range(4)]
    assert stripped(w.LINK_DOT11, frame[:-14]) == [V4, V4 + b"x", V4 + b"xx", (V4 + b"xxx")[:-10]]


@pytest.mark.parametrize(
    "frame",
    [
        w.dot11(SNAP, flags=w.TO_DS | w.PROTECTED),
        w.dot11(SNAP, flags=w.TO_DS | w.MORE_FRAGMENTS),
        w.dot11(SNAP, fragment=1),
        w.dot11(b"", kind=w.NULL_DATA),
        w.dot11(b"", kind=w.QOS_NULL),
        w.dot11(bytes(20), kind=w.BEACON),
        bytes([w.ACK, 0]) + bytes(8),
        w.dot11(b"\x42\x42\x03" + bytes(35)),
        w.dot11(w.snap(V4, oui=0x00000C)),
    ],
    ids=["encrypted", "first fragment", "last fragment", "null", "QoS null", "beacon", "acknowledgement",
         "spanning tree", "another vendor's"],
)  # fmt: skip
def test_a_frame_without_a_readable_packet_is_not_ip(frame):
    """A part of a packet would be taken for one that the snap length has cut, ciphertext for anything."""
    assert strip(w.LINK_DOT11, frame) == []
    assert assembled([(START_NS, frame)], link=w.LINK_DOT11).counters["refused_not_ip"] == 1


@pytest.mark.parametrize(
    ("link", "frame"),
    [
        (w.LINK_DOT11, b""),
        (w.LINK_DOT11, b"\x08"),
        (w.LINK_DOT11, FRAMES["QoS"][:25]),
        (w.LINK_DOT11, b"\x09" + FRAMES["to the DS"][1:]),
        (w.LINK_RADIOTAP, w.radiotap(FRAMES["QoS"], flags=w.BAD_FCS)),
        (w.LINK_RADIOTAP, b"\1" + w.radiotap(FRAMES["QoS"])[1:]),
        (w.LINK_RADIOTAP, b"\0\0\4\0" + bytes(60)),
        (w.LINK_RADIOTAP, b"\0\0\x0c\0" + b"\xff" * 60),
        (w.LINK_PRISM, w.prism(b"")[:140]),
        (w.LINK_AVS, b"\x80\x21\x10"),
        (w.LINK_PPI, w.ppi(b"", link=1)),
    ],
)
def test_a_malformed_frame_is_counted_and_nothing_is_raised(link, frame):
    """The air is full of damaged frames, and impacket answers with whatever exception comes first."""
    assert strip(link, frame) is None
    assert assembled([(START_NS, frame)], link=link).counters["refused_link_header"] == 1


@given(link=pick(*sorted(RARE)), frame=st.binary(max_size=200), name=pick(*PREFIXED), cut=st.integers(0, 300))
def test_no_frame_raises(link, frame, name, cut):
    """An exception here would end the run."""
    for given_link, given_frame in ((link, frame), (link, PREFIXED[name][1][:cut]), (link, FRAMES["QoS"][:cut])):
        found = strip(given_link, given_frame)
        assert found is None or all(found)


@given(cut=st.lists(st.integers(0, 3), min_size=1, max_size=8), kind=pick("single", "aggregate", "twice"))
def test_a_conversation_on_the_air_is_assembled_as_on_the_wire(cut, kind):
    """Radiotap is what a laptop in monitor mode writes."""
    talk = Talk().open().put(CLIENT, GET).put(SERVER, OK).close()
    wanted = assembled(talk.frames).messages
    msdus = [(ts_ns, w.snap(frame[14:])) for ts_ns, frame in talk.frames]
    if kind == "aggregate":
        bodies = [
            (msdus[at][0], [m for _, m in msdus[at : at + 1 + cut[0]]]) for at in range(0, len(msdus), 1 + cut[0])
        ]
        frames = [(t, w.dot11(w.amsdu(each), kind=w.QOS_DATA, qos=0x80)) for t, each in bodies]
    else:
        frames = [(t, w.dot11(m)) for t, m in msdus for _ in range(2 if kind == "twice" else 1)]
    got = assembled([(t, w.radiotap(frame)) for t, frame in frames], link=w.LINK_RADIOTAP).messages
    assert [(m.id, m.payload, m.complete) for m in got] == [(m.id, m.payload, m.complete) for m in wanted]


def test_the_link_types_are_those_that_capture_lets_pass():
    """A type that passes and is then unknown would be refused frame by frame, in silence."""
    assert set(SUPPORTED) >= RARE
    for link in RARE:
        assert assembled([(START_NS, b"\xff")], link=link).counters["refused_link_header"] == 1


def test_impacket_is_imported_at_the_first_such_frame_only():
    """It takes a quarter of a second and megabytes, and most runs never need it."""
    code = """if True:
        import sys
        import pipeline.cli, assemble, assemble.process, capture.process, emit.worker
        stream = assemble.MessageStream()
        stream.feed([(0, bytes(60))])
        assert not any(name.split(".")[0] == "impacket" for name in sys.modules)
        stream.feed([(0, bytes(60))], 105)
        assert "impacket.dot11" in sys.modules
    """
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
