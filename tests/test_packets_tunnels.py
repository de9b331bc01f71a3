"""The builders of encapsulations, held against tshark: a builder that errs would hide what it tests."""

import packets as p
import packets_tunnels as t
import pytest
from packets_files import pcap
from test_packets import dissect, needs_tshark

V4 = p.Tcp(seq=5, ack=6, data=b"GET / HTTP/1.1\r\n\r\n")
V6 = p.Tcp("2001:db8::1", 40000, "2001:db8::2", 80, 5, 6, p.ACK, b"abc")
NOT_IN_TSHARK = {
    "PPP_PPPD", "MPLS frame", "PKTAP", "IP_OVER_FC", "NETANALYZER", "ETHERNET_MPACKET",  # cannot open it
    "FabricPath", "MACsec", "MPLS pseudowire", "MPLS pseudowire, no control word",  # has to be told what is inside
}  # fmt: skip
OTHER_PORTS = {"vxlan of Linux"}


def read_by_tshark(tmp_path, frame: bytes, link: int = 1) -> list[list[str]]:
    """Give source port and state of the checksum of each frame's segment."""
    return dissect(tmp_path, pcap([(0, frame)], link=link), "tcp.srcport", "tcp.checksum.status")


@needs_tshark
@pytest.mark.parametrize("tcp", [V4, V6], ids=["v4", "v6"])
@pytest.mark.parametrize("name", sorted(t.TUNNELS.keys() - OTHER_PORTS))
def test_tunnels_read_the_same_in_tshark(tmp_path, name, tcp):
    """With a good checksum: every byte is where it belongs."""
    frame = p.ethernet(t.outer(*t.TUNNELS[name](p.ip(tcp))))
    assert read_by_tshark(tmp_path, frame) == [["40000", "1"]]


@needs_tshark
@pytest.mark.parametrize("tcp", [V4, V6], ids=["v4", "v6"])
@pytest.mark.parametrize("name", sorted(t.AROUND.keys() - NOT_IN_TSHARK))
def test_headers_before_ip_read_the_same_in_tshark(tmp_path, name, tcp):
    """Tags, labels and sessions."""
    assert read_by_tshark(tmp_path, t.AROUND[name](p.ip(tcp))) == [["40000", "1"]]


@needs_tshark
@pytest.mark.parametrize("tcp", [V4, V6], ids=["v4", "v6"])
@pytest.mark.parametrize("name", sorted(t.LINKS.keys() - NOT_IN_TSHARK))
def test_rare_link_types_read_the_same_in_tshark(tmp_path, name, tcp):
    """Whose headers nobody here has seen on a wire."""
    link, build = t.LINKS[name]
    assert read_by_tshark(tmp_path, build(p.ip(tcp)), link) == [["40000", "1"]]
