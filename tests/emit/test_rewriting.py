"""Rules that change messages, beside what another reader sees."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emit.replacing import Replacement
from emit.rewriting import RewriteRule, RewriteSpec, as_json
from tests.emit.builders import messages, request, response
from tests.emit.wires import PACK, message, post, read


def rewrite(made: Any, *rules: RewriteRule) -> Any:
    """Apply rules to one message."""
    [changed] = RewriteSpec(rules).make().apply(made, 0.0) or ()
    return changed


def test_a_rule_changes_what_it_says_and_nothing_else():
    """Target, query and fields at once; all that is not named stays to the byte."""
    made = message(
        "GET /v1/items/7?page=2&q=a%20b&token=x HTTP/1.1\nhost: shop\nCOOKIE:  a=b\nX-Fold: a\n b\n"
        "Referer: http://shop/v1/x\nX-Mirror:0\nCookie: c"
    )
    rule = RewriteRule(
        path=Replacement("^/v1/(.*)", r"/v2/\1"),
        query=Replacement("page=", "p="),
        set_parameters=(("new", "ü &"), ("q", "1")),
        remove_parameters=("token",),
        remove_headers=("Cookie",),
        replace_headers=(("referer", Replacement("^http://[^/]*", "https://staging")),),
        set_headers=(("x-mirror", "1"), ("X-New", "2")),
    )
    changed = rewrite(made, rule)
    assert changed.payload.decode() == (
        "GET /v2/items/7?p=2&q=1&new=%C3%BC%20%26 HTTP/1.1\r\nhost: shop\r\nX-Fold: a\r\n b\r\n"
        "Referer: https://staging/v1/x\r\nX-Mirror:1\r\nX-New: 2\r\n\r\n"
    )
    assert (changed.target, changed.id) == ("/v2/items/7?p=2&q=1&new=%C3%BC%20%26", made.id)


def test_messages_without_what_is_changed_are_the_same_objects():
    """A copy that nobody needs costs, and may differ."""
    rule = RewriteRule(path=Replacement("^/no", "/yes"), remove_headers=("Cookie",), json=(("/a", "1"),))
    for made in (request(1), response(1, b"text"), post(b'{"b": 1}'), message("OPTIONS * HTTP/1.1\nHost: a")):
        assert rewrite(made, rule) is made


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("http://shop:80/a/b?c", "http://shop:80/x/b?c"),
        ("/a/b", "/x/b"),
        ("/a", "/"),
        ("*", "*"),
        ("http://shop", "http://shop"),
    ],
)
def test_paths_of_every_form(target: str, expected: str):
    """A path that would be empty is /."""
    rule = RewriteRule(path=Replacement("^/a(/b)?", r""))
    rule = RewriteRule(path=Replacement("^/a/", "/x/")) if target.count("/a/") else rule
    assert rewrite(message(f"GET {target} HTTP/1.1\nHost: a"), rule).target == expected


def test_a_query_that_is_empty_afterwards_has_no_mark():
    """But one that was there without anything behind it stays."""
    rule = RewriteRule(remove_parameters=("a",))
    assert rewrite(message("GET /?a=1 HTTP/1.1\nHost: a"), rule).target == "/"
    assert rewrite(message("GET /? HTTP/1.1\nHost: a"), rule).target == "/?"


@given(st.text(max_size=40), st.sampled_from(sorted(PACK)), st.sampled_from([0, 1, 9]))
def test_bodies_are_exchanged_in_their_codings(text: str, coding: str, chunk: int):
    """What the receiver decodes is what the rule has made, and every length fits."""
    body = f"<b>{text}shop shop</b>".encode()
    made = post(body, "text/html", coding, chunk)
    changed = rewrite(made, RewriteRule(body=Replacement("sh(op)", r"SH\1!")))
    head, content = read(changed)
    assert content == body.replace(b"shop", b"SHop!")
    assert [pair for pair in head.headers if pair[0] != b"content-length"] == [
        pair for pair in read(made)[0].headers if pair[0] != b"content-length"
    ]


@given(
    st.dictionaries(st.sampled_from("abc"), st.integers() | st.text(max_size=4) | st.lists(st.integers(), max_size=2)),
    st.sampled_from([None, 2]),
    st.sampled_from(sorted(PACK)),
)
def test_values_in_json_are_exchanged_where_they_lie(value: dict[str, Any], indent: int | None, coding: str):
    """Everything around them is as it was written."""
    text = json.dumps(value, indent=indent)
    changed = rewrite(post(text.encode(), coding=coding), RewriteRule(json=(("/a", '{"new": "ü"}'), ("/d", "1"))))
    after = read(changed)[1].decode()
    assert json.loads(after) == {name: {"new": "ü"} if name == "a" else each for name, each in value.items()}
    if "a" in value:
        # with a number in the place of both, nothing else differs
        old, new = (json.dumps(each, indent=indent) for each in (value["a"], {"new": "ü"}))
        if indent is None:
            assert after == text.replace(f'"a": {old}', '"a": {"new": "ü"}')
        assert new
    else:
        assert after == text


def test_bodies_that_cannot_be_looked_into_stay_and_are_counted():
    """A rule that was not applied has to be heard of."""
    step = RewriteSpec((RewriteRule(body=Replacement("a", "b"), set_headers=(("X", "1"),)),)).make()
    made = [
        post(b"aaa").replace(complete=False, missing=3),
        message("POST / HTTP/1.1\nContent-Encoding: compress\nContent-Length: 3", b"aaa"),
        request(1).replace(payload=b"GET / HTTP/1.1\r\nA", head=17),
    ]
    changed = [(step.apply(each, 0.0) or [])[0] for each in made]
    assert [each.payload.endswith(b"\r\nX: 1\r\n\r\naaa") for each in changed] == [True, True, False]
    assert changed[2] is made[2]
    assert (step.take_counts(), step.take_counts()) == ({"undecoded": 3}, {"undecoded": 0})


def test_a_message_without_a_body_gets_none():
    """The length in the answer to HEAD is that of another message."""
    rule = RewriteRule(body=Replacement("^", "x"), json=(("/a", "1"),))
    head = message("HTTP/1.1 200 Fine\nContent-Length: 500\nContent-Encoding: gzip")
    assert rewrite(head, rule) is head


def test_rules_are_applied_in_their_order_and_where_they_say():
    """Each sees what those before it have made; responses follow the requests that the rule was applied to."""
    rules = (
        RewriteRule(where="path ~ '^/a'", path=Replacement("^/a", "/b")),
        RewriteRule(where="path ~ '^/b'", set_headers=(("X", "b"),)),
        RewriteRule(where="status == 404 and path == '/b'", set_headers=(("Y", "c"),)),
    )
    step = RewriteSpec(rules).make()
    made = [
        request(1, target="/a"), request(2, target="/c"), response(1), response(2), response(1, status=404),
        response(2, status=404),
    ]  # fmt: skip
    changed = [(step.apply(each, 0.0) or [])[0] for each in made]
    assert changed[0].target == "/b"
    fields = [{name for name in (b"X: b", b"Y: c") if name in each.payload} for each in changed]
    assert fields == [{b"X: b"}, set(), {b"X: b"}, set(), {b"X: b", b"Y: c"}, set()]


@given(messages())
def test_any_message_comes_out_as_one_message(made: Any):
    """Whatever was on the wire: nothing raises, and the id and the addresses are the same."""
    rule = RewriteRule(
        path=Replacement("[a-z]", "x"),
        query=Replacement("$", "&q"),
        set_parameters=(("a", "b"),),
        replace_headers=(("Host", Replacement("s", "")),),
        set_headers=(("Server", "1"),),
        body=Replacement(".", "yy"),
        json=(("/*", "1"),),
    )
    changed = rewrite(made, rule)
    assert (changed.id, changed.src, changed.kind) == (made.id, made.src, made.kind)


def test_values_that_json_does_not_have_are_refused():
    """TOML has dates and infinity."""
    assert as_json({"a": [1, True, "ü"]}) == '{"a": [1, true, "ü"]}'
    for value in (float("inf"), b"x", object()):
        with pytest.raises(ValueError, match="JSON has no such value"):
            as_json(value)


def test_too_many_matches_are_too_many():
    """A body of nothing else would keep a worker busy, or fill its memory."""
    step = RewriteSpec((RewriteRule(body=Replacement("a", "b" * 100)),)).make()
    made = post(b"a" * 1_100_000)
    assert step.apply(made, 0.0) == (made,)
    made = post(b'{"a": ' * 3)
    step = RewriteSpec((RewriteRule(json=(("/a", "1"),), set_headers=(("X", "1"),)),)).make()
    assert b"\r\nX: 1\r\n" in (step.apply(made, 0.0) or [])[0].payload
    assert step.take_counts() == {"undecoded": 1}
