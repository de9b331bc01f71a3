"""Heads as lines: what is not touched stays, to the byte."""

import h11
from hypothesis import given
from hypothesis import strategies as st

from emit.head import Head

HEAD = (
    b"GET / HTTP/1.1\r\nHost:shop\r\nX-Long: one\r\n\ttwo\r\n  three \r\ncookie:  a=b \r\nno colon here\r\n"
    b"Cookie: c=d\r\nEmpty:\r\n\r\n"
)
names = st.sampled_from(["Host", "Cookie", "X-Long", "Accept", "Via"])
values = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=12)


def test_a_head_that_nobody_touches_is_the_same():
    """Case, blanks, folds, lines that are no fields, either line end."""
    for head in (HEAD, HEAD.replace(b"\r\n", b"\n"), b"", b"\r\n", b"GET / HTTP/1.1", b"\n:x\n"):
        assert bytes(Head(head)) == head


def test_fields_are_found_in_any_case():
    """And a folded field is one."""
    head = Head(HEAD)
    assert list(head.values(b"cookie")) == [b"a=b", b"c=d"]
    assert head.joined(b"x-long") == b"one\r\n\ttwo\r\n  three"
    assert (head.blank, head.line_end) == (b"\r\n", b"\r\n")


def test_a_field_is_set_where_it_is_and_once():
    """Its name and the blanks around its value stay; without one, it comes last, in the head's own line ends."""
    head = Head(HEAD)
    head.set(b"COOKIE", b"new")
    head.set(b"X-Mirror", b"1")
    head.set(b"x-long", b"short")
    head.set(b"Empty", b"full")
    assert bytes(head) == (
        b"GET / HTTP/1.1\r\nHost:shop\r\nX-Long: short \r\ncookie:  new \r\nno colon here\r\nEmpty:full\r\n"
        b"X-Mirror: 1\r\n\r\n"
    )
    bare = Head(b"GET / HTTP/1.1\n\n")
    bare.set(b"A", b"b")
    assert bytes(bare) == b"GET / HTTP/1.1\nA: b\n\n"


def test_fields_are_taken_out_with_their_folds():
    """A line of a fold that stayed would become part of the field before."""
    head = Head(HEAD)
    head.remove({b"x-long", b"cookie"})
    assert bytes(head) == b"GET / HTTP/1.1\r\nHost:shop\r\nno colon here\r\nEmpty:\r\n\r\n"


@given(st.lists(st.tuples(names, values), max_size=8), names, values, st.sampled_from(["set", "remove", "change"]))
def test_other_readers_see_what_was_meant(fields: list[tuple[str, str]], name: str, value: str, what: str):
    """h11 reads the result, and a plain list says what there should be."""
    lines = "".join(f"{each}: {text}\r\n" for each, text in fields)
    head = Head(f"GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n".encode())
    expected = [("host", "a"), *((each.lower(), text) for each, text in fields)]
    same = [at for at, (each, _text) in enumerate(expected) if each == name.lower()]
    if what == "set":
        head.set(name.encode(), value.encode())
        kept = [pair for at, pair in enumerate(expected) if at not in same[1:]]
        expected = [(each, value if each == name.lower() else text) for each, text in kept]
        expected += [] if same else [(name.lower(), value)]
    elif what == "remove":
        head.remove({name.lower().encode()})
        expected = [pair for at, pair in enumerate(expected) if at not in same]
    else:
        head.change({name.lower().encode()}, lambda old: old + b"!")
        expected = [(each, text + "!" * (each == name.lower())) for each, text in expected]
    raw = bytes(head)
    if sum(each == "host" for each, _text in expected) != 1:
        raw, expected = raw.replace(b"HTTP/1.1", b"HTTP/1.0"), expected
        if sum(each == "host" for each, _text in expected) > 1:
            return  # h11 takes one at most
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(raw)
    event = connection.next_event()
    assert isinstance(event, h11.Request)
    assert [(each.decode(), text.decode()) for each, text in event.headers] == expected
