"""Finding the next message start: after joining late, behind a hole; and in nothing that only speaks of HTTP."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from talks import CLIENT, SERVER, Talk, assembled

GET = b"GET /next HTTP/1.1\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

FRAGMENTS = [
    b"GET /next HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", b"GET ", b"/a",
    b" HTTP/1.1", b"HTTP/1.", b"HTTP/1.0 404", b"HTTP/1.1 204", b"\r\n", b"\n", b"\r", b" ", b"-", b"A",
    b"M-SEARCH * ", b"x", b"\x00",
]  # fmt: skip


@pytest.mark.parametrize("side", [CLIENT, SERVER])
@pytest.mark.parametrize("message", [GET, OK, b"M-SEARCH * HTTP/1.0\nA: b\n\n"], ids=["request", "response", "odd"])
def test_joined_late_the_next_message_is_found_wherever_it_is_cut(side, message):
    """A capture may begin in a body, and its segments end in any byte of the next start line."""
    before = b"the end of a body\r\n and more of it"
    for cut in range(len(before), len(before + message)):
        talk = Talk().put(side, (before + message)[:cut]).put(side, (before + message)[cut:])
        got = assembled(talk.frames)
        assert [m.payload for m in got.messages] == [message], cut
        assert got.counters["skipped_no_start"] == len(before)


@pytest.mark.parametrize("known", [True, False], ids=["handshake", "joined late"])
def test_behind_a_hole_the_next_message_is_found(known):
    """What a lost packet costs ends with the next start line."""
    talk = Talk()
    if known:
        talk.open()
    talk.put(CLIENT, GET).lose(CLIENT, 50).put(CLIENT, b"rest of what was lost" + GET[:9]).put(CLIENT, GET[9:])
    got = assembled(talk.frames)
    assert [m.payload for m in got.messages] == [GET, GET]
    assert (got.counters["holes"], got.counters["bytes_missing"]) == (1, 50)


TEXTS = [
    b"see HTTP/1.1 for more\r\n", b"GET it while HTTP/1.1\r\n is here", b"get / http/1.1\r\n\r\n",
    b"GET  HTTP/1.1\r\n\r\n", b"HTTP/1.1 20\r\n\r\n", b"HTTP/1.1 2000 \r\n", b"HTTP/2.0 200 OK\r\n\r\n",
    b"GET / HTTP/1.1 \r\n\r\n", b"GET / HTTP/1.12\r\n", b"GO / HTTP/1.1\r\n\r\n", b"HTTP/1.1\r\n\r\n",
    b"GET /\tHTTP/1.1\r\n\r\n", b"--- / HTTP/1.1\r\n",
]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS, ids=repr)
def test_text_that_mentions_http_is_no_message(text):
    """A message that nobody sent is worse than one that is missed."""
    got = assembled(Talk().put(SERVER, b"a page: " + text + b"<p>").put(SERVER, b"GET").frames)
    assert got.messages == []


def test_the_side_of_the_client_is_not_searched_for_responses():
    """A client that uploads a file of responses, behind a hole, does not turn into a server."""
    talk = Talk().open().put(CLIENT, GET).lose(CLIENT, 100).put(CLIENT, OK * 3 + GET)
    assert [m.payload for m in assembled(talk.frames).messages] == [GET, GET]


@pytest.mark.parametrize("handshake", [True, False])
@given(data=st.data())
def test_what_is_found_does_not_depend_on_the_cuts(handshake, data):
    """Held tails, joined starts, starts that turn out to be none: all of them at any cut."""
    stream = b"".join(data.draw(st.lists(st.sampled_from(FRAGMENTS), min_size=1, max_size=14)))
    whole = Talk().open() if handshake else Talk()
    parts = Talk().open() if handshake else Talk()
    whole.put(CLIENT, stream)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=8)) | {0, len(stream)})
    for start, end in pairwise(cuts):
        parts.put(CLIENT, stream[start:end])
    one, other = assembled(whole.frames), assembled(parts.frames)
    assert [(m.payload, m.complete) for m in one.messages] == [(m.payload, m.complete) for m in other.messages]
    skipped = {name for name in one.counters if name.startswith("skipped_")}
    assert {name: one.counters[name] for name in skipped} == {name: other.counters[name] for name in skipped}
