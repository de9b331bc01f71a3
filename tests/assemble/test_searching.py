"""Looking for message starts in a half: what is held, what is counted, and whose segment a message began in."""

import pytest
from talks import CLIENT, SERVER, Talk, assembled

GET = b"GET /h HTTP/1.1\r\n\r\n"
EMPTY = b"HTTP/1.1 204 No Content\r\n\r\n"
ENDS_LIKE_A_START = b"=end of a body\n in BASE64 xyz ABC abc"


@pytest.mark.parametrize("cut", [1, 4, 5, 9, 20, 26])
def test_a_request_keeps_its_number_when_a_body_before_it_looked_like_one(cut):
    """The id, and so the pair, comes from the segment with the request's first byte, not from the body's end."""

    def told(*pieces: bytes) -> list[tuple[int, bytes, bool]]:
        talk = Talk().put(CLIENT, ENDS_LIKE_A_START).put(SERVER, EMPTY)
        for piece in pieces:
            talk.put(CLIENT, piece)
        talk.put(SERVER, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
        return [(m.id, m.payload, m.complete) for m in assembled(talk.frames).messages]

    request = b"HEAD /a-long-path HTTP/1.1\r\n\r\n"
    whole = told(request)
    assert len(whole) == 3
    assert len({ident for ident, _, _ in whole[1:]}) == 1
    assert told(request[:cut], request[cut:]) == whole


def test_an_empty_line_before_a_hole_does_not_end_the_search():
    """It may be all that is left of a PROXY header; the connection goes on all the same."""
    talk = Talk().open().put(CLIENT, b"\r\n").lose(CLIENT, 16).put(CLIENT, GET).put(SERVER)
    got = assembled(talk.frames)
    assert [m.payload for m in got.messages] == [GET]
    assert got.counters["skipped_blank_lines"] == 2


def test_behind_a_hole_the_handshake_says_who_asks():
    """A server that speaks of requests sends none."""
    talk = Talk().open().lose(SERVER, 2).put(SERVER, GET)
    got = assembled(talk.frames)
    assert got.messages == []
    assert got.counters["skipped_no_start"] == len(GET)


def test_both_directions_never_ask():
    """Who was found to be the server by its first whole message is not made a client by the rest of a head."""
    talk = Talk().put(CLIENT, b"GET /a HTTP/1.1\r\n").put(SERVER, GET).put(CLIENT, b"\r\n")
    assert [m.payload for m in assembled(talk.frames).messages] == [GET]


@pytest.mark.parametrize("method", ["GET", "M-SEARCH", "FROBNICATE", "BASELINE-CONTROL"])
@pytest.mark.parametrize("size", [1, 3, 1400])
def test_a_method_at_the_beginning_of_a_line_is_whole(method, size):
    """Only elsewhere can its first letters be the last ones of a body."""
    request = method.encode() + b" / HTTP/1.1\r\n\r\n"
    lost = Talk().open().put(CLIENT, GET).lose(CLIENT, 100).say(CLIENT, request, size)
    behind_line = Talk().say(CLIENT, b"end of a text\n" + request, size)
    for talk in (lost, behind_line):
        assert assembled(talk.frames).messages[-1].method == method


@pytest.mark.parametrize("size", [1, 3, 1400])
def test_letters_right_before_a_known_method_are_not_of_it(size):
    """A body may end in capital letters, without a line end."""
    talk = Talk().say(CLIENT, b"0123ABCDOPTIONS * HTTP/1.1\r\n\r\n", size)
    assert [m.method for m in assembled(talk.frames).messages] == ["OPTIONS"]


@pytest.mark.parametrize("size", [1, 1400])
def test_a_connection_joined_late_that_speaks_tls_is_counted_by_that_name(size):
    """A loss is what could have been a message."""
    record = b"\x17\x03\x03\x00\x20" + bytes(range(200, 232))
    got = assembled(Talk().say(CLIENT, record * 3, size).frames)
    assert got.messages == []
    assert got.counters["skipped_tls"] + got.counters["skipped_no_start"] == 3 * len(record)
    if size > 1:
        assert got.counters["skipped_tls"] == 3 * len(record)


@pytest.mark.timeout(30)
def test_a_long_request_line_in_small_segments_is_found_and_costs_no_more_than_its_length():
    """A hundred thousand bytes of target, seven at a time, behind a hole."""
    request = b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n"
    talk = Talk().open().lose(CLIENT, 100).say(CLIENT, request, 7)
    assert [m.payload for m in assembled(talk.frames).messages] == [request]
