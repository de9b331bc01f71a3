"""What a direction begins with: HTTP, what may stand before it, or another protocol, counted whole by its name."""

import packets
import pytest
from talks import CLIENT, SERVER, Assembled, Talk, assembled

GET = b"GET / HTTP/1.1\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
REFUSED = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\n"

TLS = bytes.fromhex("16 03 01 02 00 01 00 01 fc 03 03") + GET + OK
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = bytes.fromhex("00 00 06 04 00 00 00 00 00 00 03 00 00 00 64")
UNKNOWN = b"\x07\xc0\xde" + GET + OK + b"\r\n" + GET
PROXY_LINE = b"PROXY TCP4 192.0.2.7 192.0.2.2 50000 80\r\n"
PROXY_BLOCK = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c" + bytes(12)

BEGINNINGS = [
    ("skipped_tls", CLIENT, TLS),
    ("skipped_tls", SERVER, TLS),
    ("skipped_http2", CLIENT, PREFACE + SETTINGS + GET),
    ("skipped_http2", SERVER, SETTINGS + OK),
    ("skipped_http09", CLIENT, b"GET /index.html\r\n"),
    ("skipped_ssh", CLIENT, b"SSH-2.0-OpenSSH_9.6\r\n" + GET),
    ("skipped_ssh", SERVER, b"SSH-2.0-OpenSSH_9.6\r\n" + OK),
    ("skipped_not_http", CLIENT, UNKNOWN),
    ("skipped_not_http", SERVER, UNKNOWN),
]


def skipped(got: Assembled) -> dict[str, int]:
    """Give the reasons for which bytes were skipped, with how many."""
    return {name: n for name, n in got.counters.items() if name.startswith("skipped_") and n}


def pieces(talk: Talk, side: bool, data: bytes, cut: int) -> Talk:
    """Let one side say something in two segments; one if there is nothing before the cut."""
    return (talk.put(side, data[:cut]) if cut else talk).put(side, data[cut:])


@pytest.mark.parametrize(("reason", "side", "data"), BEGINNINGS)
def test_another_protocol_is_counted_whole_at_any_cut(reason, side, data):
    """It may well speak of HTTP, in what it carries: nothing in it is a message of this connection."""
    for cut in range(len(data)):
        got = assembled(pieces(Talk().open(), side, data, cut).frames)
        assert (got.messages, skipped(got)) == ([], {reason: len(data)})


def test_a_name_told_byte_by_byte_is_the_same():
    """Whoever writes byte by byte speaks no other protocol for it."""
    for reason, side, data in BEGINNINGS:
        got = assembled(Talk().open().say(side, data, 1).frames)
        assert (got.messages, skipped(got)) == ([], {reason: len(data)})


@pytest.mark.parametrize("size", [4, 300, 511, 5000])
def test_a_line_that_is_none_is_told_before_a_hole_and_at_the_end_at_any_cut(size):
    """A long line is not looked at with each segment, but before its direction goes on without the rest of it."""
    line = b"GET /" + b"a" * size + b"\0tail"
    for cut in {0, 3, 5, 100, 512, 600, len(line) - 5, len(line) - 1} & set(range(len(line))):
        for behind in (b"", GET):
            talk = pieces(Talk().open(), CLIENT, line, cut).lose(CLIENT, 9 if behind else 0)
            got = assembled((talk.put(CLIENT, behind) if behind else talk).put(SERVER).close().frames)
            assert (got.messages, skipped(got)) == ([], {"skipped_not_http": len(line + behind)})


@pytest.mark.parametrize("first", [CLIENT, SERVER])
def test_the_answer_to_tls_on_a_plain_port_comes_out(first):
    """The other direction may speak HTTP: a server that says 400 to it is worth knowing."""
    talk = Talk().open()
    for side in (first, not first):
        talk.put(side, TLS if side is CLIENT else REFUSED, acked=None if side is not first else 0)
    got = assembled(talk.frames)
    assert [(m.kind, m.payload, m.complete) for m in got.messages] == [("response", REFUSED, True)]
    assert skipped(got) == {"skipped_tls": len(TLS)}
    assert got.counters["responses_unpaired"] == 1


