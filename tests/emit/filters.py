"""The obvious evaluator of filter expressions, in plain Python, and strategies for expressions and what they judge."""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

from hypothesis import strategies as st

from assemble.message import Message
from tests.emit.builders import CLIENT, SERVER, replayed, request, response

REQUEST_ONLY: Final = {"method", "target", "path", "query", "host", "param", "cookie"}
NETWORKS: Final = ["10.0.0.0/8", "10.0.0.1", "192.168.255.6/31", "0.0.0.0/0", "::/0", "2001:db8::/33", "10.128.0.0/9"]

Tree = tuple[Any, ...]
"""("test", field, name, operator, value), ("not", tree), ("and", trees) or ("or", trees)."""


def write(tree: Tree) -> str:
    """Write an expression as text, with parentheses wherever they can stand."""
    if tree[0] == "not":
        return f"not ({write(tree[1])})"
    if tree[0] in {"and", "or"}:
        return f" {tree[0]} ".join(f"({write(each)})" for each in tree[1])
    _test, field, name, op, value = tree
    subject = f"{field}('{name}')" if name else field
    if op == "is":
        return str(subject)
    return f"{subject} {op} {_literal(value)}"


def _literal(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_literal, value))}]"
    return f'"{value}"' if isinstance(value, str) else str(value)


def comparisons_of(tree: Tree) -> list[Tree]:
    """Return all comparisons of an expression."""
    if tree[0] == "test":
        return [tree]
    return [each for part in ([tree[1]] if tree[0] == "not" else tree[1]) for each in comparisons_of(part)]


def wanted(tree: Tree, messages: Iterable[Message]) -> list[bool]:
    """Judge messages in order, as docs/filters.md says."""
    by_message = any(test[1] in {"status", "kind"} for test in comparisons_of(tree))
    requests: dict[int, Message] = {}
    verdicts = []
    for message in messages:
        if message.kind == "request":
            requests[message.id] = message
        asked = requests.get(message.id)
        if by_message:
            verdicts.append(_holds(tree, lambda field, m=message, r=asked: r if field in REQUEST_ONLY else m))
        else:
            verdicts.append(_holds(tree, lambda _field, r=asked: r))
    return verdicts


def _holds(tree: Tree, subject: Any) -> bool:
    if tree[0] == "not":
        return not _holds(tree[1], subject)
    if tree[0] in {"and", "or"}:
        return (all if tree[0] == "and" else any)(_holds(each, subject) for each in tree[1])
    _test, field, name, op, value = tree
    message = subject(field)
    have = None if message is None else value_of(message, field, name)
    if have is None:
        return False
    if op == "is":
        return bool(have) if field == "complete" else True
    return _compare(have, op, value, field)


def _compare(have: Any, op: str, value: Any, field: str) -> bool:
    if field in {"src", "dst"}:
        networks = [
            ipaddress.ip_network(each, strict=False) for each in (value if isinstance(value, list) else [value])
        ]
        return any(have in network for network in networks) != (op == "!=")
    if op in {"~", "!~"}:
        flags = re.IGNORECASE if field == "host" else 0
        return bool(re.search(value.encode(), have, flags)) == (op == "~")
    if isinstance(have, bytes):
        values = [each.encode() for each in (value if isinstance(value, list) else [value])]
        if field == "host":
            have, values = have.lower(), [each.lower() for each in values]
    else:
        values = value if isinstance(value, list) else [value]
    return {
        "==": have == values[0], "!=": have != values[0], "in": have in values,
        **({"<": have < values[0], "<=": have <= values[0], ">": have > values[0], ">=": have >= values[0]}
           if isinstance(have, int) else {}),
    }[op]  # fmt: skip


def value_of(message: Message, field: str, name: str) -> Any:
    """Return what a message has of a field; None if it does not."""
    asked = message.kind == "request"
    target = (message.target or "").encode("latin-1")
    if field in {"src", "dst", "sport", "dport", "complete"}:
        return getattr(message, field)
    if field == "size":
        return len(message.payload)
    if field == "kind":
        return message.kind.encode()
    if field == "status":
        return message.status or None
    if field == "body":
        return message.payload[message.head :] or None
    if field == "header":
        return _first(_headers(message, name))
    if not asked:
        return None
    if field == "method":
        return (message.method or "").encode("latin-1") or None
    if field == "target":
        return target or None
    if field == "host":
        return _host(message, target)
    if field == "cookie":
        return _first(_pairs(b"; ".join(_headers(message, "Cookie")), b";", name))
    path, mark, query = _path_and_query(target).partition(b"?") if _path_and_query(target) else (None, b"", b"")
    if field == "path":
        return path
    if field == "query":
        return query if mark else None
    return _first(_pairs(query, b"&", name))


def _first(values: Sequence[bytes]) -> bytes | None:
    return values[0] if values else None


def _path_and_query(target: bytes) -> bytes:
    if target[:1] in {b"/", b"*"}:
        return target
    absolute = re.fullmatch(rb"[^:]*://[^/?]*(.*)", target, re.DOTALL)
    if absolute is None:
        return b""
    return absolute[1] if absolute[1].startswith(b"/") else b"/" + absolute[1]


