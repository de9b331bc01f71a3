"""Where values lie in a JSON text, beside Python's own reader."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emit.pointers import MOST_DEPTH, Pointers, tokens

names = st.sampled_from(["a", "b", "*", "a/b", "m~n", "é", '"', "0", "**", ""])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=20,
)
parts = st.lists(st.sampled_from(["a", "b", "*", "**", "a~1b", "m~0n", "é", "0", "1", ""]), min_size=1, max_size=4)
pointers = parts.filter(lambda each: each[-1] != "**").map(lambda each: "/" + "/".join(each))


def matches(pattern: tuple[str, ...], path: tuple[str, ...]) -> bool:
    """Say whether a pointer points to a place."""
    if not pattern:
        return not path
    if pattern[0] == "**":
        return any(matches(pattern[1:], path[at:]) for at in range(len(path) + 1))
    return bool(path) and pattern[0] in ("*", path[0]) and matches(pattern[1:], path[1:])


def plainly(value: Any, patterns: list[tuple[str, ...]], path: tuple[str, ...] = ()) -> list[Any]:
    """Find values by walking through what Python has read."""
    if any(matches(pattern, path) for pattern in patterns):
        return [value]
    if isinstance(value, dict):
        inside = list(value.items())
    elif isinstance(value, list):
        inside = [(str(at), each) for at, each in enumerate(value)]
    else:
        return []
    return [found for name, each in inside for found in plainly(each, patterns, (*path, name))]


@given(values, st.lists(pointers, min_size=1, max_size=3), st.booleans(), st.sampled_from([None, 1, "\t"]))
def test_values_lie_where_python_finds_them(value: Any, given_: list[str], ascii_: bool, indent: Any):
    """Whatever the blanks, the escapes and the nesting."""
    text = json.dumps(value, ensure_ascii=ascii_, indent=indent).encode()
    spans = Pointers(given_).find(text)
    assert [json.loads(text[start:end]) for start, end, _number in spans] == plainly(value, [tokens(p) for p in given_])
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))


def test_all_values_of_a_name_that_is_there_twice():
    """Readers differ in which one they take: all are found."""
    text = b'{"a": 1, "a" :NaN,"\\u0061":-1.50e+3, "b":"a"}'
    assert [text[start:end] for start, end, _number in Pointers(["/a"]).find(text)] == [b"1", b"NaN", b"-1.50e+3"]


def test_several_texts_one_after_the_other():
    """JSON Lines, and a mark at the beginning."""
    text = b'\xef\xbb\xbf {"a":1}\n{"a":[2]}\n\x1e{"b":{"a":3}}'
    assert [(text[s:e], n) for s, e, n in Pointers(["/a", "/**/a"]).find(text)] == [(b"1", 1), (b"[2]", 1), (b"3", 1)]


@pytest.mark.parametrize(
    "text",
    [b"", b" ", b"{", b"[1", b"[1,]", b'{"a"}', b'{"a":}', b'{a:1}', b'"\\', b'"abc', b"}", b"[1 2]", b"{} x{", b"\xff",
     b'{"a":1,}', b"<html>", b'{"\\ud8":1}'],
)  # fmt: skip
def test_what_is_no_json_is_refused(text: bytes):
    """Whoever masks has to know that nothing was looked at."""
    with pytest.raises(ValueError):  # noqa: PT011  # the words are not shown to anybody
        Pointers(["/a", "/b"]).find(text)


@given(st.binary(max_size=60))
def test_any_bytes_end_in_spans_or_an_error(text: bytes):
    """Nothing outside the text is read."""
    try:
        spans = Pointers(["/**/a"]).find(text)
    except ValueError:
        return
    assert all(0 <= start < end <= len(text) for start, end, _number in spans)


def test_nesting_has_an_end():
    """The stack is not the sender's."""
    assert Pointers(["/a"]).find(b"[" * MOST_DEPTH + b"]" * MOST_DEPTH) == []
    with pytest.raises(ValueError, match="too deeply"):
        Pointers(["/a"]).find(b"[" * 100_000)


@pytest.mark.parametrize(
    ("pointer", "said"),
    [("", "begins with /"), ("a", "begins with /"), ("/a~2", "~0"), ("/a~", "~0"), ("/a/**", "a name or \\*")],
)
def test_what_is_no_pointer_is_refused(pointer: str, said: str):
    """RFC 6901 section 3."""
    with pytest.raises(ValueError, match=said):
        tokens(pointer)
    with pytest.raises(ValueError, match="too many"):
        Pointers(["/a/b"] * 33)
