"""Hypothesis strategies for HTTP/1.x conversations, each with the messages that must come out of it.

In: nothing.  Out: a `Conversation`: what either side sends, in turns, and the exact expectation.
"""

from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from typing import Final, Literal, TypeVar

from hypothesis import strategies as st

Ending = Literal["fin", "rst", "open"]

T = TypeVar("T")
METHODS: Final = ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "PROPFIND", "BASELINE-CONTROL"]
ODD_METHODS: Final = ["get", "M-SEARCH", "X", "a!#$%&'*+-.^_`|~9", "NOTAMETHODANYONEEVERREGISTERED", "1"]
TARGETS: Final = [
    "/",
    "*",
    "/a?b=c&d=%20",
    "http://h.example/x",
    "/\xc3\xa4",
    "/" + "long/" * 300,
    "/'\"<>{}|\\^`",
]
STATUSES: Final = [200, 201, 206, 301, 400, 404, 500, 503, 299, 600, 999]


@dataclass(frozen=True)
class Expected:
    """One message that must come out: the bytes, and which exchange of the conversation it belongs to."""

    exchange: int
    kind: Literal["request", "response"]
    payload: bytes
    head: int
    method: str | None = None
    target: str | None = None
    status: int | None = None
    complete: bool = True


@dataclass
class Turn:
    """What one side sends before the other speaks again; a message that begins here is in `begins`."""

    from_client: bool
    data: bytes = b""
    begins: list[int] = field(default_factory=list)  # exchanges whose request begins in this turn


@dataclass
class Conversation:
    """The bytes of a connection, turn by turn, and what a tap must make of them."""

    turns: list[Turn]
    expected: list[Expected]
    ending: Ending
    tunnel: bool = False
    until_close: bool = False

    def side(self, from_client: bool) -> bytes:
        """Give all bytes that one side sends."""
        return b"".join(turn.data for turn in self.turns if turn.from_client == from_client)


@dataclass(frozen=True)
class Wire:
    """One message's head and body as sent."""

    head: bytes
    body: bytes = b""
    until_close: bool = False


@cache
def between(low: int, high: int) -> st.SearchStrategy[int]:
    """Give integers; cached, since making a strategy costs more than drawing from it."""
    return st.integers(low, high)


@lru_cache(maxsize=None, typed=True)
def pick(*values: T) -> st.SearchStrategy[T]:
    """Give one of these values; cached like `between`."""
    return st.sampled_from(values)


@cache
def cased(name: str) -> st.SearchStrategy[str]:
    """Give a header name in some mixture of cases."""
    return st.sampled_from([name, name.lower(), name.upper(), name.swapcase()])


@dataclass(frozen=True)
class Palette:
    """What the free parts of messages are drawn from."""

    methods: st.SearchStrategy[str]
    fields: st.SearchStrategy[list[str]]
    reasons: st.SearchStrategy[str]
    bodies: st.SearchStrategy[bytes]


def _fields(*values: str) -> st.SearchStrategy[list[str]]:
    names = pick(
        "Host",
        "X",
        "X-Content-Length",
        "Content-Lengthy",
        "Transfer-Encodin",
        "TE",
        "Content-Type",
        "Content-",
    )
    return st.lists(st.tuples(names, pick(":", ": ", ":\t "), pick(*values)).map("".join), max_size=4)


GROUPS: Final = st.lists(pick(1, 1, 1, 2, 4), min_size=1, max_size=3)
TRAPS: Final = pick(
    b"GET /trap HTTP/1.1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"0\r\n\r\n",
    b"\r\n",
    b"\n",
)
VALUES: Final = ("", "a", "x" * 900, "1, 2", "Content-Length: 7", "chunked", "\xe9\t\xff")
SHORT: Final = st.binary(max_size=40)
LONG: Final = st.tuples(st.binary(min_size=1, max_size=9), pick(200, 1000)).map(lambda t: t[0] * t[1])
NASTY: Final = Palette(
    pick(*METHODS, *ODD_METHODS),
    _fields(*VALUES, "HTTP/1.1 200 OK", "GET / HTTP/1.1"),
    pick(" OK", " ", "", " Not \xe4 word  ", " HTTP/1.1 200 OK"),
    st.one_of(SHORT, TRAPS, st.tuples(TRAPS, st.binary(max_size=5)).map(b"".join), LONG),
)
"""All that may be in a message, above all what looks like the start of another."""

PLAIN: Final = Palette(pick(*METHODS), _fields(*VALUES), pick(" OK", ""), st.one_of(SHORT, LONG))
"""Nothing that a tap who joins late could take for the start of a message."""


