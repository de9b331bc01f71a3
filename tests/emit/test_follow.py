"""What an answer changes in the requests after it: cookies and redirects, where they are asked for."""

import pytest

from emit.follow import MOST_COOKIES, send_cookies, set_cookies, step_to
from emit.records import HttpSpec

SPEC = HttpSpec("staging", 8080, base="/base", authority="staging:8080")
SEEN = b"POST /a/b?c HTTP/1.1\r\nHost: staging:8080\r\nContent-Length: 2\r\nX: y\r\nContent-Type: t\r\n\r\n"


def setting(*values: bytes) -> bytes:
    """Make an answer that sets cookies; what its body says does not count."""
    lines = b"".join(b"Set-Cookie: %b\r\n" % value for value in values)
    return b"HTTP/1.1 200 OK\r\n" + lines + b"\r\nSet-Cookie: not=this\r\n"


def test_cookies_are_kept_changed_and_deleted():
    known = set_cookies(None, setting(b"a=1; Path=/; Secure", b"b=x=y", b"broken", b"=no"))
    assert known == {b"a": b"1", b"b": b"x=y"}
    assert set_cookies(known, setting(b"a=2", b"b=; max-age=0")) == {b"a": b"2", b"b": b""}
    assert set_cookies(None, setting()) is None


def test_a_target_that_sets_many_cookies_does_not_fill_the_memory():
    known = set_cookies(None, setting(*(b"n%d=1" % each for each in range(500)), b"long=" + b"x" * 9999))
    assert known is not None
    assert len(known) == MOST_COOKIES


@pytest.mark.parametrize(
    ("captured", "expected"),
    [
        (b"Cookie: a=1; sid=old; z=2\r\n", b"Cookie: a=1; sid=new; z=2; more=m\r\n"),
        (b"cookie:sid=old\r\n", b"cookie: sid=new; more=m\r\n"),
        (b"Cookie: gone=1\r\n", b"Cookie: sid=new; more=m\r\n"),
        (b"", b"Cookie: sid=new; more=m\r\n"),
    ],
)
def test_a_request_has_the_cookies_of_the_target(captured: bytes, expected: bytes):
    head = b"GET / HTTP/1.1\r\nHost: a\r\n%bX: y\r\n\r\n"
    before = head % captured
    cookies = {b"sid": b"new", b"gone": b"", b"more": b"m"}
    data, size = send_cookies(before + b"cookie: body\r\n", len(before), cookies)
    assert data[size:] == b"cookie: body\r\n"
    lines = data[:size].split(b"\r\n")
    assert expected.rstrip() in lines
    assert sorted(lines) == sorted((head % expected).split(b"\r\n"))
    assert data[:size].endswith(b"\r\n\r\n")


def test_only_deleted_cookies_leave_no_line():
    before = b"GET / HTTP/1.1\r\nCookie: gone=1\r\n\r\n"
    assert send_cookies(before, len(before), {b"gone": b""})[0] == b"GET / HTTP/1.1\r\n\r\n"


def moved(place: bytes) -> bytes:
    """Make an answer that says where to go."""
    return b"HTTP/1.1 302 Found\r\nLocation: %b\r\n\r\n" % place


@pytest.mark.parametrize(
    ("place", "target"),
    [
        (b"/x?y", b"/x?y"),
        (b"d", b"/a/d"),
        (b"?q", b"/a/b?q"),
        (b"http://staging:8080/x#part", b"/x"),
        (b"//staging:8080/x", b"/x"),
        (b"http://staging:8080", b"/"),
    ],
)
def test_a_redirect_to_the_same_server_is_a_get_there(place: bytes, target: bytes):
    made = step_to(SEEN + b"ab", len(SEEN), 302, moved(place), SPEC)
    assert made is not None
    data, head, flags = made
    assert data == b"GET " + target + b" HTTP/1.1\r\nHost: staging:8080\r\nX: y\r\n\r\n"
    assert (head, flags) == (len(data), 1)


@pytest.mark.parametrize("status", [307, 308])
def test_some_redirects_keep_method_and_body(status: int):
    made = step_to(SEEN + b"ab", len(SEEN), status, moved(b"/x"), SPEC)
    assert made is not None
    assert made[0] == SEEN.replace(b"/a/b?c", b"/x") + b"ab"
    assert made[1:] == (len(made[0]) - 2, 0)


@pytest.mark.parametrize(
    "place",
    [
        b"http://elsewhere/",
        b"https://staging:8443/",
        b"http://staging/",
        b"ftp://staging:21/",
        b"http://[/",
        b"http://staging:port/",
        b"/\xe4",
        b"mailto:x",
        b"/a b",
    ],
)
def test_no_other_server_is_gone_to(place: bytes):
    assert step_to(SEEN, len(SEEN), 302, moved(place), SPEC) is None


def test_what_says_nothing_is_not_followed():
    assert step_to(SEEN, len(SEEN), 302, b"HTTP/1.1 302 Found\r\n\r\n", SPEC) is None
    assert step_to(SEEN, len(SEEN), 302, moved(b"/a").replace(b"\r\n\r\n", b"\r\nLocation: /b\r\n\r\n"), SPEC) is None
    assert step_to(SEEN, len(SEEN), 304, moved(b"/a"), SPEC) is None
