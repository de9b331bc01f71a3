"""One message after another in all the ways in which HTTP/1.x can be written.

In: a random generator and a conversation.  Out: messages at the end of its streams.  Invariant: a message is valid, so
that what it is does not depend on who reads it (RFC 9112).
"""

from collections.abc import Sequence
from random import Random
from typing import Final

from generator.spoken import CLIENT, SERVER, Conversation, Spoken

COMMON: Final = (b"GET", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"PROPFIND", b"M-SEARCH", b"REPORT")
ODD: Final = (b"get", b"G", b"!#$%&'*+-.^_`|~", b"HEADER", b"CONNECTED", b"http", b"HTTP", b"X" * 40, b"0", b"Head")
LOOKALIKES: Final = (
    b"GET /inner HTTP/1.1\r\nHost: inner\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"POST / HTTP/1.0\nContent-Length: 100\n\n",
    b"0\r\n\r\nHTTP/1.1 304 Not Modified\r\n\r\n",
    b"\r\n\r\nCONNECT a:1 HTTP/1.1\r\n\r\n",
)
NOISE: Final = Random(0).randbytes(400_000)
WORDS: Final = bytes(97 + byte % 26 for byte in NOISE)


def size(rng: Random, most: int) -> int:
    """Choose a length, mostly small."""
    return rng.choice((0, 1, 2, 10, rng.randrange(100), rng.randrange(2000), rng.randrange(most)))


