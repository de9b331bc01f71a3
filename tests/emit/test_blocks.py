"""The recording format as bytes: checksums, sizes, and where whole blocks lie in a file."""

import tracemalloc
import zlib

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from emit.blocks import (
    BLOCK_HEADER,
    BLOCK_MAGIC,
    FILE_HEADER,
    MOST_BODY_BYTES,
    SCAN_BYTES,
    DamagedBlock,
    file_header,
    read_block_header,
    read_file_header,
    seal,
    spans,
    unseal,
)

KEY = b"8 bytes."
ABOUT = (3, 2, -5, 7)


def block_of(body: bytes, kind: int, stored: bytes, size: int | None = None) -> bytes:
    """Make a block whose checksums are right, whatever else is wrong with it."""
    size = len(body) if size is None else size
    head = BLOCK_HEADER.pack(BLOCK_MAGIC, kind, 0, 0, len(stored), size, *ABOUT, zlib.crc32(stored), 0)[:-4]
    return head + zlib.crc32(KEY + head).to_bytes(4, "little") + stored


def opened(block: bytes, key: bytes = KEY) -> bytes:
    """Read one block as a reader does."""
    said = read_block_header(block[: BLOCK_HEADER.size], key)
    assert said is not None
    return unseal(said, block[BLOCK_HEADER.size :])


def test_the_layout_is_the_documented_one():
    """docs/recording.md says it to the byte; other programs read by that."""
    assert (FILE_HEADER.size, BLOCK_HEADER.size) == (24, 48)
    head = file_header(KEY)
    assert head[:20] == b"\x89RTREC\r\n\x01\x00\x00\x00" + KEY
    assert int.from_bytes(head[20:], "little") == zlib.crc32(head[:20])
    assert seal(b"body", ABOUT, "none", KEY) == block_of(b"body", 0, b"body")


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
@given(body=st.binary(max_size=3000))
def test_a_body_comes_back(compression: str, body: bytes):
    """In each compression, with what its header says of it."""
    block = seal(body, ABOUT, compression, KEY)  # type: ignore[arg-type]
    said = read_block_header(block[:48], KEY)
    assert said is not None
    assert (said.records, said.messages, said.first_ns, said.last_ns) == ABOUT
    assert said.length == len(block)
    assert opened(block) == body


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_no_flipped_bit_passes(compression: str):
    """Header and body are both covered, to the last bit."""
    block = seal(b"a body of a few bytes" * 3, ABOUT, compression, KEY)  # type: ignore[arg-type]
    for bit in range(8 * len(block)):
        broken = bytearray(block)
        broken[bit // 8] ^= 1 << bit % 8
        said = read_block_header(bytes(broken[:48]), KEY)
        if said is not None:
            assert bit >= 8 * 48
            with pytest.raises(DamagedBlock):
                unseal(said, bytes(broken[48:]))


@pytest.mark.parametrize(
    "block",
    [
        block_of(b"x" * 10, 1, zlib.compress(b"x" * 11)),
        block_of(b"x" * 10, 1, zlib.compress(bytes(64 << 20))),
        block_of(b"x" * 10, 1, b"no zlib"),
        block_of(b"x" * 10, 2, b"no zstd at all"),
        block_of(b"x" * 10, 2, zstandard.compress(bytes(64 << 20))),
        block_of(b"x" * 10, 2, b"\x28\xb5\x2f\xfd\xe0" + b"\xff" * 8 + b"\x00" * 20),  # says that it has 2**64 bytes
        block_of(b"x" * 10, 2, b""),
        block_of(b"x" * 10, 0, b"x" * 9),
        block_of(b"x" * 10, 9, b"x" * 10),
    ],
    ids=["longer", "bomb", "no-zlib", "no-zstd", "zstd-bomb", "zstd-size", "empty", "shorter", "unknown"],
)
def test_a_body_that_lies_is_one_error(block: bytes):
    """A file from a stranger costs neither memory nor a traceback."""
    tracemalloc.start()
    with pytest.raises(DamagedBlock):
        opened(block)
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


@pytest.mark.parametrize(("stored", "size"), [(MOST_BODY_BYTES + 1, 1), (1, MOST_BODY_BYTES + 1), (2**32 - 1,) * 2])
def test_sizes_beyond_the_limit_are_no_header(stored: int, size: int):
    """Nothing is allocated on a header's word."""
    head = BLOCK_HEADER.pack(BLOCK_MAGIC, 0, 0, 0, stored, size, *ABOUT, 0, 0)[:-4]
    assert read_block_header(head + zlib.crc32(KEY + head).to_bytes(4, "little"), KEY) is None


def test_another_file_header_or_a_piece_of_one_is_none():
    """A version is only believed of a header that is whole."""
    head = file_header(KEY)
    assert read_file_header(head) == (1, KEY)
    assert read_file_header(head[:-1]) is None
    for at in range(len(head)):
        assert read_file_header(head[:at] + bytes([head[at] ^ 1]) + head[at + 1 :]) is None


def found_in(data: bytes) -> list[tuple[int, int, bool]]:
    """Return all spans of a file's bytes after its header."""
    return [(s.at, s.end, s.lost) for s in spans(lambda at, size: data[at : at + size], 0, len(data), KEY)]


@given(junk=st.binary(min_size=1, max_size=200))
def test_blocks_behind_damage_are_found(junk: bytes):
    """One bad sector costs its blocks, not the rest of the recording."""
    one = seal(b"one", ABOUT, "none", KEY)
    data = one + junk + one
    assert found_in(data) == [
        (0, len(one), False),
        (len(one), len(one + junk), True),
        (len(one + junk), len(data), False),
    ]


@pytest.mark.parametrize("near", range(-50, 5, 3))
def test_a_block_is_found_across_steps_of_the_search(near: int):
    """What lies on the edge of two pieces is not overlooked."""
    one = seal(b"one", ABOUT, "none", KEY)
    for step in (SCAN_BYTES // 256, SCAN_BYTES // 256 * 5, SCAN_BYTES // 256 * 341):
        assert [each[2] for each in found_in(bytes(step + near) + one)] == [True, False]


def test_a_recording_inside_a_payload_is_not_taken_for_blocks():
    """People download recordings too: their key is another, and a cut block is not searched."""
    other = seal(b"inner", ABOUT, "none", b"another.")
    assert [each[2] for each in found_in(b"damaged" + other)] == [True]
    outer = seal(seal(b"inner", ABOUT, "none", KEY) + bytes(50), ABOUT, "none", KEY)
    assert found_in(outer[:-1]) == [(0, len(outer) - 1, True)]


def test_recordings_after_each_other_are_one():
    """`cat` joins them."""
    one, other = seal(b"one", ABOUT, "none", KEY), seal(b"two", ABOUT, "none", b"another.")
    assert not any(lost for _at, _end, lost in found_in(one + file_header(b"another.") + other))