def test_an_answer_without_a_name_has_that_of_its_request():
    """HTTP/0.9 answers with a bare page, whatever it begins with; both directions are one conversation."""
    request, page = b"GET /\r\n", b"<html>GET / HTTP/1.1\r\n\r\n</html>"
    got = assembled(Talk().open().put(CLIENT, request).put(SERVER, page).close(SERVER).frames)
    assert (got.messages, skipped(got)) == ([], {"skipped_http09": len(request + page)})


def test_garbage_behind_a_message_is_searched():
    """Only the first bytes name a protocol: a direction that spoke HTTP will do so again."""
    got = assembled(Talk().open().put(CLIENT, GET).put(CLIENT, UNKNOWN).put(CLIENT, GET).frames)
    assert [m.payload for m in got.requests] == [GET] * 4
    assert skipped(got) == {"skipped_not_http": len(UNKNOWN) - 2 * len(GET)}


@pytest.mark.parametrize("header", [PROXY_LINE, PROXY_BLOCK], ids=["version 1", "version 2"])
@pytest.mark.parametrize("blank", [b"", b"\r\n\n"], ids=["", "blank lines"])
def test_a_proxy_header_before_the_first_request_is_stepped_over(header, blank):
    """Load balancers put it there, in a segment of its own, with the request, or cut anywhere."""
    data = header + blank + GET
    for cut in range(len(data)):
        got = assembled(pieces(Talk().open(), CLIENT, data, cut).put(SERVER, OK).frames)
        assert [(m.payload, m.complete) for m in got.messages] == [(GET, True), (OK, True)]
        assert len({m.id for m in got.messages}) == 1
        blanks = {"skipped_blank_lines": len(blank)} if blank else {}
        assert skipped(got) == {"skipped_proxy_header": len(header)} | blanks


def test_a_proxy_header_does_not_hide_the_protocol_behind_it():
    """TLS behind a load balancer is the common case."""
    data = PROXY_LINE + TLS
    for cut in range(len(data)):
        got = assembled(pieces(Talk().open(), CLIENT, data, cut).frames)
        assert not got.messages
        assert skipped(got) == {"skipped_proxy_header": len(PROXY_LINE), "skipped_tls": len(TLS)}


def test_a_proxy_header_between_requests_is_none():
    """It comes first or not at all: later it is somebody's bytes."""
    got = assembled(Talk().open().put(CLIENT, GET + PROXY_LINE + GET).frames)
    assert [m.payload for m in got.messages] == [GET, GET]
    assert skipped(got) == {"skipped_not_http": len(PROXY_LINE)}


@pytest.mark.parametrize("blank", [b"\r\n", b"\n", b"\r\n\r\n\n\r\n"], ids=repr)
@pytest.mark.parametrize("before", [b"", GET], ids=["first", "between"])
def test_blank_lines_before_a_request_are_stepped_over(before, blank):
    """RFC 9112 2.2; they begin like version 2 of the PROXY protocol, too."""
    data = before + blank + GET
    for cut in range(len(data)):
        got = assembled(pieces(Talk().open(), CLIENT, data, cut).frames)
        assert [m.payload for m in got.messages] == [GET] * (1 + bool(before))
        assert skipped(got) == {"skipped_blank_lines": len(blank)}


@pytest.mark.parametrize(
    ("asks", "answer", "inside", "reply", "reason"),
    [
        (b"Upgrade: h2c\r\n", SWITCHED, PREFACE + GET, SETTINGS + OK, "skipped_http2"),
        (b"Upgrade: websocket\r\n", SWITCHED, b"\x81\x05hello" + GET, b"\x81\x02hi" + OK, "skipped_tunnel"),
        (b"CONNECT", b"HTTP/1.1 200 Established\r\n\r\n", TLS, b"\x16\x03\x03\x00\x7a" + OK, "skipped_tls"),
        (b"CONNECT", b"HTTP/1.1 200 Established\r\n\r\n", GET, OK, "skipped_tunnel"),
    ],
    ids=["h2c", "websocket", "TLS", "HTTP"],
)
def test_what_a_tunnel_carries_has_its_name(asks, answer, inside, reply, reason):
    """The ledger says what went through, at any cut; plain HTTP in it belongs to another server."""
    if asks == b"CONNECT":
        request = b"CONNECT example.net:443 HTTP/1.1\r\n\r\n"
    else:
        request = b"GET / HTTP/1.1\r\n" + asks + b"\r\n"
    for cut in range(len(inside)):
        talk = pieces(Talk().open().put(CLIENT, request).put(SERVER, answer), CLIENT, inside, cut)
        got = assembled(pieces(talk, SERVER, reply, min(cut, len(reply) - 1)).frames)
        assert [m.payload for m in got.messages] == [request, answer]
        assert skipped(got) == {reason: len(inside + reply)}


