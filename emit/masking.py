"""Masking: values that must not leave are replaced, in fields, parameters and JSON.

In: messages.  Out: messages.  Invariant: where it cannot be told whether a body holds what is to be masked, because
it is not whole or cannot be decoded, it does not go out: the message does without it, as one with missing bytes.
"""

import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from assemble.message import Message
from emit.codings import Undecodable, spliced
from emit.draft import Draft
from emit.forms import MULTIPART, URLENCODED, change_form
from emit.head import Head
from emit.pointers import Pointers
from emit.ruling import Rule, Rules
from emit.target import change
from emit.transform import Transform
from emit.verdicts import Verdicts

LINKS: Final = frozenset({b"referer", b"location", b"content-location"})
"""Fields that hold targets of requests, parameters and all."""
NEVER_JSON: Final = (b"image/", b"audio/", b"video/", b"font/", b"text/css")
HARDLY_JSON: Final = b"text/html"
"""Some programs say so by default, whatever they send; most bodies of that kind are none."""
BRACKETS: Final = (b"{", b"[")
DIGITS: Final = 32  # of a keyed hash: 128 bits


@dataclass(frozen=True, slots=True)
class MaskRule:
    """One rule, as plain values."""

    where: str | None = None
    headers: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    json: tuple[str, ...] = ()
    text: str = "***"  # what is put in the place of values
    key: bytes | None = field(default=None, repr=False)  # or a hash with this key
    verdicts: Verdicts | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class MaskSpec:
    """All rules of an output."""

    rules: tuple[MaskRule, ...]

    def make(self) -> Transform:
        """Make the step."""
        return Rules([_Rule(rule) for rule in self.rules], "withheld")


def masker(text: str, key: bytes | None) -> Callable[[bytes], bytes]:
    """Return what makes of a value what is put in its place: the same of the same."""
    if key is None:
        fixed = text.encode()
        return lambda _value: fixed
    return lambda value: hmac.new(key, value, hashlib.sha256).hexdigest()[:DIGITS].encode()


class _Rule(Rule):
    """One rule, ready to be applied."""

    def __init__(self, rule: MaskRule) -> None:
        super().__init__(rule.where, rule.verdicts)
        self.make = masker(rule.text, rule.key)
        self.headers = {name.lower().encode() for name in rule.headers}
        self.parameters = {name.encode() for name in rule.parameters}
        self.pointers = Pointers(rule.json) if rule.json else None

    def change(self, message: Message) -> Message:
        draft = Draft(message)
        if not draft.readable or (message.kind == "request" and draft.place_of_target() is None):
            return self.withhold(message, 0)
        draft.head.change(self.headers, self.make)
        if self.parameters:
            self.mask_links(draft)
        try:
            if draft.raw:
                self.mask_body(draft)
        except (Undecodable, ValueError):
            return self.withhold(draft.finish(), len(bytes(draft.head)))
        return draft.finish()

    def withhold(self, message: Message, head: int) -> Message:
        """Take everything behind the head out, or the whole message: it is one with missing bytes from now on."""
        self.missed += 1
        missing = message.missing + len(message.payload) - head
        return message.replace(payload=message.payload[:head], head=head, complete=False, missing=missing)

    def mask_links(self, draft: Draft) -> None:
        """Mask parameters of the target, and of those in fields."""
        target = draft.target()
        if target is not None and target.query:
            query = change(target.query[1:], self.parameters, self.make)
            draft.retarget(target._replace(query=b"?" + query))
        draft.head.change(LINKS, self.mask_link)

    def mask_link(self, link: bytes) -> bytes:
        """Mask parameters of a link, which may be relative and have a fragment."""
        before, mark, rest = link.partition(b"?")
        query, sharp, fragment = rest.partition(b"#")
        return before + mark + change(query, self.parameters, self.make) + sharp + fragment

    def mask_body(self, draft: Draft) -> None:
        """Mask what is in the body, trailer fields included; raises if it cannot be told what that is."""
        kind = draft.content_type
        if self.headers:
            self.mask_trailers(draft)
        if self.parameters and kind in (URLENCODED, MULTIPART):
            said = next(draft.head.values(b"content-type"))
            draft.replace(change_form(draft.content, said, self.parameters, self.make))
        if self.pointers is not None and not kind.startswith(NEVER_JSON):
            self.mask_json(draft, self.pointers, sure=kind.endswith(b"json"))

    def mask_trailers(self, draft: Draft) -> None:
        """Mask fields behind a chunked body."""
        if b"chunked" not in draft.head.joined(b"transfer-encoding").lower() or draft.raw.endswith(b"\n0\r\n\r\n"):
            return
        chunked, _packed = draft.unchunked()
        if chunked is None or not chunked.trailers:
            return
        trailers = Head(b"\n" + chunked.trailers)
        trailers.change(self.headers, self.make)
        draft.raw = draft.raw[: -len(chunked.trailers)] + bytes(trailers)[1:]

    def mask_json(self, draft: Draft, pointers: Pointers, *, sure: bool) -> None:
        """Mask values of a JSON text; one that is said to be one, or begins like one, has to be one."""
        try:
            content = draft.content
        except Undecodable:
            if draft.content_type == HARDLY_JSON and not draft.raw.lstrip().startswith(BRACKETS):
                return
            raise
        try:
            spans = pointers.find(content)
        except ValueError:
            if sure or content.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(BRACKETS):
                raise
            return
        parts = [(start, end, b'"%s"' % self.in_json(content[start:end])) for start, end, _number in spans]
        draft.replace(spliced(content, parts))

    def in_json(self, written: bytes) -> bytes:
        """Return what is put in the place of a JSON value: of text, the text counts, not how it is written."""
        value = written
        if written.startswith(b'"'):
            value = json.loads(written, strict=False).encode("utf-8", "surrogatepass")
        return json.dumps(self.make(value).decode(), ensure_ascii=False)[1:-1].encode()
