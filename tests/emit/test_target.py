"""Targets and parameters."""

from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emit.target import change, decoded, encoded, split, update

texts = st.text(st.characters(min_codepoint=1, max_codepoint=0x2FF), max_size=6)
pairs = st.lists(st.tuples(st.sampled_from(["a", "b", "ü c", "token"]), texts), max_size=6)


@pytest.mark.parametrize(
    ("target", "parts"),
    [
        (b"/a/b?c=d?e", (b"", b"/a/b", b"?c=d?e")),
        (b"/", (b"", b"/", b"")),
        (b"/?", (b"", b"/", b"?")),
        (b"//double/x", (b"", b"//double/x", b"")),
        (b"/login?next=http://else/where", (b"", b"/login", b"?next=http://else/where")),
        (b"http://u:p@shop:80/a?b", (b"http://u:p@shop:80", b"/a", b"?b")),
        (b"http://shop?b=/", (b"http://shop", b"", b"?b=/")),
        (b"HTTP://shop", (b"HTTP://shop", b"", b"")),
        (b"*", None),
        (b"shop:443", None),
        (b"x?y://z", None),
    ],
)
def test_each_form_of_target(target: bytes, parts: tuple[bytes, bytes, bytes] | None):
    """RFC 9112 section 3.2: origin, absolute, authority and asterisk."""
    found = split(target)
    assert found == parts
    assert found is None or bytes(found) == target


def test_names_are_compared_decoded_and_the_rest_stays_as_written():
    """A token is one however its name is written; without an equals sign there is no value to hide."""
    query = b"a=1&%74oken=s%20x&token&token=&to+ken=z&&TOKEN=q"
    seen: list[bytes] = []
    changed = change(query, {b"token"}, lambda value: (seen.append(value), b"* &")[1])
    assert changed == b"a=1&%74oken=*%20%26&token&token=*%20%26&to+ken=z&&TOKEN=q"
    assert seen == [b"s x", b""]
    assert change(b"a=1;token=s;x&b;token=s&token=s;a=t;token", {b"token"}, lambda _value: b"*") == (
        b"a=1;token=*&b;token=*&token=*"
    )


@given(pairs, st.dictionaries(st.sampled_from(["a", "ü c", "new"]), texts, max_size=3), st.sets(st.sampled_from("ab")))
def test_parameters_are_set_once_and_taken_out(given_: list[tuple[str, str]], new: dict[str, str], without: set[str]):
    """As urllib reads the result, beside a plain list."""
    query = b"&".join(encoded(name.encode()) + b"=" + encoded(text.encode()) for name, text in given_)
    result = update(query, {k.encode(): v.encode() for k, v in new.items()}, {each.encode() for each in without})
    expected: list[tuple[str, str]] = []
    for name, text in given_:
        if name in new:
            if all(name != each for each, _text in expected):
                expected.append((name, new[name]))
        elif name not in without:
            expected.append((name, text))
    expected += [(name, text) for name, text in new.items() if all(name != each for each, _text in expected)]
    assert parse_qsl(result.decode(), keep_blank_values=True) == expected


def test_plus_is_a_blank():
    """As forms write it."""
    assert decoded(b"a+b%2Bc%ZZ") == b"a b+c%ZZ"
    assert update(b"", {}, {b"a"}) == b""
