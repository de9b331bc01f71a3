"""HELO, PING and PONG: against sessions of others, against each other, and against whoever has no key."""

import hashlib
import json
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from capture.errors import MalformedTraffic
from emit.handshake import MOST_BYTES, Greeter, Greeting, Refused, digest, password_digest
from emit.records import Access, Login

RECORDED = Path(__file__).parents[3] / "shared" / "forward-captures"
KEY, USERS = b"s3cr3t", ((b"u", b"p"),)


def sha(*parts: bytes) -> bytes:
    """The formula of the specification, written here once more."""
    made = hashlib.sha512()
    for part in parts:
        made.update(part)
    return made.hexdigest().encode()


def sessions() -> list[tuple[list[Any], list[Any], list[Any], bytes]]:
    """Return HELO, PING, PONG of every recorded connection that has them, and the bytes of the PING."""
    found = []
    for path in sorted(RECORDED.glob("*auth*.jsonl")):
        streams: dict[tuple[int, str], bytes] = {}
        for line in path.read_text().splitlines():
            piece = json.loads(line)
            at = (piece["conn"], piece["dir"])
            streams[at] = streams.get(at, b"") + bytes.fromhex(piece.get("hex", ""))
        for (number, direction), data in streams.items():
            if direction == "s2c" and data:
                down, up = msgpack.Unpacker(raw=True), msgpack.Unpacker(raw=True)
                down.feed(data)
                up.feed(streams[number, "c2s"])
                try:
                    helo, pong = down.unpack(), down.unpack()
                    ping = up.unpack()
                except msgpack.OutOfData:
                    continue
                found.append((helo, ping, pong, streams[number, "c2s"][: up.tell()]))
    return found


def greeter(key: bytes = KEY, users: tuple[tuple[bytes, bytes], ...] = USERS) -> Greeter:
    """Make a receiver's side."""
    return Greeter(Access(key, users), "far")


def greeting(key: bytes = KEY, user: bytes = b"u", password: bytes = b"p") -> Greeting:
    """Make a sender's side."""
    return Greeting(Login(key, user, password), "near")


def test_the_recorded_sessions_are_understood_from_both_sides():
    """fluentd, Fluent Bit, a Node client: what they said to each other would have been taken, and said, by us."""
    found = sessions()
    if not found:
        pytest.skip("no recorded sessions beside the project")
    assert len(found) >= 5
    for helo, ping, pong, raw in found:
        server = greeter(users=USERS if helo[1].get(b"auth") else ())
        server.nonce, server.auth, server.host = helo[1][b"nonce"], helo[1].get(b"auth", b""), pong[3]
        answer = server.feed(raw)
        assert answer is not None
        assert answer[1] == ""
        assert msgpack.unpackb(answer[0], raw=True) == pong
        client = greeting()
        client.salt, client.host = ping[2], ping[1]
        said = msgpack.unpackb(client.feed(msgpack.packb(helo)), raw=True)
        assert said[:4] == ping[:4]
        assert said[4:] == (ping[4:] if helo[1].get(b"auth") else [b"", b""])
        client.feed(msgpack.packb(pong))
        assert client.through


@given(st.binary(max_size=40), st.binary(max_size=40), st.binary(max_size=40), st.binary(max_size=40))
def test_the_digests_are_those_of_the_specification(salt, host, nonce, key):
    """Raw bytes, in that order, in hexadecimal digits of lower case."""
    assert digest(salt, host, nonce, key) == sha(salt, host, nonce, key)
    assert password_digest(salt, host, key) == sha(salt, host, key)


@given(st.data())
def test_both_sides_come_through_however_it_is_cut(data):
    """TCP cuts where it likes; and what follows PING at once is left for others."""
    client, server = greeting(), greeter()
    helo = server.helo
    ping = b""
    for at in range(len(helo)):
        ping += client.feed(helo[at : at + 1])
    sent = ping + b"\x93rest"
    answer, at = None, 0
    while answer is None:
        size = data.draw(st.integers(1, len(sent)))
        answer = server.feed(sent[at : at + size])
        at += size
    assert server.hearing.taken == len(ping)
    pong, why = answer
    assert why == ""
    cut = data.draw(st.integers(0, len(pong)))
    client.feed(pong[:cut])
    assert client.through == (cut == len(pong))
    if not client.through:
        client.feed(pong[cut:])
    assert client.through


