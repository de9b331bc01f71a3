"""GoReplay's files: those of its versions, those of strangers, and what the format cannot hold."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assemble.message import Message, read_message
from emit.building import name_of, record_of
from emit.gor import SEPARATOR, GorSource, is_complete, missing_bytes, read_piece, write_piece
from tests.emit.builders import messages, replayed, request, response

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
OLD = b"1 f45590522cd1838b4a0d5c5aab80b77929dea3b3 1612344573714086685\n" + GET + SEPARATOR
NEW = b"1 beb21f410a93305bf711861e 1678172411997745000 28000\n" + GET + SEPARATOR
ANSWER = b"2 beb21f410a93305bf711861e 1678172412000000000 5\nHTTP/1.1 200 OK\r\n\r\n" + SEPARATOR
REPLAY = b"3 beb21f410a93305bf711861e 1678172413000000000 7\nHTTP/1.1 503 Busy\r\n\r\n" + SEPARATOR


def read(path: Path, data: bytes) -> tuple[list[Message], GorSource]:
    """Read these bytes as a file."""
    path.write_bytes(data)
    with GorSource(str(path)) as source:
        return [read_message(record) for record in source], source


def test_files_of_its_versions_are_read(tmp_path: Path):
    """Version 0 has ids of 40 digits and no duration, version 1 those of 24, with one."""
    found, source = read(tmp_path / "f", OLD + NEW + ANSWER + REPLAY)
    assert [each.kind for each in found] == ["request", "request", "response", "replayed"]
    assert [each.last_ns - each.first_ns for each in found] == [0, 28000, 5, 7]
    assert [each.status for each in found] == [None, None, 200, 503]
    assert found[1].id == found[2].id == found[3].id == name_of(b"beb21f410a93305bf711861e") != found[0].id
    assert found[1].payload == GET
    assert (source.refused, source.cut_at) == (0, None)


def test_our_own_ids_are_kept():
    """16 digits are one of ours."""
    piece = write_piece(record_of(request(0xABC)))
    assert piece is not None
    assert piece.startswith(b"1 0000000000000abc 1700000000123456789 5000\nGET / HTTP/1.1\r\n")
    assert [write_piece(record_of(make(1)))[:2] for make in (response, replayed)] == [b"2 ", b"3 "]  # type: ignore[index]


@given(made=messages(), mark=st.sampled_from([b"", SEPARATOR, SEPARATOR[1:], SEPARATOR[:-1], SEPARATOR[1:-1]]))
def test_what_is_written_is_one_message_or_nothing(
    tmp_path_factory: pytest.TempPathFactory, made: Message, mark: bytes
):
    """A payload with the separator would be two, wherever it stands."""
    for payload in (mark + made.payload, made.payload + mark):
        whole = made.replace(payload=payload)
        piece = write_piece(record_of(whole))
        if piece is None:
            assert mark
            continue
        found, source = read(tmp_path_factory.mktemp("g") / "f", piece * 2)
        assert [each.payload for each in found] == [payload] * 2
        assert (source.refused, source.cut_at) == (0, None)


@pytest.mark.parametrize(
    "head",
    [b"", b"4 a 1 1", b"1 a", b"1 a b 1", b"GET / HTTP/1.1", b"1 a " + b"9" * 30, b"1 a 9223372036854775808", b"\xff"],
)
def test_messages_without_a_header_cost_themselves(tmp_path: Path, head: bytes, caplog: pytest.LogCaptureFixture):
    """People edit these files by hand."""
    found, source = read(tmp_path / "f", NEW + head + b"\n" + GET + SEPARATOR + NEW)
    assert len(found) == 2
    assert (source.records, source.refused) == (3, 1)
    assert f"message 2, at byte {len(NEW)}, has no header" in caplog.text


def test_a_request_whose_body_is_short_is_not_complete():
    """GoReplay writes what it has seen of a message."""
    payload = b"POST / HTTP/1.1\r\ncontent-length: 10\r\n\r\n1234"
    assert missing_bytes(payload) == 6
    record = read_piece(b"1 a 1 1\n" + payload)
    assert record is not None
    assert not is_complete(record)
    assert read_message(record).missing == 6
    assert missing_bytes(b"POST / HTTP/1.1\r\n\r\nContent-Length: 10\r\n") == 0


@given(st.binary(max_size=300))
def test_any_bytes_are_messages_or_counted(tmp_path_factory: pytest.TempPathFactory, data: bytes):
    """Nothing escapes, and the sums close."""
    found, source = read(tmp_path_factory.mktemp("g") / "f", data)
    assert source.records == len(found) + source.refused
