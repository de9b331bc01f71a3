"""A captured request as it is sent: against a slow oracle that works on lists of lines."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assemble.message import Message
from assemble.records import MESSAGE_HEADER
from emit.prepare import Preparer, with_parameter
from tests.emit.builders import header_of, request

EXPECTS = 8
TOKENS = st.text("abcXYZ-_09", min_size=1, max_size=8)
VALUES = st.text("abc ;=,\"'\t\xe9", max_size=12)
NAMES = st.one_of(TOKENS, st.sampled_from(["Host", "host", "HOST", "Hostx", "Content-Length", "Expect", "xHost"]))
targets = st.sampled_from(
    ["/", "/a/b?c=d&e", "*", "http://shop.example", "http://shop/x?y", "HTTP://a:b@h:1/", "shop:443", "//x//y", "/%2f"]
)


def make(method: str, target: str, headers: list[tuple[str, str, str]], body: bytes, end: str = "\r\n") -> Message:
    """Make a request of a start line, (name, blank, value) and a body."""
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}:{blank}{value}" for name, blank, value in headers), "", ""]
    head = end.join(lines).encode("latin-1")
    return request(0, method=method, target=target).replace(payload=head + body, head=len(head))


def sent(preparer: Preparer, message: Message, copy: int = 1) -> tuple[bytes, int, int]:
    """Return what is sent for a message."""
    made = preparer.request(message.payload, MESSAGE_HEADER.pack(*header_of(message)), copy)
    assert made is not None
    return made


def oracle_target(target: str, base: str, authority: str | None) -> str:
    """Say what becomes of a target."""
    if "://" in target and not target.startswith("/"):
        scheme, _, rest = target.partition("://")
        cut = min((at for at in (rest.find("/"), rest.find("?")) if at >= 0), default=len(rest))
        return f"{scheme}://{rest[:cut] if authority is None else authority}{base}{rest[cut:]}"
    return base + target if target.startswith("/") else target


@given(
    st.sampled_from(["GET", "POST", "HEAD", "get", "CONNECT", "X"]), targets,
    st.lists(st.tuples(NAMES, st.sampled_from(["", " ", "\t "]), VALUES), max_size=6), st.binary(max_size=20),
    st.sampled_from(["", "/base"]), st.sampled_from([None, "staging:8080"]), st.sampled_from(["\r\n", "\n"]),
)  # fmt: skip
def test_only_host_and_target_differ(
    method: str,
    target: str,
    headers: list[tuple[str, str, str]],
    body: bytes,
    base: str,
    authority: str | None,
    end: str,
):
    message = make(method, target, headers, body, end)
    data, head, flags = sent(Preparer(base, authority, None, None), message)
    expected = []
    for name, blank, value in headers:
        inner = value.strip(" \t")
        if name.lower() == "host" and authority is not None:
            before = value[: len(value) - len(value.lstrip(" \t"))]
            after = value[len(value.rstrip(" \t")) :]
            expected.append(f"{name}:{blank}{before}{authority}{after}" if inner else f"{name}: {authority}")
        else:
            expected.append(f"{name}:{blank}{value}")
    lines = [f"{method} {oracle_target(target, base, authority)} HTTP/1.1", *expected, "", ""]
    assert data == end.join(lines).encode("latin-1") + body
    assert head == len(data) - len(body)
    assert flags & 3 == {"GET": 1, "HEAD": 3}.get(method, 0)
    assert bool(flags & 4) == (method == "CONNECT")


def test_a_folded_host_is_replaced_as_a_whole():
    message = make("GET", "/", [("Host", " ", "a\r\n b"), ("X", " ", "c\r\n d")], b"")
    data, _head, _flags = sent(Preparer("", "staging", None, None), message)
    assert data == b"GET / HTTP/1.1\r\nHost: staging\r\nX: c\r\n d\r\n\r\n"


@pytest.mark.parametrize(
    ("value", "body", "expects"),
    [("100-continue", b"x", True), ("100-Continue", b"x", True), ("100-continue", b"", False), ("other", b"x", False)],
)
def test_a_body_waits_where_its_client_waited(value: str, body: bytes, expects: bool):
    _data, _head, flags = sent(Preparer("", None, None, None), make("PUT", "/", [("expect", " ", value)], body))
    assert bool(flags & EXPECTS) == expects


def test_copies_can_be_told_apart():
    preparer = Preparer("", None, "X-Copy", "copy")
    message = make("GET", "/a?b=c&copy=9&copy", [("A", " ", "b")], b"body")
    assert sent(preparer, message)[0] == message.payload
    data, head, _flags = sent(preparer, message, 3)
    assert data == b"GET /a?b=c&copy=3&copy=3 HTTP/1.1\r\nA: b\r\nX-Copy: 3\r\n\r\nbody"
    assert head == len(data) - 4


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"/", b"/?n=2"),
        (b"/?", b"/?n=2"),
        (b"/?a&&b=1", b"/?a&b=1&n=2"),
        (b"/?n=1&a", b"/?n=2&a"),
        (b"/?nn=1", b"/?nn=1&n=2"),
    ],
)
def test_a_parameter_is_replaced_or_added(target: bytes, expected: bytes):
    assert with_parameter(target, b"n", b"2") == expected


@given(st.lists(st.integers(0, 2**32 - 1), min_size=5, max_size=5), st.binary(max_size=80))
def test_a_header_that_does_not_fit_its_message_makes_no_request(lengths: list[int], payload: bytes):
    """Records come over the network too."""
    fields = header_of(request())
    fields[10:15] = lengths
    fields[15] = len(payload)
    made = Preparer("/b", "staging", None, None).request(payload, MESSAGE_HEADER.pack(*fields))
    method, at, size, start, head = lengths
    fits = method <= at and at + size <= start <= head <= len(payload) and start > 0
    assert (made is not None) == fits
