"""Our half of Forward, read with msgpack."""

import gzip

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from capture.errors import MalformedTraffic
from emit.wire import ACK_BYTES, AckReader, chunk_id, compressed_frame, frame_head, frame_tail, read_chunk_id


@given(st.text(max_size=300), st.binary(max_size=300), st.integers(0, 2**40 - 1))
def test_frames_are_valid_forward(tag: str, entries: bytes, sequence: int):
    """Strict in what we send: array of three, bin, str id, no more options than the specification has."""
    name = chunk_id(b"12345678", sequence)
    tail = frame_tail(name, 7, compressed=False)
    frame = frame_head(tag) + len(entries).to_bytes(4, "big") + entries + tail
    assert msgpack.unpackb(frame) == [tag, entries, {"chunk": name, "size": 7}]
    frame = compressed_frame(frame_head(tag), entries, frame_tail(name, 7, compressed=True))
    found = msgpack.unpackb(frame)
    assert gzip.decompress(found[1]) == entries
    assert found[2] == {"chunk": name, "size": 7, "compressed": "gzip"}


@given(st.binary(min_size=8, max_size=8), st.integers(0, 2**40 - 1))
def test_ids_are_read_back(session: bytes, sequence: int):
    """The receiver tells repetitions by them."""
    assert read_chunk_id(chunk_id(session, sequence).encode()) == (session, sequence)


@pytest.mark.parametrize("name", [b"", b"id", b"Zg7nuXHNXzX1yv7UsoJpAg==\n", b"////////////////////////", b"\xff" * 24])
def test_ids_of_others_are_not_ours(name: bytes):
    """fluentd's end in a newline, Fluent Bit's are random."""
    assert read_chunk_id(name) is None


@given(st.lists(st.binary(max_size=40), max_size=6), st.integers(1, 20))
def test_acknowledgements_are_read_however_they_are_cut(names: list[bytes], step: int):
    """They come in any pieces; ids are bytes, whatever they were sent as."""
    wire = b"".join(msgpack.packb({"ack": name}, use_bin_type=number % 2 == 0) for number, name in enumerate(names))
    reader = AckReader()
    found = [name for at in range(0, len(wire), step) for name in reader.feed(wire[at : at + step])]
    assert found == names


@pytest.mark.parametrize("answer", [b"\xc1", b"\x01", b"\x93\x01\x02\x03\xc1", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_answers_that_are_not_forward_end_the_connection(answer: bytes):
    """A wrong port is a common mistake."""
    with pytest.raises(MalformedTraffic):
        AckReader().feed(answer)


def test_a_server_that_wants_a_key_is_named():
    """The operator can do something about that."""
    with pytest.raises(MalformedTraffic, match="shared key"):
        AckReader().feed(msgpack.packb(["HELO", {"nonce": b"\xff\xfe", "auth": b""}]))


def test_other_maps_acknowledge_nothing():
    """Unknown answers are not for us, also with keys that no dictionary can have."""
    assert AckReader().feed(b"\x82\xa3ack\x01\x91\x01\x02") == []


def test_an_endless_answer_is_bounded():
    """The receiver is a stranger, too."""
    reader = AckReader()
    endless = b"\xc6\x7f\xff\xff\xff" + bytes(2 * ACK_BYTES)
    with pytest.raises(MalformedTraffic):
        reader.feed(endless)
