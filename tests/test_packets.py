"""The packet builders, held against impacket and tshark: a builder that errs would hide what it tests."""

import shutil
import subprocess
from ipaddress import ip_address
from pathlib import Path

import packets as p
import pytest
from hypothesis import given
from hypothesis import strategies as st
from impacket import ImpactDecoder
from packets_files import Frame, pcap, pcapng

V4 = p.Tcp(
    seq=0xFFFFFFF0,
    ack=7,
    flags=p.ACK | p.PSH,
    data=b"GET / HTTP/1.1\r\n\r\n",
    options=bytes.fromhex("0101080a0000000100000002"),
)
V6 = p.Tcp(
    src="2001:db8::1",
    dst="2001:db8::2",
    seq=5,
    ack=6,
    flags=p.FIN | p.ACK,
    data=b"abc",
    options=b"\x02\x04\x05\xb4",
)

tshark = shutil.which("tshark")
needs_tshark = pytest.mark.skipif(tshark is None, reason="tshark is not installed")


def dissect(tmp_path: Path, file: bytes, *fields: str) -> list[list[str]]:
    """Give the values of these fields per frame as tshark reads them, checksums verified."""
    path = tmp_path / "case.pcap"
    path.write_bytes(file)
    wanted = [part for field in fields for part in ("-e", field)]
    check = ["-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE"]
    ran = subprocess.run(
        [str(tshark), "-n", "-r", str(path), "-T", "fields", "-E", "separator=|", *check, *wanted],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [line.split("|") for line in ran.stdout.splitlines()]


@given(
    sport=st.integers(0, 65535),
    seq=st.integers(0, 2**32 - 1),
    ack=st.integers(0, 2**32 - 1),
    flags=st.integers(0, 255),
    data=st.binary(max_size=100),
    tcp_options=st.binary(max_size=40).map(lambda b: b"\1" * len(b)),
    ip_options=st.binary(max_size=40).map(lambda b: b"\1" * len(b)),
)
def test_ipv4_segments_decode_to_what_was_built(sport, seq, ack, flags, data, tcp_options, ip_options):
    """impacket must find every field where the builder put it, past options of any length."""
    tcp = p.Tcp(sport=sport, seq=seq, ack=ack, flags=flags, data=data, options=tcp_options)
    frame = p.ethernet(p.ipv4(tcp, options=ip_options), pad=False)
    packet = ImpactDecoder.EthDecoder().decode(frame).child()
    segment = packet.child()
    assert (packet.get_ip_src(), packet.get_ip_dst(), packet.get_ip_len()) == (
        tcp.src,
        tcp.dst,
        len(frame) - 14,
    )
    assert (segment.get_th_sport(), segment.get_th_dport()) == (sport, 80)
    assert (segment.get_th_seq(), segment.get_th_ack(), segment.get_th_flags() & 0xFF) == (seq, ack, flags)
    assert segment.get_data_as_string() == data


def test_ipv6_segments_decode_to_what_was_built():
    """The same for IPv6."""
    packet = ImpactDecoder.EthDecoder().decode(p.frame(V6)).child()
    segment = packet.child()
    assert (packet.get_ip_src().as_string(), packet.get_ip_dst().as_string()) == (
        "2001:DB8::1",
        "2001:DB8::2",
    )
    assert (segment.get_th_seq(), segment.get_th_flags() & 0xFF) == (5, p.FIN | p.ACK)
    assert segment.get_data_as_string() == b"abc"


def test_vlan_tags_cooked_and_loopback_decode_to_what_was_built():
    """Link headers: two VLAN tags, Linux cooked and BSD loopback."""
    qinq = p.ethernet(p.ip(V4), vlans=[(p.VLAN_8021AD, 7), (p.VLAN_8021Q, 9)])
    decoded = ImpactDecoder.EthDecoder().decode(qinq)
    assert decoded.tag_cnt == 2
    assert decoded.get_tag(1).get_vid() == 9
    assert decoded.child().child().get_data_as_string() == V4.data
    assert ImpactDecoder.LinuxSLLDecoder().decode(p.sll(p.ip(V4))).child().child().get_data_as_string() == V4.data


@needs_tshark
@pytest.mark.parametrize("link", p.LINKS)
@pytest.mark.parametrize("tcp", [V4, V6], ids=["ipv4", "ipv6"])
def test_every_link_type_reads_the_same_in_tshark(tmp_path, link, tcp):
    """tshark sees the addresses, numbers, length and a good checksum behind every link header."""
    rows = dissect(
        tmp_path, pcap([(1_700_000_000_123_456_000, p.frame(tcp, link))], link=link),
        "frame.time_epoch", "ip.src", "ipv6.src",
        "tcp.srcport", "tcp.seq_raw", "tcp.ack_raw", "tcp.len", "tcp.checksum.status",
    )  # fmt: skip
    family = [tcp.src, ""] if ip_address(tcp.src).version == 4 else ["", tcp.src]
    assert rows == [["1700000000.123456000", *family, "40000", str(tcp.seq), str(tcp.ack), str(len(tcp.data)), "1"]]


@needs_tshark
@pytest.mark.parametrize(
    "extensions",
    [
        [p.hop_by_hop()],
        [p.hop_by_hop(12), p.destination()],
        [p.routing(2)],
        [p.fragment6()],
        [p.authentication()],
        [p.hop_by_hop(), p.routing(), p.destination(20), p.fragment6()],
    ],
    ids=["hop-by-hop", "hop-by-hop+destination", "routing", "atomic-fragment", "authentication", "all"],
)
def test_ipv6_extension_chains_read_the_same_in_tshark(tmp_path, extensions):
    """Each extension says its length in its own way: a wrong chain would hide the segment."""
    frames: list[Frame] = [(0, p.ethernet(p.ipv6(V6, extensions=extensions)))]
    assert dissect(tmp_path, pcap(frames), "tcp.srcport", "tcp.len", "tcp.checksum.status") == [["40000", "3", "1"]]


@needs_tshark
@pytest.mark.parametrize("nanoseconds", [False, True], ids=["us", "ns"])
@pytest.mark.parametrize("order", ["<", ">"], ids=["little", "big"])
@pytest.mark.parametrize("write", [pcap, pcapng])
def test_both_file_formats_keep_time_and_bytes(tmp_path, write, order, nanoseconds):
    """Time, cut length and wire length of a frame survive in either format, byte order and resolution."""
    frames = [(1_700_000_000_000_000_000 + i * 1_001_000, p.frame(V4)) for i in range(3)]
    file = write(frames, order=order, nanoseconds=nanoseconds, snap=70)
    rows = dissect(tmp_path, file, "frame.time_epoch", "frame.cap_len", "frame.len")
    assert rows == [[f"1700000000.{i * 1_001_000:09d}", "70", str(len(p.frame(V4)))] for i in range(3)]


def test_a_frame_is_padded_to_what_ethernet_carries():
    """Padding is where a decoder that ignores the IP length takes rubbish for data."""
    assert len(p.frame(p.Tcp())) == 60
    assert len(p.ethernet(p.ip(p.Tcp()), pad=False)) == 54