@st.composite
def fields(draw: st.DrawFn, palette: Palette, line_end: str) -> list[str]:
    """Give header lines that say nothing about framing, though some look as if they did."""
    lines = draw(palette.fields)
    if draw(between(0, 15)) == 15:
        lines.append("X-Large: " + "0123456789abcdef" * draw(pick(70, 700, 4000)))
    if lines and draw(between(0, 7)) == 7:
        lines.append(f"X-Folded: a{line_end} Content-Length: 3{line_end}\tb")
    return lines


@st.composite
def chunked(draw: st.DrawFn, body: bytes, eol: bytes) -> bytes:
    """Encode a body as chunks of random sizes, with extensions, odd spellings of sizes, and trailers."""
    out, at = b"", 0
    for size in [*draw(st.lists(between(1, max(1, len(body))), max_size=4)), len(body)]:
        piece = body[at : at + size]
        at += size
        if piece:
            spelling = draw(pick("%x", "%X", "000%x", "%x;a=b", '%x;q="x y"', "%x ; z", "%x;"))
            out += (spelling % len(piece)).encode() + eol + piece + eol
    out += draw(pick(b"0", b"00000", b"0;last")) + eol
    out += draw(st.sampled_from([b"", b"X-Sum: 1" + eol, b"A: b" + eol + b"Content-Length: 9" + eol]))
    return out + eol


@st.composite
def framed_by_length(draw: st.DrawFn, body: bytes) -> list[str]:
    """Give Content-Length lines for a body: plain, repeated, or as a list of equal values."""
    name, size = draw(cased("Content-Length")), len(body)
    shapes = [
        [f"{name}: {size}"],
        [f"{name}:{size}"],
        [f"{name}: \t{size}  "],
        [f"{name}: {size}", f"{draw(cased('Content-Length'))}: {size}"],
        [f"{name}: {size}, {size}"],
    ]
    return draw(st.sampled_from(shapes))


@st.composite
def framed_by_chunks(draw: st.DrawFn) -> list[str]:
    """Give Transfer-Encoding lines that end in chunked, at times with a Content-Length to be ignored."""
    name = draw(cased("Transfer-Encoding"))
    lines = draw(
        st.sampled_from(
            [
                [f"{name}: chunked"],
                [f"{name}:gzip , Chunked"],
                [f"{name}: gzip", f"{name}: CHUNKED"],
                [f"{name}: ,chunked"],
            ]
        )
    )
    return [*lines, *draw(pick((), (), ("Content-Length: 4",)))]


@st.composite
def message(draw: st.DrawFn, palette: Palette, start: str, how: str, *, extra: tuple[str, ...] = ()) -> Wire:
    """Give a message whose body is delimited by `how`: none, length, chunked, or close."""
    line_end = draw(pick("\r\n", "\r\n", "\n"))
    eol = line_end.encode()
    body = draw(palette.bodies) if how != "none" else b""
    framing = []
    if how == "length":
        framing = draw(framed_by_length(body))
    elif how == "chunked":
        framing = draw(framed_by_chunks())
        body = draw(chunked(body, eol))
    elif how == "close" and draw(pick(False, True)):
        framing = ["Transfer-Encoding: gzip"]
    before, after = draw(fields(palette, line_end)), draw(fields(palette, line_end))
    lines = [start, *before, *framing, *extra, *after, "", ""]
    return Wire(line_end.join(lines).encode("latin-1"), body, how == "close")


@st.composite
def requests(draw: st.DrawFn, palette: Palette, method: str, expect: bool) -> tuple[Wire, str]:
    """Give a request and its target."""
    target = "h.example:443" if method == "CONNECT" else draw(pick(*TARGETS))
    start = f"{method} {target} HTTP/1.{draw(pick('1', '1', '0'))}"
    how = draw(pick("length", "chunked") if expect else pick("none", "none", "length", "chunked"))
    extra = ("Expect: 100-continue",) if expect else ()
    return draw(message(palette, start, "none" if method == "CONNECT" else how, extra=extra)), target


@st.composite
def responses(draw: st.DrawFn, palette: Palette, method: str, may_close: bool) -> tuple[Wire, int]:
    """Give a final response to a request of this method, and its status."""
    status = draw(pick(*STATUSES, 204, 304))
    start = f"HTTP/1.{draw(pick('1', '1', '0'))} {status}{draw(palette.reasons)}"
    if method == "HEAD" or status in (204, 304):
        lies = draw(pick((), ("Content-Length: 512",), ("Transfer-Encoding: chunked",)))
        return draw(message(palette, start, "none", extra=lies)), status
    how = draw(pick("length", "chunked", *["close"] * 3 * may_close))
    return draw(message(palette, start, how)), status


