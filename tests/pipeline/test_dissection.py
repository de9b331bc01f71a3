"""`inspect --frame N`: the right frame, told by other code than ours, and what became of it."""

import io

import pytest

from capture.errors import ConfigError
from pipeline.dissection import changes, explain_frame, headers
from tests.integration.jobs import exchanges
from tests.packets import LINK_NULL, LINK_RAW, LINK_SLL, LINK_SLL2, Tcp, ethernet, frame, ip
from tests.packets_files import write_pcap
from tests.packets_tunnels import outer, vxlan


@pytest.fixture
def shop(tmp_path):
    """Enough frames for more than one batch."""
    return str(write_pcap(tmp_path / "shop.pcap", exchanges(500)))


def explained(path: str, number: int, ports: tuple[int, ...] = ()) -> str:
    """What is said about a frame."""
    out = io.StringIO()
    explain_frame(path, ports, number, out)
    return out.getvalue()


@pytest.mark.parametrize("exchange", [0, 499])
def test_a_frame_is_found_in_any_batch(shop, exchange):
    """The third frame of a connection is its request."""
    said = explained(shop, exchange * 6 + 3)
    assert said.startswith(f"frame {exchange * 6 + 3}, 2023-11-14 22:13:2")
    assert "TCP ack push" in said
    assert "taken as in order" in said
    assert "completed request" in said
    assert f"GET /item/{exchange}\n" in said


def test_a_tunnelled_frame_says_what_is_inside(tmp_path):
    """impacket shows the outer headers: without this line they would look like all there is."""
    inner = Tcp(sport=1234, data=b"GET / HTTP/1.1\r\n\r\n")
    path = write_pcap(tmp_path / "tunnel.pcap", [(0, ethernet(outer(17, vxlan(ip(inner)))))])
    said = explained(str(path), 1)
    assert "read as 192.0.2.1 port 1234 to 192.0.2.2 port 80, sequence number 1, 18 bytes of data" in said
    assert "decoded" in said


def test_a_frame_that_was_refused_says_why(shop):
    """'Where did my request go' often ends here."""
    assert "refused: neither port is watched" in explained(shop, 3, (8080,))


def test_a_number_beyond_the_end_says_how_many_there_are(shop):
    """With what to write instead."""
    with pytest.raises(ConfigError, match="has 3,000 frames; write a number from 1 to 3000"):
        explained(shop, 3001)


@pytest.mark.parametrize("link", [LINK_NULL, LINK_RAW, LINK_SLL, LINK_SLL2])
def test_every_link_type_that_is_decoded_can_be_explained(link):
    """impacket knows some, for the others the link header is stepped over."""
    said = headers(frame(Tcp(data=b"hello"), link), link)
    assert "192.0.2.1 -> 192.0.2.2" in said
    assert "hello" in said


def test_what_impacket_cannot_read_is_an_answer():
    """A broken frame must not end in a traceback."""
    assert headers(frame(Tcp(), LINK_RAW)[:21], LINK_RAW).startswith("impacket cannot read it: ")
    assert headers(ethernet(b"\x45"), 147) == "impacket has no decoder for link type 147"


def test_changes_of_counters_are_told_in_words():
    """Levels are no deeds, except what is held back."""
    before = {"frames_decoded": 5, "segments_reordered": 1, "bytes_held": 10, "flows_now": 1, "holes": 0}
    after = {"frames_decoded": 6, "segments_reordered": 2, "bytes_held": 30, "flows_now": 2, "holes": 1}
    assert list(changes(before, after)) == [
        "decoded",
        "taken as reordered",
        "holes: +1",
        "bytes held for messages not whole yet: +20",
    ]
