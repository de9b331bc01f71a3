"""A message while it is changed: its head as lines, its body decoded when somebody asks for it.

In: a message.  Out: a message, the same object if nothing was changed.  Invariant: what says how long the body is fits
the body, and what is not changed stays as it was on the wire.
"""

from typing import Final

from assemble.message import Message
from emit.codings import Chunked, Undecodable, dechunk, decode, encode, rechunk
from emit.head import Head
from emit.target import Target, split

CHECK_SUMS: Final = frozenset({b"content-md5", b"digest", b"content-digest", b"repr-digest"})
"""Fields that are wrong about a changed body, and would make a receiver refuse it; ETag only names it, and stays."""
PARTIAL: Final = 206


class Draft:
    """One message."""

    def __init__(self, message: Message) -> None:
        self.message = message
        self.head = Head(message.payload[: message.head])
        self.raw = message.payload[message.head :]
        self.chunked: Chunked | None = None
        self.codings: tuple[str, ...] = ()
        self.known: bytes | None = None  # the content, once it was decoded

    @property
    def readable(self) -> bool:
        """Whether the head is whole: then what it says can be relied on."""
        return bool(self.head.blank) and 0 < self.message.head <= len(self.message.payload)

    # -- the start line

    def target(self) -> Target | None:
        """Return the target of a request, taken apart; None if it has no path, or this is no request."""
        place = self.place_of_target()
        return None if place is None else split(self.head.start[place])

    def place_of_target(self) -> slice | None:
        """Return where in the start line the target is; None if this is no request that has one."""
        method, target = self.message.method, self.message.target
        if not method or not target:
            return None
        at = len(method)
        while self.head.start[at : at + 1] == b" ":
            at += 1
        written = target.encode("latin-1", "replace")
        return slice(at, at + len(written)) if self.head.start.startswith(written, at) else None

    def retarget(self, target: Target) -> None:
        """Exchange the target."""
        place = self.place_of_target()
        assert place is not None
        if not target.path.startswith(b"/") and (target.path or not target.before):
            target = target._replace(path=b"/" + target.path)
        start = self.head.start
        self.head.start = start[: place.start] + bytes(target) + start[place.stop :]

    # -- the body

    @property
    def content_type(self) -> bytes:
        """What the body is said to be, in lower case and without parameters."""
        return next(self.head.values(b"content-type"), b"").partition(b";")[0].strip().lower()

    @property
    def content(self) -> bytes:
        """The body without codings; raises Undecodable if it cannot be had, or is only a part of one."""
        if self.known is None:
            if not self.message.complete:
                raise Undecodable("it is not complete")
            if self.message.status == PARTIAL or b"content-range" in self.head.names:
                raise Undecodable("it is a part of something")
            listed = self.head.joined(b"content-encoding").decode("latin-1").lower().split(",")
            self.codings = tuple(each for each in map(str.strip, listed) if each not in {"", "identity"})
            self.chunked, packed = self.unchunked()
            self.known = decode(packed, self.codings)
        return self.known

    def unchunked(self) -> tuple[Chunked | None, bytes]:
        """Take the transfer coding off."""
        coding = self.head.joined(b"transfer-encoding").lower()
        if coding in (b"", b"identity"):
            return None, self.raw
        if coding != b"chunked":
            raise Undecodable("a transfer coding that is not known")
        packed, chunked = dechunk(self.raw)
        return chunked, packed

    def replace(self, content: bytes) -> None:
        """Exchange the content, in the codings that it has; nothing happens if it is the same."""
        before = self.content
        if content == before:
            return
        packed = encode(content, self.codings, self.unchunked()[1])
        self.head.remove(CHECK_SUMS)
        if self.chunked is not None:
            trailers = Head(b"\n" + self.chunked.trailers)
            trailers.remove(CHECK_SUMS)
            self.chunked = Chunked(bytes(trailers)[1:])
            packed = rechunk(packed, self.chunked)
        elif b"content-length" in self.head.names:
            self.head.set(b"Content-Length", b"%d" % len(packed))
        self.raw, self.known = packed, content

    def finish(self) -> Message:
        """Return the message as it is now."""
        head = bytes(self.head)
        payload = head + self.raw
        return self.message if payload == self.message.payload else self.message.with_payload(payload, len(head))
