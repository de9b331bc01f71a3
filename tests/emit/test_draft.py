"""Messages while they are changed: lengths fit, and what is not changed stays."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emit.codings import Undecodable
from emit.draft import Draft
from emit.target import Target
from tests.emit.builders import messages, request, response
from tests.emit.wires import PACK, chunked, message, post, read

codings = st.sampled_from(sorted(PACK))
sizes = st.sampled_from([0, 1, 7, 1000])


@given(messages())
def test_a_message_that_nobody_changes_is_the_same_object(made):
    """Looking costs nothing: not a byte, not a copy."""
    draft = Draft(made)
    assert draft.finish() is made
    if draft.raw:
        try:
            content = draft.content
        except Undecodable:
            return
        draft.replace(content)
        assert draft.finish() is made


@given(st.binary(min_size=1, max_size=300), st.binary(max_size=300), codings, sizes)
def test_lengths_fit_the_new_body(before: bytes, after: bytes, coding: str, chunk: int):
    """As another reader takes them, in the codings that the message had."""
    made = post(before, coding=coding, chunk=chunk)
    draft = Draft(made)
    assert draft.content == before
    draft.replace(after)
    changed = draft.finish()
    assert read(changed)[1] == after
    same = Draft(changed).head
    assert [line for line in same.lines if not line.lower().startswith(b"content-length")] == [
        line for line in Draft(made).head.lines if not line.lower().startswith(b"content-length")
    ]
    assert changed.head == changed.payload.index(b"\r\n\r\n") + 4
    assert (changed.id, changed.src, changed.first_ns, changed.complete) == (
        made.id, made.src, made.first_ns, made.complete,
    )  # fmt: skip


def test_trailer_fields_stay_and_check_sums_go():
    """A sum of other bytes would make a receiver refuse the message."""
    trailers = b"X-Time: 5\r\nDigest: sha-256=abc\r\n"
    made = message(
        'HTTP/1.1 200 Fine\nETag: "a"\nContent-MD5: x\nRepr-Digest: y\nTransfer-Encoding: chunked',
        chunked(b"hello", 2, trailers),
    )
    draft = Draft(made)
    draft.replace(b"changed")
    assert draft.finish().payload == (
        b'HTTP/1.1 200 Fine\r\nETag: "a"\r\nTransfer-Encoding: chunked\r\n\r\n7\r\nchanged\r\n0\r\nX-Time: 5\r\n\r\n'
    )


def test_a_length_that_is_said_twice_is_said_once():
    """Two equal ones are one (RFC 9110 section 8.6): two that differ would be an attack."""
    made = message("POST / HTTP/1.1\nHost: a\ncontent-length:5\nX: y\nContent-Length: 5", b"hello")
    draft = Draft(made)
    draft.replace(b"hi")
    assert draft.finish().payload == b"POST / HTTP/1.1\r\nHost: a\r\ncontent-length:2\r\nX: y\r\n\r\nhi"


def test_a_body_until_the_end_of_the_connection_needs_no_length():
    """And gets none, as its reader does not expect one."""
    draft = Draft(message("HTTP/1.0 200 Fine\nServer: a", b"hello"))
    draft.replace(b"good bye")
    assert draft.finish().payload == b"HTTP/1.0 200 Fine\r\nServer: a\r\n\r\ngood bye"


@pytest.mark.parametrize(
    "made",
    [
        message("POST / HTTP/1.1\nContent-Length: 9", b"hello", complete=False, missing=4),
        message("HTTP/1.1 206 Part\nContent-Range: bytes 0-4/9\nContent-Length: 5", b"hello"),
        message("PUT / HTTP/1.1\nContent-Range: bytes 0-4/9\nContent-Length: 5", b"hello"),
        message("POST / HTTP/1.1\nTransfer-Encoding: gzip, chunked", chunked(b"hello", 2)),
        message("POST / HTTP/1.1\nTransfer-Encoding: chunked", b"5\r\nhel"),
        message("POST / HTTP/1.1\nContent-Encoding: compress\nContent-Length: 5", b"hello"),
    ],
)
def test_what_is_not_whole_is_not_looked_into(made):
    """Part of a body is not the body."""
    with pytest.raises(Undecodable):
        _ = Draft(made).content


def test_a_head_that_is_not_whole_is_not_relied_on():
    """It may go on with anything."""
    assert Draft(request(1)).readable
    cut = request(1).payload[:-2]
    assert not Draft(request(1).replace(payload=cut, head=len(cut))).readable
    assert not Draft(request(1).replace(payload=b"GET", head=0)).readable
    assert not Draft(response(1).replace(payload=b"", head=0)).readable


def test_the_target_is_exchanged_and_nothing_else_of_the_start_line():
    """Blanks that a server let pass are none of our business."""
    raw = b"GET   /a?b  HTTP/1.1 \r\nHost: a\r\n\r\n"
    made = request(1, target="/a?b").replace(payload=raw, head=len(raw))
    draft = Draft(made)
    assert draft.target() == Target(b"", b"/a", b"?b")
    draft.retarget(Target(b"", b"c", b""))
    changed = draft.finish()
    assert changed.payload == b"GET   /c  HTTP/1.1 \r\nHost: a\r\n\r\n"
    assert changed.target == "/c"
    assert Draft(response(1)).target() is None
    assert Draft(message("OPTIONS * HTTP/1.1\nHost: a")).target() is None
    assert Draft(message("CONNECT shop:443 HTTP/1.1\nHost: a")).target() is None
    absolute = Draft(message("GET http://shop HTTP/1.1\nHost: a"))
    absolute.retarget(Target(b"http://shop", b"", b"?x"))
    assert absolute.finish().target == "http://shop?x"
