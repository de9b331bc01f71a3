"""Telling other protocols by their first bytes: by name, at any cut, and never anything that is HTTP/1.x."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference.protocols import LINE_MOST, NAMES, name_of

from assemble.protocols import protocol_of

EITHER, CLIENT, SERVER = 0, 1, 2

REAL = [
    ("tls", CLIENT, "16 03 01 02 00 01 00 01 fc 03 03"),
    ("tls", SERVER, "16 03 03 00 7a 02 00 00 76 03 03"),
    ("tls", SERVER, "15 03 01 00 02 02 28"),
    ("tls", CLIENT, "80 2e 01 03 01 00 15 00 00 00 10"),
    ("http2", SERVER, "00 00 12 04 00 00 00 00 00 00 03 00 00 00 80"),
    ("redis", CLIENT, b"*2\r\n$4\r\nLLEN\r\n$6\r\nmylist\r\n"),
    ("redis", SERVER, b"+PONG\r\n"),
    ("mail_or_ftp", SERVER, b"220 mx.example.com ESMTP Postfix\r\n"),
    ("mail_or_ftp", SERVER, b"+OK POP3 server ready\r\n"),
    ("mail_or_ftp", CLIENT, b"ehlo client.example\r\n"),
    ("memcached", CLIENT, b"get user:1\r\n"),
    ("mysql", SERVER, "4a 00 00 00 0a 38 2e 30 2e 33 36 00"),
    ("mysql", SERVER, "17 00 00 00 ff 10 04 54 6f 6f 20 6d 61 6e 79"),
    ("mysql", CLIENT, "54 00 00 01 8d a6 0f 00 00 00 00 01 08" + " 00" * 23 + " 70 61 6d"),
    ("postgresql", CLIENT, "00 00 00 08 04 d2 16 2f"),
    ("postgresql", CLIENT, "00 00 00 54 00 03 00 00 75 73 65 72 00"),
    ("postgresql", SERVER, "52 00 00 00 0c 00 00 00 05 11 22 33 44"),
    ("postgresql", SERVER, "53 16 03 03 00 7a"),
    ("mongodb", CLIENT, "3a 00 00 00 01 00 00 00 00 00 00 00 d4 07 00 00 00 00 00 00"),
    ("mongodb", SERVER, "24 00 00 00 01 00 00 00 01 00 00 00 01 00 00 00"),
    ("amqp", CLIENT, b"AMQP\0\0\x09\x01"),
    ("mqtt", CLIENT, b"\x10\x18\0\x04MQTT\x04\x02\0\x3c"),
    ("mqtt", SERVER, "20 02 00 00"),
    ("fastcgi", CLIENT, "01 01 00 01 00 08 00 00 00 01 00 00 00 00 00 00"),
    ("ajp", CLIENT, "12 34 00 f7 02 02 00 08"),
    ("socks", CLIENT, "05 01 00"),
    ("mssql", CLIENT, "12 01 00 2f 00 00 01 00 00 00 1a 00 06"),
    ("ldap", CLIENT, "30 0c 02 01 01 60 07 02 01 03 04 00 80 00"),
    ("rdp", CLIENT, b"\x03\0\0\x2b\x26\xe0\0\0\0\0\0Cookie: mstshash=u\r\n"),
    ("smb", CLIENT, "00 00 00 45 ff 53 4d 42 72"),
    ("dns", CLIENT, "00 1d ab cd 01 00 00 01 00 00 00 00 00 00 03 77 77 77"),
    ("sip", CLIENT, b"INVITE sip:bob@example.com SIP/2.0\r\nVia: x\r\n"),
    ("sip", SERVER, b"SIP/2.0 180 Ringing\r\n"),
    ("rtsp", CLIENT, b"OPTIONS rtsp://h/x RTSP/1.0\r\nCSeq: 1\r\n"),
    ("icap", CLIENT, b"REQMOD icap://h/x ICAP/1.0\r\n"),
    ("icap", SERVER, b"ICAP/1.0 204 No\r\n"),
    ("http2", CLIENT, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x12\x04"),
    ("http09", CLIENT, b"GET /index.html\r\n"),
    ("http09", CLIENT, b"GET /\n"),
    ("ssh", CLIENT, b"SSH-2.0-OpenSSH_9.6 Debian\r\n"),
    ("vnc", SERVER, b"RFB 003.008\n"),
]


@pytest.mark.parametrize(("name", "kind", "data"), REAL)
def test_what_other_protocols_begin_with_has_their_name(name, kind, data):
    """Beginnings as the protocols' documents and their programs have them; the direction need not be known."""
    data = bytes.fromhex(data) if isinstance(data, str) else data
    assert protocol_of(data, kind) == protocol_of(data) == f"skipped_{name}"


