"""Masks: what is to be hidden does not come out, whatever the message is like."""

import hashlib
import hmac
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emit.masking import MaskRule, MaskSpec
from emit.target import encoded
from tests.emit.builders import messages, request, response
from tests.emit.wires import PACK, chunked, message, post, read

SECRET = "s3cr3t"
ALL = MaskRule(
    headers=("Authorization", "Cookie", "Set-Cookie"), parameters=("token", "p w"), json=("/**/card", "/a/0/b")
)


def mask(made: Any, *rules: MaskRule) -> Any:
    """Apply rules to one message."""
    [changed] = MaskSpec(rules or (ALL,)).make().apply(made, 0.0) or ()
    return changed


def test_fields_are_hidden_in_any_case_and_every_time():
    """Folds included."""
    made = message("GET / HTTP/1.1\nauthorization:Basic s3cr3t\n  s3cr3t\nX: y\nCOOKIE:  a=s3cr3t \nCookie: b=s3cr3t")
    assert mask(made).payload == b"GET / HTTP/1.1\r\nauthorization:***\r\nX: y\r\nCOOKIE:  *** \r\nCookie: ***\r\n\r\n"


def test_parameters_are_hidden_wherever_links_are():
    """The next request says in Referer where it comes from, and a redirect where to go."""
    made = message("GET /a?x=1&%74oken=s3cr3t&p+w=s3cr3t HTTP/1.1\nHost: a\nReferer: http://a/b?token=s3cr3t#c?token=d")
    assert mask(made).payload == (
        b"GET /a?x=1&%74oken=***&p+w=*** HTTP/1.1\r\nHost: a\r\nReferer: http://a/b?token=***#c?token=d\r\n\r\n"
    )
    assert mask(message("HTTP/1.1 302 Go\nlocation: ?token=s3cr3t")).payload.endswith(b"location: ?token=***\r\n\r\n")


@pytest.mark.parametrize("coding", sorted(PACK))
@pytest.mark.parametrize("chunk", [0, 3])
def test_bodies_are_hidden_in_their_codings(coding: str, chunk: int):
    """JSON by what it is, forms by what they are said to be."""
    text = b'{"user": 1.50, "pay": [{"card" : "s3cr3t"}, {"card":{"n":"s3cr3t"}}], "a":[{"b":null}]}'
    assert read(mask(post(text, coding=coding, chunk=chunk)))[1] == (
        b'{"user": 1.50, "pay": [{"card" : "***"}, {"card":"***"}], "a":[{"b":"***"}]}'
    )
    assert read(mask(post(text, "text/plain", coding, chunk)))[1].count(b'"***"') == 3
    form = post(b"a=b&token=s3cr3t", "application/x-www-form-urlencoded; charset=x", coding, chunk)
    assert read(mask(form))[1] == b"a=b&token=***"
    parts = b'--x\r\nContent-Disposition: form-data; name="token"\r\n\r\ns3cr3t\r\n--x--\r\n'
    assert read(mask(post(parts, "Multipart/Form-Data; boundary=x", coding, chunk)))[1] == parts.replace(
        SECRET.encode(), b"***"
    )


def test_fields_behind_a_chunked_body_are_hidden():
    """They are fields as any other."""
    head = "HTTP/1.1 200 Fine\nTransfer-Encoding: chunked"
    made = message(head, chunked(b"hello", 2, b"Set-Cookie: s3cr3t\r\nX: 0\r\n"))
    assert mask(made).payload == made.payload.replace(SECRET.encode(), b"***")
    plain = message(head, chunked(b"hello", 2))
    assert mask(plain) is plain