class Author:
    """Writes messages in one style."""

    def __init__(self, rng: Random, conversation: Conversation, most: int) -> None:
        self.rng = rng
        self.conversation = conversation
        self.most = most  # bytes of a body
        self.lf = rng.random() < 0.2
        self.exchange = 0

    def eol(self) -> bytes:
        """Give a line end: now and then without CR (RFC 9112 2.2)."""
        return b"\n" if self.lf and self.rng.random() < 0.5 else b"\r\n"

    def text(self, length: int) -> bytes:
        """Give letters."""
        at = self.rng.randrange(len(WORDS) - length)
        return WORDS[at : at + length]

    def field_line(self, name: bytes, value: bytes) -> bytes:
        """Write a header line with any case and any white space that is allowed, perhaps folded."""
        rng = self.rng
        before = rng.choice((b" ", b" ", b"", b"\t", b"   "))
        if rng.random() < 0.05:
            before = self.eol() + rng.choice((b" ", b"\t", b"  "))
        written = rng.choice((name, name.lower(), name.upper(), name.swapcase()))
        return written + b":" + before + value + rng.choice((b"", b"", b" ", b"\t")) + self.eol()

    def filler(self) -> list[bytes]:
        """Write header lines that do not matter, some of them close to those that do."""
        rng = self.rng
        names = (b"Host", b"Accept", b"X-A", b"Content-Type", b"Content-Length-Hint", b"Transfer-Encodings", b"TE")
        lines = [self.field_line(rng.choice(names), self.text(rng.randrange(30))) for _ in range(rng.randrange(5))]
        if rng.random() < 0.1:
            lines.append(self.field_line(b"Cookie", self.text(rng.choice((300, 3000, 20000, 100_000)))))
        if rng.random() < 0.1:
            lines.append(self.field_line(b"X-Folded", b"a" + self.eol() + b" Content-Length: 7" + self.eol() + b"\tb"))
        return lines

    def length_lines(self, length: int) -> list[bytes]:
        """Write a Content-Length in one of the ways that are valid (RFC 9112 6.3)."""
        number = b"%d" % length
        values: Sequence[bytes] = self.rng.choice(
            ([number],) * 6
            + ([b"0" * 3 + number], [number + b", " + number], [number, number], [number + b"," + number])
        )
        return [self.field_line(b"Content-Length", value) for value in values]

    def body(self) -> bytes:
        """Make content; unless all is plain, some that looks like HTTP."""
        rng, length = self.rng, size(self.rng, self.most)
        if not self.conversation.plain and rng.random() < 0.3:
            return rng.choice(LOOKALIKES) * rng.randrange(1, 4) + self.text(rng.randrange(9))
        at = rng.randrange(len(NOISE) - length)
        content = rng.choice((NOISE, WORDS))[at : at + length]
        # A reader who came in the middle cannot tell a capital letter before a method from the method.
        return content[:-1] + b"." if content and self.conversation.plain else content

    def chunks(self, body: bytes) -> tuple[bytes, list[tuple[int, int]]]:
        """Cut a body into chunks (RFC 9112 7.1); also give where in the result its content is."""
        rng, out, soft, at = self.rng, bytearray(), [], 0
        while at < len(body):
            step = min(len(body) - at, rng.choice((1, 3, 100, 1000, 70_000)))
            if len(body) - at > 100 * step:
                step = len(body) - at
            out += self.chunk_line(step)
            soft.append((len(out), len(out) + step))
            out += body[at : at + step] + self.eol()
            at += step
        out += self.chunk_line(0)
        for _ in range(rng.choice((0, 0, 0, 1, 3))):
            out += self.field_line(b"X-Trailer", self.text(rng.randrange(40)))
        return bytes(out + self.eol()), soft

    def chunk_line(self, length: int) -> bytes:
        """Write the line before a chunk."""
        rng = self.rng
        number = rng.choice((b"%x", b"%X", b"%04x", b"%030X")) % length
        extension = rng.choice((b"", b"", b"", b" ", b";a", b' ; a="b;c"', b";x=" + self.text(rng.randrange(5000))))
        return number + extension + self.eol()

    def coding_lines(self) -> list[bytes]:
        """Say that a body is chunked, perhaps with a Content-Length that does not count."""
        values: Sequence[bytes] = self.rng.choice(
            ([b"chunked"],) * 4
            + ([b"CHUNKED"], [b"gzip, chunked"], [b"gzip", b"chunked"], [b", chunked"], [b"gzip,chunked,"])
        )
        lines = [self.field_line(b"Transfer-Encoding", value) for value in values]
        if self.rng.random() < 0.1:
            lines.append(self.field_line(b"Content-Length", b"%d" % self.rng.randrange(999)))
        return lines

    def write(self, side: bool, start_line: bytes, lines: list[bytes], framing: str, body: bytes) -> Spoken:
        """Append one message to its side's stream; order of the header lines is random, but for equal names."""
        stream = self.conversation.streams[side]
        start = len(stream)
        first, rest = self.filler(), self.filler()
        stream += start_line + self.eol() + b"".join(first + lines + rest) + self.eol()
        head_end = len(stream)
        soft = [(0, len(body))]
        if framing == "chunked":
            body, soft = self.chunks(body)
        stream += body
        start_len = stream.index(b"\n", start) + 1 - start
        message = Spoken(side, self.exchange, start, start_len, head_end - start, len(stream), framing)
        message.soft = [(head_end + a, head_end + b) for a, b in soft if a < b]
        self.conversation.spoken.append(message)
        return message

    def target(self) -> bytes:
        """Make a request target: any form, any length."""
        rng = self.rng
        if rng.random() < 0.05:
            return b"/" + self.text(rng.choice((1000, 5000, 30_000, 60_000, 100_000)))
        rest = b"%d/%d?%s" % (self.exchange, rng.randrange(1 << 30), self.text(rng.randrange(20)))
        odd = () if self.conversation.plain else (b"*", b"/HTTP/1.1", b"/\xc3\xa9\xff" + rest, b"HTTP/1.1")
        return rng.choice((b"/" + rest, b"/" + rest, b"http://a.example/" + rest, *odd))

    def request(self, method: bytes | None = None, extra: Sequence[bytes] = (), framing: str = "") -> Spoken:
        """Write a request."""
        rng = self.rng
        plain = self.conversation.plain
        if method is None:
            method = rng.choice(COMMON if plain or rng.random() < 0.8 else ODD)
        target = b"a.example:443" if method == b"CONNECT" else self.target()
        framing = framing or rng.choice(("none", "none", "length", "chunked"))
        body = b"" if framing == "none" else self.body()
        lines = list(extra)
        if framing == "length" or (framing == "none" and rng.random() < 0.1):
            lines += self.length_lines(len(body))
        elif framing == "chunked":
            lines += self.coding_lines()
        version = rng.choice((b" HTTP/1.1", b" HTTP/1.1", b" HTTP/1.0"))
        if rng.random() < 0.05:
            self.conversation.streams[CLIENT] += self.eol() * rng.randrange(1, 4)
        message = self.write(CLIENT, method + b" " + target + version, lines, framing, body)
        message.method, message.target = method, target
        return message

    def response(self, request: Spoken, status: int | None = None, *, last: bool = False) -> Spoken:
        """Write the final response to a request, or the one with this status."""
        rng = self.rng
        if status is None:
            status = rng.choice(
                (200, 200, 200, 201, 206, 302, 404, 500, 204, 304, 299, 999 if rng.random() < 0.1 else 400)
            )
        bodiless = status < 200 or status in (204, 304) or request.method == b"HEAD"
        if request.method == b"CONNECT" and status < 300:
            bodiless = True
        framing = rng.choice(("length", "length", "chunked", "close" if last else "length"))
        body = b"" if bodiless else self.body()
        lines = []
        if bodiless:
            if status >= 200:
                lines = rng.choice(([], self.length_lines(rng.randrange(5000)), self.coding_lines()))
            framing = "none"
        elif framing == "length":
            lines = self.length_lines(len(body))
        elif framing == "chunked":
            lines = self.coding_lines()
        else:
            lines = rng.choice(([], [b"Connection: close\r\n"], [self.field_line(b"Transfer-Encoding", b"gzip")]))
            self.conversation.until_close = self.conversation.over = True
        reason = rng.choice((b" OK", b" ", b"", b" Not \xe9 Found", b" " + self.text(rng.randrange(200))))
        version = rng.choice((b"HTTP/1.1 ", b"HTTP/1.1 ", b"HTTP/1.0 "))
        message = self.write(SERVER, version + b"%d" % status + reason, lines, framing, body)
        message.status = status
        message.exchange = request.exchange
        if status < 200 and status != 101:
            self.conversation.interim.add(request.exchange)
        return message

    def interims(self, request: Spoken) -> None:
        """Write some 1xx responses, now and then."""
        while self.rng.random() < 0.08:
            self.response(request, self.rng.choice((100, 102, 103, 199)))
