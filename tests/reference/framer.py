"""A stream to HTTP/1.x messages: start lines, headers, and bodies as RFC 9112 section 6.3 says.

In: a `Stream`, and for responses whom to ask for the method that each one answers.  Out: `Framed` ranges.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from reference.flows import Stream
from reference.protocols import proxy_size

MAX_HEAD_BYTES: Final = 1 << 20
KNOWN_METHODS: Final = frozenset(
    (
        b"ACL BASELINE-CONTROL BIND CHECKIN CHECKOUT CONNECT COPY DELETE GET HEAD LABEL LINK LOCK MERGE MKACTIVITY "
        b"MKCALENDAR MKCOL MKREDIRECTREF MKWORKSPACE MOVE OPTIONS ORDERPATCH PATCH POST PRI PROPFIND PROPPATCH PUT "
        b"QUERY REBIND REPORT SEARCH TRACE UNBIND UNCHECKOUT UNLINK UNLOCK UPDATE UPDATEREDIRECTREF VERSION-CONTROL "
        b"BAN BCOPY BDELETE BMOVE BPROPFIND BPROPPATCH M-SEARCH NOTIFY POLL PURGE REFRESH SOURCE SUBSCRIBE UNSUBSCRIBE"
    ).split()
)
TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
TARGET: Final = rb"[^\x00-\x20\x7f]+"
REQUEST_LINE: Final = re.compile(rb"(%s) +(%s(?: +%s)*) +HTTP/1\.[0-9] *\r?\n" % (TOKEN, TARGET, TARGET))
STATUS_LINE: Final = re.compile(rb"HTTP/1\.[0-9] ([0-9]{3})(?: [^\n]*)?\r?\n")
REQUEST_START: Final = re.compile(rb"([A-Z-]+) %s HTTP/1\.[01]\r?\n" % TARGET)
STATUS_START: Final = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})(?: [^\n]*)?\r?\n")
LENGTH_MOST: Final = 1 << 62
MAY_START: Final = re.compile(rb"\r|(?:%s(?: [^\x00-\x1f\x7f]*)?|HTTP/1[^\n]*)\r?|HTTP/?" % TOKEN)
METHOD_MOST: Final = 32
SPACE: Final = b" \t\r\n"  # not all that Python strips
EMPTY_LINES: Final = re.compile(rb"(?:\r?\n)*")
CHUNK_LINE: Final = re.compile(rb"([0-9A-Fa-f]+)[ \t]*(?:;[^\n]*)?\r?\n")


class Invalid(Exception):
    """What was read does not frame: this half must look for the next message start."""


@dataclass
class Framed:
    """One message found in a stream, as a range of it."""

    start: int
    end: int
    head_end: int
    line_end: int
    method: bytes | None
    target: bytes | None
    status: int | None
    complete: bool
    missing: int = 0
    lost: bool = False  # where the next message begins is not known
    jumped: bool = False  # bytes were lost or skipped right before it


def header_values(head: bytes, name: bytes) -> list[bytes]:
    """Give the values of a header field, any case, folded lines joined; the start line is not a header."""
    lines: list[bytes] = []
    for line in head.split(b"\n")[1:]:
        if line[:1] in (b" ", b"\t") and lines:
            lines[-1] += b" " + line.strip(SPACE)
        else:
            lines.append(line.rstrip(b"\r"))
    pairs = (line.split(b":", 1) for line in lines if b":" in line)
    return [value.strip(b" \t") for key, value in pairs if key.rstrip(b" \t").lower() == name]


def body_length(head: bytes, status: int | None, answers: bytes | None) -> int | str:
    """Decide how the body ends (RFC 9112 6.3): a number of bytes, "chunked" or "close"."""
    if status is not None:
        if answers == b"HEAD" or status // 100 == 1 or status in (204, 304):
            return 0
        if answers == b"CONNECT" and status // 100 == 2:
            return 0
    codings = [
        item.split(b";")[0].strip(SPACE).lower()
        for value in header_values(head, b"transfer-encoding")
        for item in value.split(b",")
        if item.strip(SPACE)
    ]
    codings = [item for item in codings if item != b"identity"]  # of RFC 2616, and as good as none
    if codings:
        if codings[-1] == b"chunked":
            return "chunked"
        if status is None:
            raise Invalid("transfer-encoding of a request does not end in chunked")
        return "close"
    lengths = {
        item.strip(SPACE)
        for value in header_values(head, b"content-length")
        for item in value.split(b",")
    }  # fmt: skip
    if lengths:
        if not all(re.fullmatch(rb"[0-9]+", item) for item in lengths) or len(set(map(int, lengths))) > 1:
            raise Invalid("content-length")
        length = int(lengths.pop())
        if length > LENGTH_MOST:
            raise Invalid("content-length")
        return length
    return "close" if status is not None else 0


def opening(stream: Stream) -> int:
    """Give where the first message may start: behind empty lines, and behind a PROXY protocol header."""
    stop = stream.run_end(0)
    at = proxy_size(bytes(stream.data[:stop]))
    return int(EMPTY_LINES.match(stream.data, at, stop).end())  # type: ignore[union-attr]


def first_start(stream: Stream, at: int, stop: int, likely: re.Pattern[bytes]) -> int | None:
    """Give where in a range the first message starts; letters that stand right before its method are not of it."""
    for found in likely.finditer(stream.data, at, stop):
        if likely is STATUS_START:
            return found.start()
        end = found.end(1)
        begin = end - len(found[1][-METHOD_MOST:].lstrip(b"-"))
        at_line = begin == at or stream.data[begin - 1] == 10
        known = [cut for cut in range(begin, end) if bytes(stream.data[cut:end]) in KNOWN_METHODS]
        if known and not at_line:
            return known[0]
        if 3 <= end - begin < METHOD_MOST:
            return begin
    return None


class Framer:
    """Walks one stream from its start to its end."""

    def __init__(self, stream: Stream, answers: Callable[[int, int], bytes | None] | None) -> None:
        """Frame requests if `answers` is None, else responses: it gives the method for (offset, status)."""
        self.stream = stream
        self.answers = answers
        self.line = REQUEST_LINE if answers is None else STATUS_LINE
        self.start_line = REQUEST_START if answers is None else STATUS_START
        self.tunnel = False  # set by whoever reads the messages: the rest is not HTTP
        self.jumped = False  # bytes were lost or skipped before the message at hand

    def messages(self) -> Iterator[Framed]:
        """Find message after message; bytes between them are skipped."""
        at, synced = opening(self.stream) if self.stream.synced else 0, self.stream.synced
        begun = not synced
        while at < self.stream.end and not self.tunnel:
            stop = self.stream.run_end(at)
            if stop == at:
                at, synced = self.stream.hole_end(at), False
                continue
            if not synced:
                self.jumped = True
                found = first_start(self.stream, at, stop, self.start_line)
                if found is None:
                    at = stop
                    continue
                at, synced = found, True
            at = EMPTY_LINES.match(self.stream.data, at, stop).end()  # type: ignore[union-attr]
            line = self.line.match(self.stream.data, at, stop)
            if not line:
                cut = at == stop or MAY_START.fullmatch(self.stream.data, at, stop)
                if not begun and not cut:
                    return  # another protocol, whatever it says
                synced = at == stop
                continue
            begun = True
            try:
                message = self._message(line)
            except Invalid as problem:
                at, synced = problem.args[1], False
                continue
            message.jumped = self.jumped
            yield message
            self.jumped = False
            at = message.end
            synced = not message.lost

    def _message(self, line: re.Match[bytes]) -> Framed:
        """Frame the message whose start line this is; an Invalid carries where to go on."""
        start, stop = line.start(), self.stream.run_end(line.start())
        status = int(line[1]) if self.answers else None
        method, target = (line[1], line[2]) if not self.answers else (None, None)
        blank = re.compile(rb"\n\r?\n").search(self.stream.data, line.end() - 1, stop)
        message = Framed(start, stop, stop, line.end(), method, target, status, complete=False)
        if not blank:
            if stop - start > MAX_HEAD_BYTES:
                raise Invalid("head too long", stop)
            return self._cut(message, stop)
        message.head_end = blank.end()
        head = bytes(self.stream.data[start : blank.end()])
        answers = self.answers(start, status or 0) if self.answers else None
        try:
            length = body_length(head, status, answers)
        except Invalid as problem:
            raise Invalid(str(problem), blank.end()) from None
        if length == "chunked":
            return self._chunked(message)
        if length == "close":
            return self._until_close(message)
        assert isinstance(length, int)
        return self._counted(message, message.head_end + length)

    def _cut(self, message: Framed, at: int) -> Framed:
        """End a message where a hole or the end of the bytes begins."""
        message.end, message.lost, message.complete = at, True, False
        message.missing += self.stream.hole_end(at) - at
        return message

    def _counted(self, message: Framed, end: int) -> Framed:
        message.missing = self.stream.missing(message.start, end) + max(0, end - self.stream.end)
        message.lost = end > self.stream.end
        message.end = min(end, self.stream.end)
        message.complete = not message.missing and not message.lost
        return message

    def _until_close(self, message: Framed) -> Framed:
        end = self.stream.end
        message.missing = self.stream.missing(message.start, end) + self.stream.hole_end(end) - end
        message.end, message.lost = end, True
        message.complete = self.stream.finished and not message.missing
        return message

    def _chunked(self, message: Framed) -> Framed:
        data, at = self.stream.data, message.head_end
        while True:
            stop = self.stream.run_end(at)
            if data.find(b"\n", at, stop) < 0:
                return self._cut(message, stop)
            line = CHUNK_LINE.match(data, at, stop)
            if not line or int(line[1], 16) > LENGTH_MOST:
                return self._broken(message, at)
            if int(line[1], 16) == 0:
                return self._trailers(message, line.end())
            end = line.end() + int(line[1], 16)
            at = line.end()
            while (at := self.stream.run_end(at)) < min(end, self.stream.end):
                beyond = self.stream.hole_end(at)
                if beyond > end:
                    return self._cut(message, at)
                message.missing += beyond - at
                at = beyond
            if end >= self.stream.end:
                return self._cut(message, self.stream.end)
            close = re.compile(rb"\r?\n").match(data, end, self.stream.run_end(end))
            if not close:
                rest = self.stream.present(end, end + 1)
                if rest in (b"", b"\r") and self.stream.run_end(end) <= end + 1:
                    return self._cut(message, self.stream.run_end(end))
                return self._broken(message, end)
            at = close.end()

    def _trailers(self, message: Framed, at: int) -> Framed:
        stop = self.stream.run_end(at)
        blank = re.compile(rb"\n\r?\n").search(self.stream.data, at - 1, stop)
        if not blank:
            return self._cut(message, stop)
        message.end, message.complete = blank.end(), message.missing == 0
        return message

    def _broken(self, message: Framed, at: int) -> Framed:
        """End a message at bytes that are no chunk: the sender's fault, and nothing is missing."""
        message.end, message.lost, message.complete = at, True, False
        return message