@pytest.mark.parametrize(
    "made",
    [
        post(b'{"card": "s3cr3t"').replace(complete=False, missing=1),
        post(b'{"card": "s3cr3t"'),
        post(b' [{"card": "s3cr3t"', "text/plain"),
        message("HTTP/1.1 206 Part\nContent-Type: application/json\nContent-Length: 9", b'd":"s3cr3'),
        message("POST / HTTP/1.1\nContent-Encoding: compress\nContent-Length: 18", b'{"card": "s3cr3t"}'),
        message("POST / HTTP/1.1\nContent-Type: text/json\nContent-Encoding: gzip\nContent-Length: 6", b"s3cr3t"),
        post(b'{"card": "s3c', "text/html").replace(complete=False, missing=10),
        post(b"tok", "application/x-www-form-urlencoded").replace(complete=False, missing=10),
        post(b"--x\r\ns3cr3t", "multipart/form-data; boundary=x"),
        message("POST / HTTP/1.1\nContent-Type: text/css\nTransfer-Encoding: chunked", b"5\r\ns3cr3t\r\nA"),
    ],
)  # fmt: skip
def test_what_cannot_be_looked_into_does_not_go_out(made: Any):
    """The head does, and says by its length what is missing."""
    step = MaskSpec((ALL,)).make()
    [changed] = step.apply(made, 0.0) or ()
    assert changed.payload == made.payload[: made.head]
    assert (changed.head, changed.complete) == (made.head, False)
    assert changed.missing == made.missing + len(made.payload) - made.head
    assert step.take_counts() == {"withheld": 1}


@pytest.mark.parametrize(
    "made",
    [
        request(1).replace(payload=b"GET / HTTP/1.1\r\nAuthorization: s3cr3t", head=37),
        request(1).replace(payload=b"GET /?token=s3cr3t\r\n\r\n", head=22, method="", target=""),
        response(1).replace(payload=b"s3cr3t", head=0),
    ],
)
def test_a_head_that_is_not_one_does_not_go_out(made: Any):
    """Nobody can say what it holds."""
    changed = mask(made)
    assert (changed.payload, changed.head, changed.complete) == (b"", 0, False)
    assert changed.missing == len(made.payload)


@pytest.mark.parametrize(
    "made",
    [
        request(1),
        response(1, b"plain text"),
        post(b"\x89PNG", "image/png", "").replace(complete=False, missing=3),
        post(b"<html>", "text/html").replace(complete=False, missing=3),
        post(b"<html>", "text/html; charset=utf-8", "gzip"),
        post(b'{"a": 1}'),
        message("HTTP/1.1 200 Fine\nContent-Length: 500"),
        message("OPTIONS * HTTP/1.1\nHost: a"),
    ],
)
def test_messages_without_what_is_hidden_are_the_same_objects(made: Any):
    """Nothing is parsed and written again."""
    assert mask(made) is made


@given(messages())
def test_any_message_comes_out_as_one_message(made: Any):
    """Whatever was on the wire: nothing raises, and the id and the addresses are the same."""
    changed = mask(made)
    assert (changed.id, changed.src, changed.kind) == (made.id, made.src, made.kind)


@given(st.text(min_size=6, max_size=12), st.booleans())
def test_the_same_value_has_the_same_hash_everywhere(value: str, escaped: bool):
    """So that what belongs together still does: in fields, parameters, and JSON however it is written."""
    key = b"0123456789abcdef"
    rule = MaskRule(parameters=("token",), json=("/card",), key=key)
    expected = hmac.new(key, value.encode(), hashlib.sha256).hexdigest()[:32]
    body = json.dumps({"card": value}, ensure_ascii=escaped).encode()
    assert json.loads(read(mask(post(body), rule))[1]) == {"card": expected}
    target = "/?token=" + encoded(value.encode()).decode()
    assert mask(message(f"GET {target} HTTP/1.1\nHost: a"), rule).target == f"/?token={expected}"
    field = message("GET / HTTP/1.1\nX: 1")
    other = MaskRule(headers=("X",), key=b"another key, of 16+")
    assert mask(field, other) != mask(field, MaskRule(headers=("X",), key=key))


def test_a_mask_has_its_own_where_and_text():
    """Rules are applied in their order."""
    rules = (
        MaskRule(where="path == '/a'", headers=("X",), text="'\"é"),
        MaskRule(json=("/c",), text='"\\é'),
    )
    step = MaskSpec(rules).make()
    made = [message("GET /a HTTP/1.1\nX: 1"), message("GET /b HTTP/1.1\nX: 1", number=2), post(b'{"c":1}')]
    changed = [(step.apply(each, 0.0) or [])[0] for each in made]
    assert ["'\"é".encode() in each.payload for each in changed] == [True, False, False]
    assert json.loads(read(changed[2])[1]) == {"c": '"\\é'}
