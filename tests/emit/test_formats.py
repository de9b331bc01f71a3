"""Files of messages by their content: told apart, read whole, and cut at every byte."""

import gzip
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from assemble.message import Message, read_message
from capture.errors import SourceError
from emit.building import placeholder, record_of
from emit.entries import Half, entry_line
from emit.formats import by_content, by_ending, open_source
from emit.gor import write_piece
from emit.recording import Writer
from emit.source import Source
from tests.emit.builders import as_line, conversation, messages, request, response
from tests.emit.lines import line_of

ROOT: Final = Path(__file__).parents[2]


def as_jsonl(made: list[Message]) -> bytes:
    """Write messages as our outputs do."""
    return b"".join(line_of(message) for message in made)


def as_gor(made: list[Message]) -> bytes:
    """Write messages as GoReplay does."""
    pieces = [write_piece(record_of(message)) for message in made]
    assert all(piece is not None for piece in pieces)
    return b"".join(piece for piece in pieces if piece is not None)


def as_har(made: list[Message]) -> bytes:
    """Write each message as an entry of its own."""
    halves = [Half(record_of(message)) for message in made]
    lines = [entry_line(*((half, None) if half.kind == 1 else (None, half))) for half in halves]
    return b'{"log":{"version":"1.2","entries":[\n' + b"\n,".join(lines) + b"\n]}}\n"


def as_recording(made: list[Message], path: Path) -> bytes:
    """Write messages with a block each."""
    with Writer(str(path)) as writer:
        for message in made:
            writer.write(record_of(message))
            writer.flush()
    return path.read_bytes()


WRITERS: Final[dict[str, Callable[[list[Message]], bytes]]] = {"jsonl": as_jsonl, "gor": as_gor, "har": as_har}


def read(path: Path | str, **more: Any) -> tuple[list[Message], Source]:
    """Read a file, whatever it is."""
    with open_source(str(path), **more) as source:
        return [read_message(record) for record in source], source


def without_addresses(message: Message) -> Message:
    """Return what .gor holds of a message that is complete."""
    ends = placeholder(message.id, 1 if message.kind == "request" else 2)
    return read_message(record_of(message)).replace(
        src=_address(ends.src), dst=_address(ends.dst), sport=ends.sport, dport=ends.dport, complete=True, missing=0
    )


def _address(packed: bytes) -> Any:
    from ipaddress import ip_address

    return ip_address(packed)


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.ZstdCompressor().compress])
@pytest.mark.parametrize("name", ["recording", "jsonl", "gor", "har"])
def test_a_file_is_known_by_its_content(tmp_path: Path, name: str, pack: Callable[[bytes], bytes]):
    """Whatever it is called, and however it was packed."""
    made = conversation(30)
    data = as_recording(made, tmp_path / "r") if name == "recording" else WRITERS[name](made)
    assert by_content(data[:4096]) == name
    (tmp_path / "file").write_bytes(pack(data))
    found, source = read(tmp_path / "file")
    assert [message.payload for message in found] == [message.payload for message in made]
    assert [message.id for message in found] == [message.id for message in made]
    assert (source.refused, source.cut_at, source.records) == (0, None, 30)


@pytest.mark.parametrize("name", ["recording", "jsonl", "gor", "har"])
def test_standard_input_is_read_like_a_file(tmp_path: Path, name: str):
    """A pipe cannot be sought in."""
    made = conversation(30)
    data = as_recording(made, tmp_path / "r") if name == "recording" else WRITERS[name](made)
    code = "from emit.formats import open_source\nprint(sum(1 for _ in open_source('-')))"
    done = subprocess.run(
        [sys.executable, "-c", code], input=data, capture_output=True, check=True, cwd=ROOT, timeout=60
    )
    assert done.stdout == b"30\n"


@pytest.mark.parametrize(
    "text", [b"my only copy", b"\xd4\xc3\xb2\xa1" + bytes(20), b"[1]\n", b"GET / HTTP/1.1\r\n\r\n"]
)
def test_what_is_none_of_them_is_an_error(tmp_path: Path, text: bytes):
    """One line that says what it is not."""
    (tmp_path / "f").write_bytes(text)
    with pytest.raises(SourceError, match=r"is not a recording|is a capture file"):
        open_source(str(tmp_path / "f"))


