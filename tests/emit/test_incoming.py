"""Forward as the receiver understands it, also as recorded from other implementations."""

import gzip
import json
import zlib
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from capture.errors import MalformedTraffic
from emit.frames import FrameScanner
from emit.incoming import ACK, Incoming, read_frame
from emit.wire import chunk_id
from tests.emit.builders import packed_forward

RECORDED = Path(__file__).parents[3] / "shared" / "forward-captures"
LIMIT = 1 << 20


def read(wire: bytes, limit: int = LIMIT) -> list[Incoming | None]:
    """Read all frames in `wire`."""
    found = []
    while wire:
        offsets = FrameScanner(LIMIT).scan(wire)
        assert offsets is not None
        found.append(read_frame(memoryview(wire)[: offsets[-1]], offsets, limit))
        wire = wire[offsets[-1] :]
    return found


def stream(incoming: Incoming | None) -> list[Any]:
    """Return the entries of a chunk as objects."""
    assert incoming is not None
    unpacker = msgpack.Unpacker(raw=True)
    unpacker.feed(incoming.entries)
    return list(unpacker)


def sessions() -> list[Any]:
    """Return every recorded file."""
    return sorted(RECORDED.glob("*.jsonl"))


@pytest.mark.skipif(not RECORDED.is_dir(), reason="the recorded sessions lie beside the checkout, not in it")
def test_recorded_clients_get_the_answers_that_their_servers_gave():
    """Real peers: the same chunk ids, byte for byte, and every one of the records that all of them carry."""
    checked = 0
    for path in sessions():
        sides: dict[tuple[int, str], bytes] = {}
        for line in path.read_text().splitlines():
            piece = json.loads(line)
            key = (piece["conn"], piece["dir"])
            sides[key] = sides.get(key, b"") + bytes.fromhex(piece.get("hex", ""))
        for (number, direction), wire in sides.items():
            if direction == "c2s":
                checked += replay(wire, sides.get((number, "s2c"), b""))
    assert checked >= 20


def replay(wire: bytes, answers: bytes) -> int:
    """Read one client's bytes from after the handshake on, compare with what its server said; return the records."""
    server = msgpack.Unpacker(raw=True)
    server.feed(answers)
    said = [answer for answer in server if isinstance(answer, dict)]
    client = msgpack.Unpacker(raw=True)
    client.feed(wire)
    if wire and next(client)[:1] == [b"PING"]:
        wire = wire[client.tell() :]
    chunks = read(wire)
    assert [msgpack.unpackb(chunk.ack, raw=True) for chunk in chunks if chunk and chunk.ack] == said
    records = [record for chunk in chunks for _time, record in stream(chunk)]
    for record in records:
        assert record[b"payload"] == bytes(range(256)) or record[b"payload"][b"type"] == b"Buffer"
    return len(records)


EVENT = [1_700_000_000, {"a": b"b"}]
RAW = [1_700_000_000, {b"a": b"b"}]


@pytest.mark.parametrize(
    "frame",
    [
        ["t", *EVENT, {"chunk": "id"}],
        ["t", [EVENT], {"chunk": "id"}],
        ["t", msgpack.packb(EVENT), {"chunk": "id", "size": 1, "compressed": "text"}],
        ["t", gzip.compress(msgpack.packb(EVENT)), {"chunk": "id", "compressed": "gzip"}],
    ],
    ids=["message", "forward", "packed", "compressed"],
)
def test_all_modes_give_the_same_entries(frame: list[object]):
    """What a client prefers is its own affair."""
    [chunk] = read(msgpack.packb(frame))
    assert stream(chunk) == [RAW]
    assert chunk is not None
    assert chunk.ack == msgpack.packb({"ack": "id"})


@pytest.mark.parametrize("options", [[], [None], [{}], [{"size": 1, "other": [1, {"x": 2}]}]])
def test_options_may_be_missing(options: list[object]):
    """Without a chunk id nothing is answered; unknown options are somebody else's."""
    for frame in (["t", *EVENT, *options], ["t", [EVENT], *options], ["t", msgpack.packb(EVENT), *options]):
        [chunk] = read(msgpack.packb(frame))
        assert stream(chunk) == [RAW]
        assert chunk is not None
        assert chunk.ack is None


