"""The filter machine: the same verdict as libpcap's own on every packet, and never a byte outside of it."""

import pcapy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from packets import Tcp, frame

from capture.bpf import Program

FILTERS = [
    "tcp port 80",
    "ip6 and tcp port 80",
    "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0",
    "host 10.0.0.1 and not port 443",
    "ip[2:2] - ((ip[0]&0xf)<<2) - ((tcp[12]&0xf0)>>2) != 0",
    "vlan and tcp",
    "ether[0] & 1 = 0 and ip[16] >= 224",
    "(ip[6:2] & 0x1fff) = 0 or ip[8] * 3 / 2 % 7 > 2 or ip[9] ^ 5 = 3",
    "ip[1] >> 2 = 0 and (ip[4:2] << 1) != 0 and -ip[8] < 100000",
]


def compiled(text: str, link: int = 1) -> object:
    return pcapy.compile(link, 262144, text, 1, 0)


def changed(packet: bytes, edits: list[tuple[int, int]]) -> bytes:
    """Overwrite some bytes of a packet."""
    out = bytearray(packet)
    for at, value in edits:
        if at < len(out):
            out[at] = value
    return bytes(out)


packets = st.one_of(
    st.binary(max_size=100),
    st.builds(
        changed,
        st.builds(lambda tcp, size: frame(tcp)[:size], st.builds(Tcp), st.integers(1, 200)),
        st.lists(st.tuples(st.integers(0, 70), st.integers(0, 255)), max_size=4),
    ),
)


@pytest.mark.parametrize("text", FILTERS)
@given(packet=packets)
def test_verdicts_are_those_of_libpcap(text, packet):
    """A compressed file must give the same frames as the same file unpacked, which libpcap filters itself."""
    program = compiled(text)
    ours = Program(program.get_bpf())  # type: ignore[attr-defined]
    # libpcap's takes the length present for the length on the wire
    assert ours.matches(packet, len(packet)) == bool(program.filter(packet))  # type: ignore[attr-defined]


def test_the_length_on_the_wire_is_not_the_length_present():
    """`greater 1000` is about the packet, not about what the snap length left of it."""
    program = Program(compiled("greater 1000").get_bpf())  # type: ignore[attr-defined]
    assert program.matches(bytes(60), 1500)
    assert not program.matches(bytes(60), 60)


@given(
    st.lists(
        st.tuples(st.integers(0, 0xFF), st.integers(0, 255), st.integers(0, 255), st.integers(0, 2**32 - 1)),
        max_size=20,
    ),
    st.binary(max_size=40),
)
def test_any_program_ends(instructions, packet):
    """Whatever it is given, it neither hangs nor reads outside the packet."""
    assert Program(instructions).matches(packet, len(packet)) in (True, False)


def test_an_empty_program_lets_nothing_through():
    """Running off the end is no verdict, and no verdict is no packet."""
    assert not Program([]).matches(b"x", 1)
