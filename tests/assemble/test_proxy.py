"""The PROXY protocol's header: found at any cut, as the reference finds it, and never in HTTP."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference.protocols import proxy_size

from assemble.proxy import proxy_header_of

BLOCK = b"\r\n\r\n\0\r\nQUIT\n"
HEADERS = [
    b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 80\r\n",
    b"PROXY TCP6 2001:DB8::1 2001:db8::2 56324 80\r\n",
    b"PROXY UNKNOWN\r\n",
    b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n",
    BLOCK + b"\x21\x11\x00\x0c" + bytes(12),
    BLOCK + b"\x20\x00\x00\x00",
    BLOCK + b"\x21\x21\x01\x00" + bytes(256),
]
NONE = [
    b"PROXY TCP4 HTTP/1.1\r\n", b"PROXY UNKNOWN HTTP/1.1\r\n", b"PROXY UNKNOWN x HTTP/1.0\r\n", b"PROXY / HTTP/1.1\r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n", b"PROXY TCP5 1.2.3.4 5.6.7.8 1 2\r\n", b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n",
    b"\r\n\r\nGET / HTTP/1.1\r\n", b"\r\n\n", BLOCK + b"\x11\x11\x00\x00", b"GET",
    b"PROXY UNKNOWN" + b"x" * 93 + b"\r\n",
]  # fmt: skip


@pytest.mark.parametrize("header", HEADERS, ids=repr)
def test_a_header_is_found_once_it_is_whole(header):
    """What follows it is the client's first request, at whatever byte the header was cut."""
    assert {proxy_header_of(header[:size]) for size in range(len(header))} == {None}
    assert proxy_header_of(header) == proxy_header_of(header + b"GET / HTTP/1.1\r\n\r\n") == len(header)


@pytest.mark.parametrize("data", NONE, ids=repr)
def test_a_request_and_what_only_resembles_a_header_is_none(data):
    """PROXY may be a method, and empty lines may come before a request: neither may be lost."""
    assert proxy_header_of(data + b"\r\n") == 0


def test_the_longest_line_is_the_longest_allowed():
    """The document allows 107 bytes: a receiver need not wait for more."""
    line = b"PROXY UNKNOWN".ljust(105, b"x")
    assert proxy_header_of(line) is None
    assert (proxy_header_of(line + b"\r\n"), proxy_header_of(line + b"x\r\n")) == (107, 0)


PIECES = st.lists(
    st.sampled_from(
        [*HEADERS, *NONE, b"PROXY ", b"TCP4 ", b"UNKNOWN", b"1.2.3.4 ", b"80", b"\r\n", b"\n", b" HTTP/1.1"]
    ),
    max_size=4,
).map(b"".join)


@given(data=st.one_of(PIECES, st.binary(max_size=20).map(lambda b: BLOCK + b), st.binary(max_size=20)))
def test_any_cut_gives_what_the_reference_gives(data):
    """The answer comes as early as it can be told, and stays."""
    answers = [proxy_header_of(data[:size]) for size in range(len(data) + 1)]
    told = [answer for answer in answers if answer is not None]
    assert answers == [None] * (len(answers) - len(told)) + told
    assert len(set(told)) <= 1
    assert proxy_size(data) == (told[0] if told else 0)