def test_entries_and_tag_may_be_a_str_that_is_not_utf8():
    """Old clients know no bin: their str holds any bytes."""
    body = msgpack.packb([1, {"payload": bytes(range(256))}])
    wire = b"\x93\xa3\xff\xfe\xfd" + b"\xdb" + len(body).to_bytes(4, "big") + body + msgpack.packb({"chunk": b"id"})
    [chunk] = read(wire)
    assert chunk is not None
    assert bytes(chunk.entries) == body
    assert chunk.ack == ACK + b"\xc4\x02id", "echoed in the very encoding it came in"


def test_several_gzip_members_are_one_stream():
    """fluentd appends compressed pieces to a chunk."""
    pieces = [msgpack.packb([number, {"n": b"x" * number}]) for number in range(300)]
    [chunk] = read(packed_forward(b"".join(map(gzip.compress, pieces)), compressed="gzip"))
    assert chunk is not None
    assert chunk.entries == b"".join(pieces)


def test_a_heartbeat_is_no_chunk():
    """Some clients send nil now and then."""
    assert read(b"\xc0\xc0") == [None, None]


def test_a_gzip_bomb_stops_at_the_limit():
    """A thousandth of the memory asked for is sent by the attacker."""
    bomb = gzip.compress(bytes(LIMIT + 1))
    with pytest.raises(MalformedTraffic, match="once inflated"):
        read(packed_forward(bomb, compressed="gzip"))
    in_two = gzip.compress(bytes(LIMIT // 2 + 1)) * 2
    with pytest.raises(MalformedTraffic, match="once inflated"):
        read(packed_forward(in_two, compressed="gzip"))


@pytest.mark.parametrize(
    ("wire", "why"),
    [
        (packed_forward(b"not gzip", compressed="gzip"), "not gzip"),
        (packed_forward(gzip.compress(b"abc" * 99)[:-9], compressed="gzip"), "too early"),
        (packed_forward(zlib.compress(b"abc"), compressed="gzip"), "not gzip"),
        (packed_forward(b"", compressed="zstd"), "zstd"),
        (msgpack.packb([7, [EVENT]]), "tag"),
        (msgpack.packb(["t", 1_700_000_000]), "without a record"),
        (msgpack.packb(["t", [EVENT], {}, {}]), "too many"),
        (msgpack.packb(["t", [EVENT], 7]), "not a map"),
        (msgpack.packb(["t", b"", {"chunk": "x" * 70_000}]), "too many bytes"),
    ],
)
def test_what_is_malformed_says_so(wire: bytes, why: str):
    """Each of these ends its connection, with a reason that helps."""
    with pytest.raises(MalformedTraffic, match=why):
        read(wire)


def test_only_our_chunk_ids_are_sessions():
    """Repetitions of others are not ours to judge; their ids look the same but for the number's size."""
    ours, theirs = chunk_id(b"session!", 7), "Zg7nuXHNXzX1yv7UsoJpAg=="
    idents = [chunk.ident for chunk in read(packed_forward(b"", ours) + packed_forward(b"", theirs)) if chunk]
    assert idents == [(b"session!", 7), None]


@given(st.binary(max_size=300), st.integers(0, 300), st.integers(0, 255))
def test_damaged_frames_raise_nothing_else(body: bytes, at: int, value: int):
    """A connection may break; the receiver may not."""
    wire = bytearray(packed_forward(gzip.compress(body), chunk_id(b"session!", 1), compressed="gzip"))
    wire[at % len(wire)] = value
    try:
        offsets = FrameScanner(LIMIT).scan(wire)
        if offsets is not None:
            read_frame(memoryview(wire)[: offsets[-1]], offsets, LIMIT)
    except MalformedTraffic:
        pass