@st.composite
def conversations(draw: st.DrawFn, palette: Palette = NASTY, *, tunnels: bool = True) -> Conversation:
    """Give a whole conversation of one to twelve exchanges, some pipelined."""
    made = Conversation([], [], draw(pick("fin", "fin", "open", "rst")))
    groups = draw(GROUPS)
    number = 0
    for turn, size in enumerate(groups):
        last = turn == len(groups) - 1
        number = _group(draw, palette, made, [draw(palette.methods) for _ in range(size)], number, last)
    if tunnels and not made.until_close and draw(between(0, 5)) == 5:
        _tunnel(draw, palette, made, number)
    return made


def _group(draw: st.DrawFn, palette: Palette, made: Conversation, methods: list[str], number: int, last: bool) -> int:
    """Add requests and their responses; alone, a request may wait for 100 Continue, else they may overlap."""
    expect = len(methods) == 1 and methods[0] != "HEAD" and draw(between(0, 4)) == 4
    asked = 0
    for answered, method in enumerate(methods):
        ahead = len(methods) if draw(pick(True, True, False)) else answered + 1
        while asked < max(ahead, answered + 1):
            _ask(draw, palette, made, methods[asked], number + asked, expect)
            asked += 1
        closes = last and answered == len(methods) - 1
        _answer(draw, palette, made, method, number + answered, expect, closes)
    return number + len(methods)


def _say(made: Conversation, from_client: bool, data: bytes) -> Turn:
    """Let one side say more, in its turn or in a new one."""
    if not made.turns or made.turns[-1].from_client != from_client:
        made.turns.append(Turn(from_client))
    made.turns[-1].data += data
    return made.turns[-1]


def _ask(draw: st.DrawFn, palette: Palette, made: Conversation, method: str, exchange: int, expect: bool) -> None:
    wire, target = draw(requests(palette, method, expect))
    _say(made, True, draw(pick(b"", b"", b"", b"\r\n", b"\n\r\n"))).begins.append(exchange)
    whole = wire.head + wire.body
    made.expected.append(Expected(exchange, "request", whole, len(wire.head), method=method, target=target))
    _say(made, True, wire.head)
    if expect:
        _interim(draw, palette, made, 100, exchange)
    _say(made, True, wire.body)


def _interim(draw: st.DrawFn, palette: Palette, made: Conversation, status: int, exchange: int) -> None:
    head = draw(message(palette, f"HTTP/1.1 {status} Wait", "none")).head
    _say(made, False, head)
    made.expected.append(Expected(exchange, "response", head, len(head), status=status))


def _answer(
    draw: st.DrawFn,
    palette: Palette,
    made: Conversation,
    method: str,
    exchange: int,
    expect: bool,
    may_close: bool,
) -> None:
    for status in () if expect else draw(pick((), (), (), (103,), (102, 103))):
        _interim(draw, palette, made, status, exchange)
    final, status = draw(responses(palette, method, may_close))
    whole = final.head + final.body
    _say(made, False, whole)
    complete = not final.until_close or made.ending == "fin"
    made.until_close |= final.until_close
    made.expected.append(Expected(exchange, "response", whole, len(final.head), status=status, complete=complete))


def _tunnel(draw: st.DrawFn, palette: Palette, made: Conversation, number: int) -> None:
    """Add an exchange that turns the connection into a tunnel, and bytes in it that look like HTTP."""
    made.tunnel = True
    connect = draw(pick(False, True))
    method = "CONNECT" if connect else "GET"
    wire, target = draw(requests(palette, method, False))
    line, rest = wire.head.split(b"\n", 1)
    upgrade = b"" if connect else b"Upgrade: websocket\r\n"  # without it a 101 would come unasked (RFC 9110 7.8)
    wire = replace(wire, head=line + b"\n" + upgrade + rest)
    request = wire.head + wire.body
    start = "HTTP/1.1 200 Established" if connect else "HTTP/1.1 101 Switching Protocols"
    lies = draw(pick((), ("Content-Length: 3",), ("Transfer-Encoding: chunked",))) if connect else ()
    response = draw(message(palette, start, "none", extra=lies)).head
    made.expected += [
        Expected(number, "request", request, len(wire.head), method=method, target=target),
        Expected(number, "response", response, len(response), status=200 if connect else 101),
    ]
    made.turns += [
        Turn(True, request, [number]),
        Turn(False, response + draw(pick(b"", b"\x81\x05hello", b"SSH-2.0-x\r\n"))),
        Turn(True, draw(pick(b"\x16\x03\x01", b"GET /inside HTTP/1.1\r\n\r\n", b"SSH-2.0-y\r\n"))),
        Turn(False, draw(pick(b"\x16\x03\x03", b"HTTP/1.1 200 OK\r\n\r\n"))),
    ]