NAMELESS = [
    b"\x16\x03\x05\x00\x10", b"\x16\x03\x01\x60\x00", b"GET / HTTP/1.1 \r\n", b"GET  /\r\n", b"get /\r\n", b"PUT /\r\n",
    b"PRI * HTTP/2.0\r\n\r\nGET", b"*3\n", b"*x\r\n", b"220\r\n", b"2200 x\r\n", b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
    b"hello\r\n", b"SSH-3.0-x\r\n", b"SSH-2.0-\x00\r\n", b"OPTIONS x RTSP/1.0 \r\n",
]  # fmt: skip


@pytest.mark.parametrize("data", NAMELESS, ids=repr)
def test_what_only_resembles_a_protocol_has_no_name(data):
    """A wrong name sends whoever reads the ledger looking in the wrong place."""
    assert protocol_of(data) == "skipped_not_http"


def test_the_direction_counts():
    """A client does not greet, a server does not ask."""
    assert protocol_of(b"220 mx.example.com\r\n", CLIENT) == "skipped_not_http"
    assert protocol_of(b"GET /\r\n", SERVER) == "skipped_not_http"


START_LINES = st.from_regex(
    rb"\A(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,12} [\x21-\x7e\x80-\xff]{1,30}(?: [\x21-\x7e]{0,9})? HTTP/1\.[0-9]\r?\n"
    rb"|HTTP/1\.[01] [0-9]{3}(?: [ -~\x80-\xff]{0,20})?\r?\n)\Z"
)
WORDS = st.sampled_from(
    [b"GET /", b"PRI *", b"SSH-2.0-x y", b"220 x", b"* OK", b"+OK x", b"USER x", b"*3 x", b"get a", b"AMQP /", b"E S",
     b"OPTIONS x RTSP/1.0", b"VALUE x", b"R /", b"RFB 003.008", b"PRI * HTTP/2.0", b"0 /", b"AB /", b"GET http://x",
     b"x SIP/2.0"]
)  # fmt: skip


BOTH = st.one_of(WORDS.map(lambda word: word + b" HTTP/1.1\r\n"), WORDS.map(lambda word: b"HTTP/1.0 200 " + word))


@given(line=st.one_of(START_LINES, BOTH), kind=st.sampled_from([0, 1, 2]))
def test_no_start_line_of_http_and_no_prefix_of_one_is_ever_named(line, kind):
    """The framer's messages come first: a method may be any token, even the first word of another protocol."""
    for size in range(len(line)):
        assert protocol_of(line[:size], kind) in (None, "skipped_not_http")
    assert protocol_of(line + b"\r\n", kind) == "skipped_not_http"


ENOUGH = b"\n" + bytes(40)  # ends every line, and is longer than what any pattern looks at


def expected(data: bytes, kind: int) -> str:
    """Give what the reference says as a counter."""
    return f"skipped_{name_of(data, kind) or 'not_http'}"


SAMPLES = st.sampled_from(NAMES).flatmap(lambda row: st.from_regex(re.compile(rb"\A(?:%s)" % row[2], re.DOTALL)))
MUTATED = st.tuples(SAMPLES, st.integers(0, 40), st.binary(max_size=2)).map(
    lambda t: t[0][: t[1]] + t[2] + t[0][t[1] + 1 :]
)


@given(data=st.one_of(SAMPLES, MUTATED, START_LINES, st.binary(max_size=60)), kind=st.sampled_from([0, 1, 2]))
def test_any_cut_gives_the_name_that_the_reference_gives(data, kind):
    """As long as more bytes may tell there is no answer, and then it never changes: segments cannot show."""
    data += ENOUGH
    answers = [protocol_of(data[:size], kind) for size in range(len(data) + 1)]
    told = [answer for answer in answers if answer is not None]
    assert answers == [None] * (len(answers) - len(told)) + told
    assert set(told) == {expected(data, kind)}


@pytest.mark.parametrize("name", sorted({row[0] for row in NAMES}))
@given(data=st.data())
def test_each_expression_of_the_reference_is_one_that_is_known(name, data):
    """Every pattern is drawn for its own sake, with the direction that sends it."""
    row = data.draw(st.sampled_from([row for row in NAMES if row[0] == name]))
    sample = data.draw(st.from_regex(re.compile(rb"\A(?:%s)" % row[2], re.DOTALL)))
    assert protocol_of(sample + ENOUGH, row[1]) == expected(sample + ENOUGH, row[1])


@pytest.mark.parametrize(("size", "name"), [(LINE_MOST, "skipped_ssh"), (LINE_MOST + 1, "skipped_not_http")])
def test_a_line_is_waited_for_up_to_a_limit(size, name):
    """Who never ends a line must not be held for ever; the limit does not depend on the cuts either."""
    line = b"SSH-2.0-".ljust(size - 1, b"x") + b"\n"
    assert [protocol_of(line[: LINE_MOST - 1]), protocol_of(line)] == [None, name]
    assert protocol_of(b"GET /" + b"x" * LINE_MOST) == "skipped_not_http"