@pytest.mark.parametrize(
    ("client", "why"),
    [
        (greeting(key=b"other"), "shared key mismatch"),
        (greeting(key=b""), "shared key mismatch"),
        (greeting(password=b"q"), "user or password mismatch"),
        (greeting(user=b"v"), "user or password mismatch"),
        (greeting(key=b"other", user=b"v"), "shared key mismatch"),
    ],
)
def test_who_is_not_right_is_refused_and_told_why(client: Greeting, why: str):
    """And gets nothing that could be made use of: no digest of ours."""
    server = greeter()
    answer = server.feed(client.feed(server.helo))
    assert answer is not None
    assert answer[1] == why
    assert msgpack.unpackb(answer[0]) == ["PONG", False, why, "", ""]
    with pytest.raises(Refused, match=f"the receiver refuses us: {why}"):
        client.feed(answer[0])
    assert not client.through


def test_a_user_that_is_wanted_and_not_there_is_said_before_anything_is_sent():
    """It is the operator's move."""
    with pytest.raises(Refused, match="write user and password_file"):
        Greeting(Login(KEY), "near").feed(greeter().helo)


def test_without_users_none_is_named():
    """A name is nobody's business who does not ask."""
    client, server = greeting(), greeter(users=())
    ping = client.feed(server.helo)
    assert msgpack.unpackb(ping)[4:] == ["", ""]
    answer = server.feed(ping)
    assert answer is not None
    assert answer[1] == ""


def test_a_receiver_without_the_key_is_not_believed():
    """It could say yes, with a digest of its own, or with ours back: all that it has seen."""
    for proof in ("mirror", "made up"):
        client = greeting()
        ping = msgpack.unpackb(client.feed(msgpack.packb(["HELO", {"nonce": b"n" * 16, "auth": b""}])), raw=True)
        digest_ = ping[3] if proof == "mirror" else sha(ping[2], ping[1], b"n" * 16, b"guessed")
        with pytest.raises(Refused, match="cannot prove"):
            client.feed(msgpack.packb(["PONG", True, "", ping[1], digest_]))
        assert not client.through


def test_nonces_may_be_texts_that_are_no_utf8():
    """Fluent Bit sends them so."""
    nonce = bytes(range(0xF0, 0x100))
    helo = b"\x92\xa4HELO\x83\xa5nonce\xb0" + nonce + b"\xa4auth\xa0\xa9keepalive\xc3"
    client = greeting()
    ping = msgpack.unpackb(client.feed(helo), raw=True)
    assert ping[3] == sha(ping[2], ping[1], nonce, KEY)


def test_a_map_with_a_list_for_a_key_is_malformed():
    """Found by fuzzing: Python has no such maps, and a stranger's six bytes ended the receiver."""
    with pytest.raises(MalformedTraffic, match="not a message of the handshake"):
        Greeter(Access(KEY), "receiver").feed(b"\x91\x81\x90\x01")


@given(st.binary(max_size=300) | st.sampled_from([b"\xdd\xff\xff\xff\xff", b"\x96" * 3000, b"\xdb\x7f\xff\xff\xff"]))
def test_garbage_is_malformed_and_nothing_else(data):
    """A stranger makes no traceback, and no use of memory."""
    for side in (greeter(), greeting()):
        try:
            side.feed(data)
            if side.hearing.room > 0:
                side.feed(bytes([0xC1]))
        except MalformedTraffic:
            pass


def test_a_ping_has_an_end():
    """Bytes that complete nothing are bounded."""
    server = greeter()
    start = b"\x96" + b"\xd9\xff" + bytes(255)
    assert server.feed(start) is None
    with pytest.raises(MalformedTraffic):
        server.feed((b"\xda\x03\xff" + bytes(1023)) * 4 + bytes(MOST_BYTES))


def test_nonces_are_new_and_secrets_are_not_shown():
    """A session that was overheard opens nothing, and what is logged of a spec neither."""
    assert len({greeter().nonce for _ in range(50)} | {greeter().auth for _ in range(50)}) == 100
    assert len({greeting().salt for _ in range(50)}) == 50
    shown = repr(Access(b"hidden-key", ((b"u", b"hidden-word"),))) + repr(Login(b"hidden-key", b"u", b"hidden-word"))
    assert "hidden" not in shown
