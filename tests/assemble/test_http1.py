"""The HTTP/1.x framer: what connections do around messages: tunnels, limits, answers that come early."""

import pytest
from talks import CLIENT, SERVER, Talk, assembled

GET = b"GET / HTTP/1.1\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
UPGRADE = b"GET /ws HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
CONNECT = b"CONNECT example.net:443 HTTP/1.1\r\n\r\n"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"


def payloads(talk: Talk, **settings: object) -> list[bytes]:
    """Give the payloads of the messages of one connection."""
    return [m.payload for m in assembled(talk.frames, **settings).messages]


def test_without_responses_only_requests_come_and_the_rest_is_counted():
    """Who replays requests alone does not pay for responses, nor does he miss bytes in the ledger."""
    talk = Talk().open()
    for _ in range(3):
        talk.put(CLIENT, GET).say(SERVER, OK, 7)
    got = assembled(talk.frames, responses=False)
    assert [m.payload for m in got.messages] == [GET] * 3
    assert got.counters["skipped_responses_off"] == 3 * len(OK)


@pytest.mark.parametrize("size", [1, 50, 60_000], ids="cut={}".format)
def test_a_head_beyond_its_limit_is_skipped_and_the_next_message_is_found(size):
    """One client with a header of a megabyte must cost itself only."""
    long = b"GET /long HTTP/1.1\r\nX: " + b"x" * 3000 + b"\r\n\r\n"
    got = assembled(Talk().open().say(CLIENT, GET + long + GET, size).frames, max_header=3000)
    assert [m.payload for m in got.messages] == [GET, GET]
    assert got.counters["skipped_long_header"] == len(long)


@pytest.mark.parametrize("size", [1, 7, 30, 60_000], ids="cut={}".format)
def test_a_head_longer_than_a_whole_message_may_be_is_a_head_too_long(size):
    """The smaller of the two limits counts; a head cut in its middle would be told apart by nobody."""
    long = b"GET /long HTTP/1.1\r\nX: " + b"x" * 3000 + b"\r\n\r\n"
    got = assembled(Talk().open().say(CLIENT, GET + long + GET, size).frames, max_message=2000)
    assert [m.payload for m in got.messages] == [GET, GET]
    assert got.counters["skipped_long_header"] == len(long)


@pytest.mark.parametrize("size", [1, 3, 60_000], ids="cut={}".format)
def test_garbage_under_tiny_limits_does_no_harm(size):
    """What is held while looking for a start has nothing to do with how long a message may be."""
    noise = b"GET /\r\nfoo bar baz qux quux corge grault garply\r\n" * 4
    got = assembled(Talk().open().say(CLIENT, GET + b"GET" + noise + GET, size).frames, max_message=20, max_header=64)
    assert [m.payload for m in got.messages] == [GET, GET]


@pytest.mark.parametrize(
    ("asks", "answers"),
    [(UPGRADE, SWITCHED), (CONNECT, b"HTTP/1.1 200 Established\r\n\r\n")],
    ids=["101", "CONNECT"],
)
@pytest.mark.parametrize("early", [False, True], ids=["answer first", "data before the answer"])
def test_what_goes_through_a_tunnel_is_counted_as_such(asks, answers, early):
    """An inner protocol is no message of this server; that of a client who did not wait for the answer neither."""
    inside = b"GET /inside HTTP/1.1\r\n\r\n"
    talk = Talk().open().put(CLIENT, asks)
    if early:
        talk.put(CLIENT, inside, acked=0)
    talk.put(SERVER, answers + b"\x81\x05hello")
    if not early:
        talk.put(CLIENT, inside)
    got = assembled(talk.put(SERVER, OK).put(CLIENT, inside).frames)
    assert [m.payload for m in got.messages] == [asks, answers]
    assert got.counters["skipped_tunnel"] == 2 * len(inside) + 7 + len(OK)


@pytest.mark.parametrize("status", [b"200", b"426"])
def test_an_upgrade_that_is_not_accepted_leaves_http(status):
    """Most servers ignore `Upgrade: h2c`: what the client sent behind it are ordinary requests."""
    refusal = OK.replace(b"200", status)
    talk = Talk().open().put(CLIENT, UPGRADE).put(CLIENT, GET, acked=0).put(SERVER, refusal).put(SERVER, OK)
    assert payloads(talk) == [UPGRADE, refusal, GET, OK]


def test_a_connect_that_is_refused_leaves_http():
    """A proxy that asks for a password gets the next request on the same connection."""
    refusal = b"HTTP/1.1 407 Who\r\nContent-Length: 3\r\n\r\nwho"
    talk = Talk().open().put(CLIENT, CONNECT).put(SERVER, refusal).put(CLIENT, GET).put(SERVER, OK)
    assert payloads(talk) == [CONNECT, refusal, GET, OK]


def test_a_response_to_head_has_no_body_whatever_it_says():
    """Else the next response would be taken for its body."""
    talk = Talk().open().put(CLIENT, b"HEAD / HTTP/1.1\r\n\r\n").put(SERVER, OK[:-2]).put(CLIENT, GET).put(SERVER, OK)
    assert payloads(talk)[1::2] == [OK[:-2], OK]


def test_an_answer_that_comes_before_the_request_is_whole_is_paired():
    """A server may refuse an upload when it has seen the head."""
    post = b"POST / HTTP/1.1\r\nContent-Length: 5000\r\n\r\n"
    refusal = b"HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n"
    talk = Talk().open().put(CLIENT, post + bytes(1000)).put(SERVER, refusal).say(CLIENT, bytes(4000))
    got = assembled(talk.frames)
    assert [(m.kind, m.complete) for m in got.messages] == [("response", True), ("request", True)]
    assert len({m.id for m in got.messages}) == 1


@pytest.mark.timeout(15)
def test_bytes_made_to_look_like_starts_again_and_again_are_read_once():
    """A megabyte of almost start lines, held for its line end, must not be gone through for each of them."""
    almost = b"HTTP/1.1 200\r" * 78_000 + b"x\n"
    talk = Talk().open().put(SERVER, OK).say(SERVER, almost, 1300).put(SERVER, OK)
    assert payloads(talk) == [OK, OK]
