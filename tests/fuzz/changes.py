"""Target `changes`: what rewriting, masking and a middleware's lines make of messages whose bytes are anything.

In: a byte that names the rule, one with flags, then the payload or lines.  Out: an exception, a message whose fields do
not fit its bytes, a header that was to be masked and came out, or lines that differ when they come in other pieces.
"""

from typing import Final

from assemble.message import Message, read_message
from assemble.records import RESPONSE
from emit.building import record_of, start_of
from emit.gorlines import LineReader, write_line
from emit.masking import MaskRule, MaskSpec
from emit.middleware import MiddlewareSpec
from emit.replacing import Replacement
from emit.rewriting import RewriteRule, RewriteSpec
from emit.transform import Transform
from tests.emit.builders import request, response

TRACED: Final = True
SECRET: Final = b"s3cr3t"
SPECS: Final = (
    MaskSpec((MaskRule(headers=("Authorization", "Cookie")),)),
    MaskSpec((MaskRule(parameters=("token", "p w")),)),
    MaskSpec((MaskRule(json=("/**/card", "/a/0/b")),)),
    MaskSpec((MaskRule(headers=("cookie",), parameters=("token",), json=("/**/card",), key=b"k"),)),
    RewriteSpec((RewriteRule(path=Replacement("^/a(.*)", "/b\\1"), query=Replacement("x", "")),)),
    RewriteSpec((RewriteRule(set_parameters=(("q", "1 2"),), remove_parameters=("token",)),)),
    RewriteSpec((RewriteRule(set_headers=(("Host", "b"), ("X-New", "1")), remove_headers=("cookie",)),)),
    RewriteSpec((RewriteRule(replace_headers=(("Cookie", Replacement("[a-z]+", "")),)),)),
    RewriteSpec((RewriteRule(body=Replacement("[0-9]+", "<\\g<0>>"), json=(("/a", '{"b":1}'), ("/**/card", "null"))),)),
)  # fmt: skip


def check_change(step: Transform, message: Message) -> Message:
    """Apply a step, and hold the outcome's fields against its bytes."""
    [changed] = step.apply(message, 0.0) or ()
    assert 0 <= changed.head <= len(changed.payload)
    assert changed.id == message.id
    written = read_message(record_of(changed))
    assert (written.payload, written.missing) == (changed.payload, changed.missing)
    return written


def change(which: int, flags: int, payload: bytes) -> None:
    """Change a message twice: rules that set or hide have nothing left to do then."""
    head = start_of(RESPONSE, payload).head_len
    if payload.startswith(b"HTTP/"):
        message = response(1).replace(payload=payload, head=head)
    else:
        words = payload.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        target = words[1] if len(words) == 3 else None
        message = request(1).replace(payload=payload, head=head, method=words[0], target=target)
    message = message.replace(complete=not flags & 4)
    step = SPECS[which % len(SPECS)].make()
    changed = check_change(step, read_message(record_of(message)))
    again = check_change(step, changed)
    if which % len(SPECS) in (0, 1, 2, 6) and payload[:1].isalpha() and (changed.kind != "request" or changed.target):
        assert again.payload == changed.payload, "a second time changes more"


def lines(data: bytes) -> None:
    """Read what a middleware wrote, in pieces and at once, and have it stand for messages."""
    whole, pieces = LineReader(), LineReader()
    whole.longest = pieces.longest = 600
    found = whole.feed(data)
    singly = [answer for at in range(0, len(data), 3) for answer in pieces.feed(data[at : at + 3])]
    whole.end()
    pieces.end()
    assert found == singly
    assert whole.refused == pieces.refused
    step = MiddlewareSpec(("true",), "output 0: middleware").make()
    for answer in found:
        message = step.read(answer)  # type: ignore[attr-defined]
        assert (message.kind, message.id, message.payload) == (answer.kind, answer.id, answer.payload)
        assert LineReader().feed(write_line(message)), "what it made cannot be written again"


def run(data: bytes) -> None:
    """Change, or read lines."""
    if len(data) < 3:
        return
    which, flags, rest = data[0], data[1], bytes(data[2:])
    if which % (len(SPECS) + 2) < len(SPECS):
        change(which % (len(SPECS) + 2), flags, rest)
    elif flags & 1:  # hexadecimal digits are a hard thing to guess
        lines(b"".join(each.hex().encode() + b"\n" for each in rest.split(b"\xff")))
    else:
        lines(rest)