def test_a_tunnel_whose_first_bytes_come_with_the_answer_has_its_name():
    """A server may switch and go on in one segment, a client may not wait."""
    request = b"GET / HTTP/1.1\r\nUpgrade: h2c\r\n\r\n"
    talk = Talk().open().put(CLIENT, request + PREFACE).put(SERVER, SWITCHED + SETTINGS, acked=len(request))
    got = assembled(talk.frames)
    assert [m.payload for m in got.messages] == [request, SWITCHED]
    assert skipped(got) == {"skipped_http2": len(PREFACE + SETTINGS)}


@pytest.mark.parametrize("first", [CLIENT, SERVER])
def test_who_is_the_client_shows_when_both_have_opened_the_connection(first):
    """RFC 9293 3.5: each side sent a SYN of its own, so that what they say has to tell."""
    talk = Talk().put(first, at=-1, flags=packets.SYN).put(not first, at=-1, flags=packets.SYN)
    talk.put(first, at=-1, flags=packets.SYN | packets.ACK).put(not first, at=-1, flags=packets.SYN | packets.ACK)
    got = assembled(talk.put(CLIENT, GET).put(SERVER, OK).frames)
    assert [(m.kind, m.complete) for m in got.messages] == [("request", True), ("response", True)]
    assert len({m.id for m in got.messages}) == 1


def test_a_lone_syn_of_the_server_does_not_make_it_the_client():
    """Of such a handshake the tap may see the wrong half: the first message decides."""
    talk = Talk().put(SERVER, at=-1, flags=packets.SYN).put(SERVER, OK)
    assert [m.payload for m in assembled(talk.frames).messages] == [OK]


@pytest.mark.parametrize("side", [CLIENT, SERVER])
@pytest.mark.parametrize("kinds", [(packets.SYN, packets.SYN | packets.ACK), (packets.SYN | packets.ACK, packets.SYN)])
def test_a_side_that_sent_a_syn_and_a_syn_ack_has_not_opened_the_connection_alone(side, kinds):
    """What it sent first, or was captured first, does not tell who asks; the messages do, behind a hole too."""
    talk = Talk()
    for flags in kinds:
        talk.put(side, at=-1, acked=0, flags=flags)
    talk.put(not side, at=-1, acked=0, flags=packets.SYN | packets.ACK)
    for talker, message in ((CLIENT, GET), (SERVER, OK)):
        talk.lose(talker, 50).put(talker, message)
    assert [m.payload for m in assembled(talk.frames).messages] == [GET, OK]


@pytest.mark.parametrize(
    ("begun", "reason", "found"),
    [(b"PROXY TCP4 192.0", "skipped_cut_start", [GET]), (TLS[:3], "skipped_not_http", [])],
    ids=["may be a start", "cannot be one"],
)
def test_a_beginning_cut_by_a_hole_is_settled_by_what_is_there(begun, reason, found):
    """Behind the hole a message is looked for, unless the beginning showed that this is not HTTP."""
    talk = Talk().open().put(CLIENT, begun).lose(CLIENT, 100).put(CLIENT, GET)
    got = assembled(talk.frames)
    assert [m.payload for m in got.messages] == found
    assert skipped(got) == {reason: len(begun) + len(GET) * (not found)}


def test_a_line_that_never_ends_is_not_held_for_ever():
    """A line that goes on and on has no name; what was held of it is counted, and the memory is free again."""
    data = b"SSH-2.0-\t" + b"x" * 100_000
    got = assembled(Talk().open().say(CLIENT, data, 1000).frames)
    assert skipped(got) == {"skipped_not_http": len(data)}
    assert got.counters["bytes_held_peak"] < 30_000


def test_a_request_begins_when_the_first_of_its_bytes_was_captured():
    """Also if its first byte, which might begin a PROXY header, was captured behind the others."""
    talk = Talk().open().put(CLIENT, b"UT / HTTP/1.1\r\n\r\n", at=1).put(CLIENT, b"P", at=0)
    (got,) = assembled(talk.frames).messages
    assert (got.method, got.first_ns, got.last_ns) == ("PUT", talk.frames[-2][0], talk.frames[-1][0])