def test_an_empty_file_holds_nothing(tmp_path: Path):
    """A rotation that has just begun is no error."""
    (tmp_path / "f").write_bytes(b"")
    assert read(tmp_path / "f")[0] == []


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("a.rec", "recording"),
        ("a.1.JSONL", "jsonl"),
        ("a.gor", "gor"),
        ("a.har", "har"),
        ("a.pcap", None),
        ("rec", None),
    ],
)
def test_a_name_says_what_is_to_be_written(name: str, wanted: str | None):
    """So that nobody has to say it twice."""
    assert by_ending(name) == wanted


@given(made=st.lists(messages(), max_size=8))
def test_lines_come_back_in_every_field(tmp_path_factory: pytest.TempPathFactory, made: list[Message]):
    """JSON Lines hold everything that a message has."""
    path = tmp_path_factory.mktemp("f") / "f"
    path.write_bytes(as_jsonl(made))
    assert read(path)[0] == made


@given(made=st.lists(messages(), min_size=1, max_size=8))
def test_gor_holds_all_but_addresses(tmp_path_factory: pytest.TempPathFactory, made: list[Message]):
    """Kind, id, times and every byte."""
    path = tmp_path_factory.mktemp("f") / "f"
    path.write_bytes(as_gor(made))
    found = read(path)[0]
    wanted = [without_addresses(message) for message in made]
    for one, other in zip(found, wanted, strict=True):
        same = one.replace(method=other.method, target=other.target, status=other.status, head=other.head)
        assert same == other


@given(made=st.lists(messages(), min_size=1, max_size=8))
def test_har_holds_what_it_says_that_it_holds(tmp_path_factory: pytest.TempPathFactory, made: list[Message]):
    """Ids, addresses and times always; every byte, unless the message is told to be changed."""
    path = tmp_path_factory.mktemp("f") / "f"
    path.write_bytes(as_har(made))
    found, source = read(path)
    assert source.refused == 0
    for one, other in zip(found, made, strict=True):
        keys = ("id", "kind", "src", "sport", "dst", "dport", "first_ns", "last_ns", "complete", "missing")
        assert [getattr(one, key) for key in keys] == [getattr(other, key) for key in keys]
        if Half(record_of(other)).told() is None:
            assert one.payload == other.payload


@pytest.mark.parametrize("name", ["jsonl", "gor", "har"])
def test_a_file_cut_at_any_byte_yields_what_is_whole(tmp_path: Path, name: str):
    """A full disk or a kill cuts where it likes."""
    made = conversation(4, 16)
    data = WRITERS[name](made)
    ends = [len(WRITERS[name](made[: count + 1])) for count in range(4)]
    if name == "har":  # its entries end where the tail begins
        ends = [end - len("\n]}}\n") for end in ends]
    for cut in range(len(data)):
        (tmp_path / "f").write_bytes(data[:cut])
        found, source = read(tmp_path / "f", format=name)
        whole = sum(end - (name == "jsonl") <= cut for end in ends)
        assert [message.payload for message in found] == [message.payload for message in made[:whole]]
        assert source.refused == 0
        rest = cut > [0, *ends][whole] if name != "har" else 0 < cut < len(data) - 1
        assert (source.cut_at is not None) == rest, cut


@pytest.mark.parametrize("name", ["jsonl", "gor", "har"])
def test_long_messages_cost_themselves_only(tmp_path: Path, name: str):
    """What is longer than allowed is counted, and what follows is read."""
    made = [request(1), response(1, bytes(300_000)), request(2)]
    (tmp_path / "f").write_bytes(WRITERS[name](made))
    found, source = read(tmp_path / "f", most_bytes=200_000)
    assert [message.id for message in found] == [1, 2]
    assert (source.refused, source.records) == (1, 3)


def test_the_oracle_of_lines_is_the_encoder_of_outputs():
    """What these tests read is what is written."""
    assert b'"id":"0000000000000001"' in line_of(request(1))
    assert as_line(request(1))["id"] == "0000000000000001"
    assert os.linesep == "\n"
