"""Codings off and on again, and nothing that is not whole, or too much."""

import gzip
import sys
import zlib

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from emit.codings import Undecodable, dechunk, decode, encode, rechunk, spliced

CODINGS = ["gzip", "x-gzip", "deflate", "zstd", "br"]


def packed(content: bytes, name: str) -> bytes:
    """Encode with the library, not with what is tested."""
    if name == "br":
        return brotli.compress(content)
    if name == "zstd":
        return zstandard.ZstdCompressor().compress(content)
    return zlib.compress(content) if name == "deflate" else gzip.compress(content)


@given(st.binary(max_size=3000), st.lists(st.sampled_from(CODINGS), max_size=3), st.binary(max_size=100))
def test_codings_come_off_and_go_on_again(content: bytes, codings: list[str], other: bytes):
    """Several, in their order; what was put on is what the next receiver takes off."""
    data = content
    for name in codings:
        data = packed(data, name)
    assert decode(data, tuple(codings)) == content
    assert decode(encode(other, tuple(codings), data), tuple(codings)) == other


def test_bare_deflate_stays_bare():
    """Some servers mean that by deflate, and their clients expect it."""
    bare = zlib.compress(b"hello" * 9)[2:-4]
    assert decode(bare, ("deflate",)) == b"hello" * 9
    again = encode(b"other", ("deflate",), bare)
    assert zlib.decompress(again, -15) == b"other"
    assert encode(b"other", ("deflate",), zlib.compress(b"x"))[:1] == b"\x78"


@pytest.mark.parametrize("name", CODINGS)
def test_what_is_not_whole_is_not_decoded(name: str):
    """Half a body may be without what is to be hidden, or end in the middle of it."""
    whole = packed(bytes(range(256)) * 4, name)
    for data in (whole[:-1], whole[:5], b"", b"nothing of the kind", whole + b"more"):
        if data == b"" and name != "zstd":
            continue
        with pytest.raises(Undecodable):
            decode(data or b"\x28\xb5", (name,))


@pytest.mark.parametrize("name", CODINGS)
def test_a_bomb_does_not_go_off(name: str):
    """Memory is bounded by what a body may have, not by what a peer says."""
    with pytest.raises(Undecodable, match=r"more than a body may have|too much memory"):
        decode(packed(bytes(50_000_000), name), (name,), 1_000_000)


def test_unknown_codings_and_too_many_are_refused():
    """What cannot be decoded is said to be so."""
    with pytest.raises(Undecodable, match="not known"):
        decode(b"x", ("compress",))
    with pytest.raises(Undecodable, match="too many"):
        decode(b"x", ("gzip",) * 4)
    assert decode(gzip.compress(b"a") + gzip.compress(b"b"), ("gzip",)) == b"ab"


@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=5), st.sampled_from([b"", b"A: b\r\n", b"A: b\nC:\r\n d\r\n"])
)
def test_chunks_come_off_and_go_on_again(pieces: list[bytes], trailers: bytes):
    """Extensions go, trailer fields stay."""
    raw = b"".join(b"%X ;a=b\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"00\r\n" + trailers + b"\r\n"
    content, rest = dechunk(raw)
    assert content == b"".join(pieces)
    again = rechunk(content, rest)
    assert dechunk(again) == (content, rest)
    assert again.endswith(b"0\r\n" + trailers + b"\r\n")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"5\r\nhell",
        b"5\r\nhello0\r\n\r\n",
        b"x\r\n",
        b"0\r\n",
        b"0\r\nA: b\r\n",
        b"-1\r\n\r\n",
        b"0\r\n\r\nmore\r\n",
    ],
)
def test_broken_chunks_are_refused(raw: bytes):
    """Also what comes behind the end: it would be put somewhere else."""
    with pytest.raises(Undecodable):
        dechunk(raw)


def test_without_its_library_br_is_one_more_coding_that_is_not_known(monkeypatch: pytest.MonkeyPatch):
    """It is an extra: what cannot be decoded is said to be so, and why."""
    packed_ = brotli.compress(b"hello")
    monkeypatch.setitem(sys.modules, "brotli", None)
    monkeypatch.setitem(sys.modules, "brotlicffi", None)
    with pytest.raises(Undecodable, match="no library for br"):
        decode(packed_, ("br",))


def test_spans_are_exchanged_up_to_what_a_body_may_have():
    """Whatever a rule puts there, and however often."""
    assert spliced(b"abcdef", [(1, 2, b"XX"), (4, 6, b"")]) == b"aXXcd"
    same = b"abc"
    assert spliced(same, []) is same
    with pytest.raises(Undecodable):
        spliced(b"abc", [(0, 0, b"x" * 50), (1, 1, b"x" * 51)], 100)
    with pytest.raises(Undecodable):
        spliced(b"", ((0, 0, b"") for _ in range(1_000_001)))
