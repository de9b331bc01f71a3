"""The filter language of `where`: from text to tests that lead to one another (docs/filters.md).

In: an expression.  Out: an `Expression`, or a `WhereError` of one line.  Invariant: what parses cannot fail later:
every test compares a field with values of its own type, and regular expressions are compiled.
"""

import ipaddress
import re
from dataclasses import dataclass, replace
from typing import Final, Literal

from emit.regex import compiled, plain, subject_bytes
from emit.tokens import Token, WhereError, tokens

Type = Literal["text", "number", "address", "truth"]
Operator = Literal["is", "==", "!=", "<", "<=", ">", ">=", "~", "!~", "in"]

FIELDS: Final[dict[str, Type]] = {
    "method": "text", "target": "text", "path": "text", "query": "text", "host": "text", "status": "number",
    "kind": "text", "body": "text", "src": "address", "dst": "address", "sport": "number", "dport": "number",
    "complete": "truth", "size": "number",
}  # fmt: skip
NAMED: Final = ("header", "param", "cookie")
OF_REQUEST: Final = frozenset({"method", "target", "path", "query", "host", "param", "cookie"})
"""Fields that a response has from its request."""
KINDS: Final = ("request", "response", "replayed")
"""What `kind` is compared with; an answer replayed is like a response."""
BY_MESSAGE: Final = frozenset({"status", "kind"})
"""Fields that make an expression one about each message, not about requests and what answers them."""
OPERATORS: Final[dict[Type, tuple[Operator, ...]]] = {
    "text": ("==", "!=", "~", "!~", "in"),
    "number": ("==", "!=", "<", "<=", ">", ">=", "in"),
    "address": ("==", "!=", "in"),
    "truth": (),
}
EXAMPLES: Final = {"text": "['GET', 'HEAD']", "number": "[80, 443]", "address": "['10.0.0.0/8', '::1']"}
MOST_COMPARISONS: Final = 60  # of one expression: their results are bits of what is remembered of a request
MOST_DEPTH: Final = 32  # of parentheses and `not`
YES: Final = -1
NO: Final = -2

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Comparison:
    """One comparison, and the number of the test that follows it if it holds, and if not; or YES, NO."""

    field: str
    op: Operator
    name: str = ""  # of a header, parameter or cookie
    texts: tuple[bytes, ...] = ()
    numbers: tuple[int, ...] = ()
    networks: tuple[Network, ...] = ()
    pattern: re.Pattern[bytes] | None = None
    subject_bytes: int = 0  # of the field that `pattern` looks at
    anchored: bool = False  # of `texts` with ~: only at the beginning
    yes: int = YES
    no: int = NO

    @property
    def of_request(self) -> bool:
        """Whether a response has this from its request."""
        return self.field in OF_REQUEST


@dataclass(frozen=True, slots=True)
class Expression:
    """Tests, the number of the first, and whether it is about each message or about requests and their responses."""

    tests: tuple[Comparison, ...]
    start: int
    by_message: bool


@dataclass(frozen=True, slots=True)
class _Not:
    inner: "_Node"


@dataclass(frozen=True, slots=True)
class _Chain:
    every: bool  # and; else or
    parts: tuple["_Node", ...]


_Node = Comparison | _Not | _Chain


def parse(text: str) -> Expression:
    """Read an expression."""
    parser = _Parser(tokens(text))
    tree = parser.whole()
    tests: list[Comparison] = []
    start = _lay(tree, YES, NO, tests)
    return Expression(tuple(tests), start, any(test.field in BY_MESSAGE for test in tests))


def _lay(node: _Node, yes: int, no: int, tests: list[Comparison]) -> int:
    """Append a node's tests, last first, and return the number of the one to begin with."""
    if isinstance(node, Comparison):
        tests.append(replace(node, yes=yes, no=no))
        return len(tests) - 1
    if isinstance(node, _Not):
        return _lay(node.inner, no, yes, tests)
    following = _lay(node.parts[-1], yes, no, tests)
    for part in reversed(node.parts[:-1]):
        following = _lay(part, following, no, tests) if node.every else _lay(part, yes, following, tests)
    return following