def _host(message: Message, target: bytes) -> bytes | None:
    absolute = None if target.startswith(b"/") else re.fullmatch(rb"[^:]*://([^/?]*)(.*)", target, re.DOTALL)
    host = absolute[1] if absolute else _first(_headers(message, "Host"))
    if host is None:
        return None
    host = host.split(b"@", 1)[-1]
    bracket = re.match(rb"\[[^\]]*\]", host)
    return bracket[0] + host[bracket.end() :].split(b":")[0] if bracket else host.split(b":")[0]


def _headers(message: Message, name: str) -> list[bytes]:
    lines = message.payload[: message.head].split(b"\r\n")[1:]
    found = [line.partition(b":") for line in lines]
    return [value.strip(b" \t") for key, colon, value in found if colon and key.lower() == name.lower().encode()]


def _pairs(text: bytes, separator: bytes, name: str) -> list[bytes]:
    found = [each.strip(b" \t").partition(b"=") for each in text.split(separator)]
    return [value for key, equals, value in found if key == name.encode() and (key or equals)]


texts: Final = {
    "method": ["GET", "POST", "get", ""],
    "target": ["/", "/api/x?q=1", "*", "shop:443"],
    "path": ["/", "/api/x", "/api", "*"],
    "query": ["q=1", "", "q=1&r=%20"],
    "host": ["shop", "SHOP", "[::1]", "example.org"],
    "kind": ["request", "response", "replayed"],
    "body": ["x", "\x00", "abc", "é"],
    "header": ["1", "text/html", ""],
    "param": ["1", "", "%20"],
    "cookie": ["1", "a b", ""],
}
patterns: Final = ["", "^/api", "a", "x$", "^$", "[0-9]", "^shop", "SHOP", "(?i)get", "a.*c", "\\x00", "html", "."]
names: Final = {"header": ["X-One", "content-type", "Host"], "param": ["q", "r", "none"], "cookie": ["sid", "a"]}


@st.composite
def comparisons(draw: st.DrawFn) -> Tree:
    """Any comparison that is well typed."""
    field = draw(st.sampled_from([*texts, "status", "sport", "dport", "size", "src", "dst", "complete"]))
    name = draw(st.sampled_from(names[field])) if field in names else ""
    if field == "complete":
        return "test", field, "", "is", None
    if field in texts:
        op = draw(st.sampled_from(["is", "==", "!=", "in", "~", "!~"]))
        values = st.sampled_from(patterns if "~" in op else texts[field])
    elif field in {"src", "dst"}:
        op = draw(st.sampled_from(["is", "==", "!=", "in"]))
        values = st.sampled_from(NETWORKS if op == "in" else [each for each in NETWORKS if "/" not in each])
    else:
        op = draw(st.sampled_from(["is", "==", "!=", "<", "<=", ">", ">=", "in"]))
        values = st.sampled_from([0, 80, 200, 404, 8080, 40_000, 40_001, 65_535])  # type: ignore[assignment]
    return "test", field, name, op, draw(st.lists(values, min_size=1, max_size=4) if op == "in" else values)


trees: Final = st.recursive(
    comparisons(),
    lambda inner: st.one_of(
        st.tuples(st.just("not"), inner),
        st.tuples(st.sampled_from(["and", "or"]), st.lists(inner, min_size=2, max_size=4)),
    ),
    max_leaves=8,
)


@st.composite
def exchanged(draw: st.DrawFn) -> Message:
    """A request or a response with what expressions ask about, in odd shapes too; ids repeat."""
    number = draw(st.integers(0, 4))
    lines = draw(st.lists(st.sampled_from([
        "Host: shop", "host:Shop:8080", "Host: [::1]:80", "X-One: 1", "x-one:  2 ", "X-One-More: 1",
        "Content-Type: text/html", "Cookie: sid=1; a=a b", "Cookie: a; sid", "Broken", ": 1", "X-One : 1",
    ]), max_size=5))  # fmt: skip
    body = draw(st.sampled_from([b"", b"x", b"abc", b"\x00\xff\x00", "é".encode(), b"4\r\nabcd\r\n0\r\n\r\n"]))
    changes: dict[str, Any] = {"complete": draw(st.booleans())}
    v6 = draw(st.booleans())
    changes["src"] = ipaddress.ip_address("2001:db8::1") if v6 else draw(st.sampled_from([CLIENT, SERVER]))
    changes["dst"] = ipaddress.ip_address("2001:db8:8000::1") if v6 else SERVER
    if draw(st.booleans()):
        method = draw(st.sampled_from(["GET", "POST", "CONNECT"]))
        target = draw(st.sampled_from([
            "/", "/api/x?q=1", "/api?q=1&r=%20", "/x?r", "/?", "*", "shop:443", "http://u@Example.org:80/api?q=2",
            "http://shop", "http://shop?q=1", "a/b://c", "é", "/a?=1&q==2", "x",
        ]))  # fmt: skip
        head = "\r\n".join([f"{method} {target} HTTP/1.1", *lines, "", ""]).encode("latin-1")
        return request(number, target=target, method=method).replace(payload=head + body, head=len(head), **changes)
    made = draw(st.sampled_from([response, replayed]))
    status = draw(st.sampled_from([100, 200, 404, 503]))
    head = "\r\n".join([f"HTTP/1.1 {status} Fine", *lines, "", ""]).encode("latin-1")
    return made(number, status=status).replace(payload=head + body, head=len(head), **changes)
