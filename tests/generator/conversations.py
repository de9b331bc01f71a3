"""Whole conversations: random HTTP/1.x exchanges, one after another, pipelined, expecting, tunnelled, broken.

In: a random generator, and whether the traffic has to be plain.  Out: a Conversation.  Invariant: steps are in an order
in which they can be said.

Plain traffic is what a reader behind a hole can find its way in: no body or target that looks like HTTP, common
methods, no response whose framing depends on its request.
"""

from collections.abc import Callable
from random import Random
from typing import Final

from generator.author import LOOKALIKES, Author
from generator.spoken import CLIENT, SERVER, Conversation, Spoken


def one_after_another(author: Author, last: bool) -> None:
    """A request, and then its response."""
    conversation = author.conversation
    request = author.request(*([b"HEAD"] if not conversation.plain and author.rng.random() < 0.15 else []))
    conversation.say(CLIENT)
    author.interims(request)
    author.response(request, last=last)
    conversation.say(SERVER)


def expecting(author: Author, last: bool) -> None:
    """A request that waits for 100 before its body, or gets its final response instead of it."""
    conversation, rng = author.conversation, author.rng
    expect = author.field_line(b"Expect", rng.choice((b"100-continue", b"100-Continue")))
    request = author.request(None, [expect], rng.choice(("length", "chunked")))
    head_end = request.start + request.head_len
    conversation.say(CLIENT, head_end)
    if rng.random() < 0.7:
        author.response(request, 100)
        conversation.say(SERVER)
    conversation.say(CLIENT)
    author.response(request, last=last)
    conversation.say(SERVER)


def early_answer(author: Author, last: bool) -> None:
    """A response that is sent while the request's body is still on its way."""
    conversation, rng = author.conversation, author.rng
    request = author.request(None, (), rng.choice(("length", "chunked")))
    head_end = request.start + request.head_len
    conversation.say(CLIENT, rng.randrange(head_end, request.end + 1))
    author.response(request)
    conversation.say(SERVER)
    conversation.say(CLIENT, heard=False)


def pipeline(author: Author, last: bool) -> None:
    """Several requests at once; responses come in between or afterwards."""
    conversation, rng = author.conversation, author.rng
    conversation.pipelined = True
    waiting: list[Spoken] = []
    more = rng.randrange(2, 8)
    together = rng.random() < 0.5
    while more or waiting:
        if more and (together or not waiting or rng.random() < 0.6):
            head = not conversation.plain and rng.random() < 0.15
            waiting.append(author.request(*([b"HEAD"] if head else [])))
            author.exchange += 1
            conversation.say(CLIENT, heard=False)
            more -= 1
            together = together and more > 0
        else:
            request = waiting.pop(0)
            author.interims(request)
            author.response(request, last=last and not more and not waiting)
            conversation.say(SERVER, heard=False, least=request.start + request.head_len)


def tunnel(author: Author, last: bool) -> None:
    """CONNECT or an upgrade, granted or not; a tunnel carries anything, even HTTP."""
    conversation, rng = author.conversation, author.rng
    connect = rng.random() < 0.5
    granted = rng.random() < 0.7
    extra = [] if connect else [b"Connection: Upgrade\r\n", author.field_line(b"Upgrade", b"websocket")]
    request = author.request(b"CONNECT" if connect else b"GET", extra, "none")
    conversation.say(CLIENT)
    if not granted:
        author.response(request, 407 if connect else 200)
        return conversation.say(SERVER)
    author.response(request, 200 if connect else 101)
    if rng.random() < 0.7:
        conversation.say(SERVER)
    else:
        conversation.prompt = True
    for _ in range(rng.randrange(5)):
        side = rng.random() < 0.5
        conversation.streams[side] += rng.choice((author.body(), rng.choice(LOOKALIKES)))
        conversation.say(side)
    conversation.over = True
    conversation.say(SERVER)
    return None


def broken(author: Author, last: bool) -> None:
    """A message that cannot be framed, the last one of its side (RFC 9112 6.3, rules 4 and 5, and 7.1)."""
    conversation, rng = author.conversation, author.rng
    side = rng.random() < 0.5
    bad = rng.choice((b"Content-Length: 12x", b"Content-Length: 3, 4", b"Content-Length: -1", b"chunk")) + b"\r\n"
    if side is CLIENT:
        bad = rng.choice((bad, b"Transfer-Encoding: gzip\r\n", b"Transfer-Encoding: chunked, gzip\r\n"))
    request = author.request(None, (), "none") if side is SERVER else None
    if request:
        conversation.say(CLIENT)
    lines = [bad] if bad != b"chunk\r\n" else [b"Transfer-Encoding: chunked\r\n"]
    start_line = b"POST /%d HTTP/1.1" % author.exchange if side is CLIENT else b"HTTP/1.1 200 OK"
    message = author.write(side, start_line, lines, "none", b"")
    message.method, message.target = (b"POST", b"/%d" % author.exchange) if side is CLIENT else (None, None)
    message.status = 200 if side is SERVER else None
    if bad == b"chunk\r\n":
        conversation.streams[side] += b"3\r\nabc\r\n"
        message.end, message.cut, message.framing = len(conversation.streams[side]), True, "chunked"
        conversation.streams[side] += (
            rng.choice((b"g", b"\r\n", b" 3", b";a")) + b"\r\n" + author.text(rng.randrange(50))
        )
    else:
        message.refused = True
        conversation.streams[side] += author.text(rng.randrange(50))
    conversation.say(side)
    if side is CLIENT:
        author.response(message, 400)
        conversation.say(SERVER)
    conversation.over = True


def unasked(author: Author, last: bool) -> None:
    """A response to nothing: the server is tired of waiting."""
    conversation = author.conversation
    nothing = Spoken(CLIENT, author.exchange, 0, 0, 0, 0, "none")
    author.response(nothing, 408, last=True)
    conversation.say(SERVER)
    conversation.over = True


PLAIN_WAYS: Final[tuple[Callable[[Author, bool], None], ...]] = (
    *(one_after_another,) * 6, expecting, early_answer, pipeline,
)  # fmt: skip
ALL_WAYS: Final = (*PLAIN_WAYS, pipeline, tunnel)


def converse(rng: Random, *, plain: bool, most: int = 20_000) -> Conversation:
    """Write a whole conversation."""
    conversation = Conversation(plain)
    author = Author(rng, conversation, rng.choice((100, 3000, most, 300_000 if rng.random() < 0.1 else most)))
    ways = list(PLAIN_WAYS if plain else ALL_WAYS)
    if rng.random() < 0.5:
        ways = [way for way in ways if way is not pipeline]
    count = rng.choice((1, 2, 3, rng.randrange(1, 31)))
    for number in range(count):
        rng.choice(ways)(author, number == count - 1)
        author.exchange += 1
        conversation.rests.add((len(conversation.streams[CLIENT]), len(conversation.streams[SERVER])))
        if conversation.over:
            break
    if not plain and not conversation.over and rng.random() < 0.15:
        rng.choice((broken, unasked))(author, True)
    return conversation