class _Parser:
    """Recursive descent: `or` binds less than `and`, that less than `not`."""

    def __init__(self, found: list[Token]) -> None:
        self.found = found
        self.next = 0
        self.tests = 0

    @property
    def now(self) -> Token:
        return self.found[self.next]

    def take(self) -> Token:
        token = self.now
        self.next += token.kind != "end"
        return token

    def takes(self, value: str) -> bool:
        """Take a sign or a word if it is the next token."""
        if self.now.kind in {"sign", "word"} and self.now.value == value:
            self.next += 1
            return True
        return False

    def expect(self, value: str) -> None:
        if not self.takes(value):
            raise WhereError(f"{self.now.shown}", self.now.at, f"write {value} here")

    def whole(self) -> _Node:
        tree = self.chain(0, every=False)
        if self.now.kind != "end":
            raise WhereError(f"{self.now.shown} after a whole expression", self.now.at, "write and, or before it")
        return tree

    def chain(self, depth: int, *, every: bool) -> _Node:
        """Read `a or b or …`, whose parts are `a and b and …`."""
        parts = [self.part(depth, every=every)]
        while self.takes("and" if every else "or"):
            parts.append(self.part(depth, every=every))
        return parts[0] if len(parts) == 1 else _Chain(every, tuple(parts))

    def part(self, depth: int, *, every: bool) -> _Node:
        return self.single(depth) if every else self.chain(depth, every=True)

    def single(self, depth: int) -> _Node:
        """Read a negation, a parenthesis, or a test."""
        at = self.now.at
        if depth >= MOST_DEPTH:
            raise WhereError("nested too deeply", at, f"write at most {MOST_DEPTH} parentheses and nots in each other")
        if self.takes("not"):
            return _Not(self.single(depth + 1))
        if self.takes("("):
            inner = self.chain(depth + 1, every=False)
            self.expect(")")
            return inner
        self.tests += 1
        if self.tests > MOST_COMPARISONS:
            raise WhereError("too many comparisons", at, f"write at most {MOST_COMPARISONS}; lists with in count once")
        return self.test()

    def test(self) -> Comparison:
        """Read `field`, or `field operator value`."""
        field, name = self.field()
        type_: Type = FIELDS.get(field, "text")
        token = self.now
        if token.kind == "word" and token.value == "not":
            raise WhereError("not before an operator", token.at, f"write not before {field}")
        if (token.kind != "sign" and token.value != "in") or token.value in "()[],":
            return Comparison(field, "is", name)
        self.next += 1
        op: Operator = token.value  # type: ignore[assignment]
        if op not in OPERATORS[type_]:
            raise WhereError(f"{field} with {op}", token.at, _possible(field, type_))
        test = Comparison(field, op, name)
        if op in {"~", "!~"}:
            return self.pattern(test)
        if op == "in":
            return self.values(test, type_, self.members(field, type_))
        value = self.take()
        if type_ == "address" and "/" in value.value:
            raise WhereError(f"a network with {op}", value.at, f"write {field} in '{value.value}'")
        return self.values(test, type_, [value])

    def field(self) -> tuple[str, str]:
        """Read a field, with its name in parentheses if it is one that has names."""
        token = self.take()
        if token.kind != "word" or token.value in {"and", "or", "in"}:
            raise WhereError(f"{token.shown} where a field should be", token.at, f"write one of {_fields()}")
        if token.value not in NAMED:
            if token.value not in FIELDS:
                raise WhereError(f"{token.value} is not a field", token.at, f"write one of {_fields()}")
            return token.value, ""
        self.expect("(")
        name = self.take()
        if name.kind != "text" or not name.value:
            raise WhereError(f"{token.value} without a name", name.at, f"write {token.value}('…')")
        self.expect(")")
        return token.value, name.value

    def members(self, field: str, type_: Type) -> list[Token]:
        """Read what follows `in`: a list, or a single network."""
        if type_ == "address" and self.now.kind == "text":
            return [self.take()]
        if not self.takes("["):
            raise WhereError(f"{self.now.shown} after in", self.now.at, f"write a list, {field} in {EXAMPLES[type_]}")
        if self.now.value == "]":
            raise WhereError("an empty list", self.now.at, "write at least one value in it")
        found = [self.take()]
        while self.takes(","):
            found.append(self.take())
        self.expect("]")
        return found

    def values(self, test: Comparison, type_: Type, found: list[Token]) -> Comparison:
        """Add values to a test, each of the field's type."""
        if type_ == "number":
            return replace(test, numbers=tuple(_number(test.field, each) for each in found))
        for each in found:
            if each.kind != "text":
                advice = "write text in quotes" + (f", '{each.value}'" if each.kind in {"word", "number"} else "")
                raise WhereError(f"{each.shown} to compare {test.field} with", each.at, advice)
        if type_ == "address":
            return replace(test, networks=tuple(_network(each) for each in found))
        if test.field == "kind":
            for each in found:
                if each.value not in KINDS:
                    raise WhereError(f"kind {each.value!r}", each.at, "write 'request', 'response' or 'replayed'")
        return replace(test, texts=tuple(each.value.encode() for each in found))

    def pattern(self, test: Comparison) -> Comparison:
        """Add a regular expression to a test, as plain text if it is no more than that."""
        token = self.take()
        if token.kind != "text":
            advice = f"write a regular expression in quotes, {test.field} {test.op} '…'"
            raise WhereError(f"{token.shown} after {test.op}", token.at, advice)
        text = plain(token.value)
        if text is not None and test.field != "host":
            return replace(test, texts=(text[0],), anchored=text[1])
        try:
            pattern = compiled(token.value, any_case=test.field == "host")
            return replace(test, pattern=pattern, subject_bytes=subject_bytes(pattern))
        except ValueError as error:
            what, _, advice = str(error).rpartition("; ")
            raise WhereError(what, token.at, advice) from None


def _number(field: str, token: Token) -> int:
    if token.kind != "number" or len(token.value) > 18:
        raise WhereError(f"{token.shown} to compare {field} with", token.at, "write a whole number, without quotes")
    return int(token.value)


def _network(token: Token) -> Network:
    try:
        return ipaddress.ip_network(token.value, strict=False)
    except ValueError:
        advice = "write an address or a network, like '10.0.0.7' or '2001:db8::/32'"
        raise WhereError(f"{token.shown}, which is no address", token.at, advice) from None


def _possible(field: str, type_: Type) -> str:
    if type_ == "truth":
        return f"write {field} or not {field}, without a comparison"
    return f"write {', '.join(OPERATORS[type_][:-1])} or {OPERATORS[type_][-1]}, as it is {_article(type_)}"


def _article(type_: Type) -> str:
    return {"text": "text", "number": "a number", "address": "an address", "truth": "true or false"}[type_]


def _fields() -> str:
    return ", ".join([*FIELDS, *(f"{name}('…')" for name in NAMED)])
