"""A server to replay against: it logs what it gets, per connection and in order, and answers by a script.

In: connections.  Out: `Arrival`s, each as it becomes whole.  Invariant: what a request is, is read here from the bytes
alone, by RFC 9112, and shares no code with what sends them; when a target has ended, so have its threads.
"""

import hashlib
import re
import socket
import ssl
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

STALL_S: Final = 30.0  # a client that says nothing for so long has gone, or a test has failed
LONGEST_LINE: Final = 1 << 20
TOKEN: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
OK: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class MalformedRequest(Exception):
    """What came is no request."""


@dataclass(frozen=True)
class Arrival:
    """One request as it came."""

    connection: int  # which of the target's connections, in the order in which they were accepted
    number: int  # which of all requests, in the order in which they became whole
    at_s: float  # when that was, on the monotonic clock
    head: bytes  # with its blank line
    body: bytes  # as on the wire: chunks, trailers and all

    @property
    def payload(self) -> bytes:
        """All of its bytes."""
        return self.head + self.body

    @property
    def method(self) -> bytes:
        """Its method."""
        return self.head.split(b" ", 1)[0]

    @property
    def target(self) -> bytes:
        """Its target; blanks in it are part of it."""
        return self.head.split(b"\n", 1)[0].split(b" ", 1)[1].rsplit(b" ", 1)[0]

    @property
    def lines(self) -> list[bytes]:
        """The header lines, in order and case."""
        return self.head.splitlines(keepends=True)[1:-1]

    @property
    def digest(self) -> str:
        """SHA-256 of all of its bytes."""
        return hashlib.sha256(self.payload).hexdigest()

    def values(self, name: bytes) -> list[bytes]:
        """The values of a header."""
        return [value for each, value in fields(self.head) if each == name.lower()]


def fields(head: bytes) -> list[tuple[bytes, bytes]]:
    """Return names in lower case and values; folded lines are joined (RFC 9112 section 5.2)."""
    found: list[tuple[bytes, bytes]] = []
    for line in head.split(b"\n")[1:]:
        if line[:1] in {b" ", b"\t"} and found:
            name, value = found.pop()
            found.append((name, b" ".join([value, line.strip()]).strip()))
        elif line.strip():
            name, _, value = line.partition(b":")
            found.append((name.lower(), value.strip()))
    return found


def tokens(head: bytes, name: bytes) -> list[bytes]:
    """Return the members of a list that may be in several lines, in lower case; empty ones do not count."""
    values = b",".join(value for each, value in fields(head) if each == name)
    return [each.strip().lower() for each in values.split(b",") if each.strip()]


class Line:
    """One connection, as a script sees it."""

    def __init__(self, number: int, connection: socket.socket) -> None:
        self.number = number
        self.socket = connection
        self.reader = connection.makefile("rb")
        self.served = 0

    def send(self, data: bytes) -> None:
        """Say something."""
        self.socket.sendall(data)

    def reset(self) -> None:
        """End the connection by RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.reader.close()
        self.socket.close()

    def read_line(self) -> bytes:
        """Read to the end of a line; nothing where the connection ends."""
        line = self.reader.readline(LONGEST_LINE)
        if line and not line.endswith(b"\n"):
            raise MalformedRequest(f"a line without an end: {line[:60]!r}")
        return line

    def read_head(self) -> bytes:
        """Read to the blank line; nothing if the connection ends where a request would begin."""
        head = self.read_line()
        method, _, rest = head.partition(b" ")
        if head and not (TOKEN.fullmatch(method) and re.search(rb" HTTP/1\.[01]\r?\n$", b" " + rest)):
            raise MalformedRequest(f"not a request line: {head[:60]!r}")
        while head:
            line = self.read_line()
            if not line:
                raise MalformedRequest(f"a head without an end: {head[:60]!r}")
            head += line
            if line in {b"\r\n", b"\n"}:
                break
        return head

    def read_body(self, head: bytes) -> bytes:
        """Read the body that a head announces: RFC 9112 section 6.3."""
        codings = tokens(head, b"transfer-encoding")
        if codings:
            if codings[-1] != b"chunked":
                raise MalformedRequest(f"no length: {codings}")
            return self.read_chunks()
        lengths = {int(each) for each in tokens(head, b"content-length")}
        if len(lengths) > 1:
            raise MalformedRequest(f"several lengths: {lengths}")
        return self.read_bytes(lengths.pop()) if lengths else b""

    def read_chunks(self) -> bytes:
        """Read a chunked body with its trailers: RFC 9112 section 7.1."""
        body = b""
        while True:
            line = self.read_line()
            size = int(line.split(b";")[0].strip(), 16)
            body += line
            if size == 0:
                break
            body += self.read_bytes(size) + self.read_line()
        while line not in {b"\r\n", b"\n"}:
            line = self.read_line()
            body += line
        return body

    def read_bytes(self, size: int) -> bytes:
        """Read that many bytes."""
        data = self.reader.read(size)
        if len(data) < size:
            raise MalformedRequest(f"{len(data)} bytes of {size}")
        return data


Script = Callable[[Line, Arrival], bool]
"""Answers a request; whether the connection goes on."""


def usual(line: Line, request: Arrival) -> bool:
    """Answer 200 and go on, whatever the request says: no body to HEAD, no tunnel to CONNECT."""
    head, _, body = OK.partition(b"\r\n\r\n")
    if request.method == b"CONNECT":
        head = head.replace(b"200 OK", b"405 No")
    line.send(head + b"\r\n\r\n" + (b"" if request.method == b"HEAD" else body))
    return True


def polite(line: Line, request: Arrival) -> bool:
    """Answer as `usual`, and close where the request says so, or is of HTTP/1.0: RFC 9112 section 9.3."""
    usual(line, request)
    old = request.head.split(b"\n", 1)[0].rstrip().endswith(b"HTTP/1.0")
    said = tokens(request.head, b"connection")
    return b"keep-alive" in said if old else b"close" not in said


@dataclass
class Target:
    """A listening server; every connection has a thread."""

    script: Script = usual
    tls: ssl.SSLContext | None = None
    greet: Callable[[Line], bool] | None = None  # before anything is read; whether the connection goes on
    arrivals: list[Arrival] = field(default_factory=list)
    begun: list[tuple[int, bytes]] = field(default_factory=list)  # heads, before their bodies
    accepted: int = 0
    open_now: int = 0
    most_open: int = 0
    names: list[str | None] = field(default_factory=list)  # asked for in TLS (SNI)
    certificates: list[object] = field(default_factory=list)  # that clients have shown
    faults: list[str] = field(default_factory=list)  # requests that are none, failed handshakes
    port: int = 0

    def __post_init__(self) -> None:
        self.lock = threading.Lock()
        self.lines: dict[int, socket.socket] = {}
        self.threads: list[threading.Thread] = []
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", self.port))
        self.port = self.listener.getsockname()[1]
        self.ended = threading.Event()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def authority(self) -> bytes:
        """What Host says of it."""
        return b"127.0.0.1:%d" % self.port

    def listen(self) -> None:
        """Begin to accept; until then connections are refused, and nobody else gets the port."""
        self.listener.listen(512)
        self.threads.append(threading.Thread(target=self.accept))
        self.threads[-1].start()

    def accept(self) -> None:
        """Take connections until the end."""
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with self.lock:
                number = self.accepted
                self.accepted += 1
                if self.ended.is_set():
                    connection.close()
                    return
                self.lines[number] = connection
                self.open_now += 1
                self.most_open = max(self.most_open, self.open_now)
                self.threads.append(threading.Thread(target=self.attend, args=(number, connection)))
                self.threads[-1].start()

    def attend(self, number: int, connection: socket.socket) -> None:
        """Serve one connection to its end."""
        connection.settimeout(STALL_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            with connection:
                self.serve(number, connection)
        except (OSError, MalformedRequest, ValueError) as error:
            self.note(error)
        finally:
            with self.lock:
                self.lines.pop(number, None)
                self.open_now -= 1

    def note(self, error: Exception) -> None:
        """Keep what was wrong; a client that goes away between requests is no fault, nor is our own end."""
        if not isinstance(error, ConnectionError) and not (isinstance(error, OSError) and self.ended.is_set()):
            self.faults.append(f"{type(error).__name__}: {error}")

    def serve(self, number: int, connection: socket.socket) -> None:
        """Read and answer requests."""
        if self.tls is not None:
            connection = self.shake(connection)
        line = Line(number, connection)
        with connection, line.reader:
            if self.greet is not None and not self.greet(line):
                return
            while head := line.read_head():
                self.begun.append((number, head))
                if b"100-continue" in tokens(head, b"expect"):
                    self.expected(line)
                body = line.read_body(head)
                with self.lock:
                    request = Arrival(number, len(self.arrivals), time.monotonic(), head, body)
                    self.arrivals.append(request)
                if not self.script(line, request):
                    return
                line.served += 1

    def expected(self, line: Line) -> None:
        """Answer an expectation: RFC 9110 section 10.1.1."""
        line.send(b"HTTP/1.1 100 Continue\r\n\r\n")

    def shake(self, connection: socket.socket) -> socket.socket:
        """Make it a TLS connection."""
        assert self.tls is not None
        self.tls.sni_callback = lambda _socket, name, _context: self.names.append(name)
        wrapped = self.tls.wrap_socket(connection, server_side=True)
        self.certificates.append(wrapped.getpeercert())
        return wrapped

    def by_connection(self) -> list[list[Arrival]]:
        """Return what came, per connection and in order."""
        found: dict[int, list[Arrival]] = defaultdict(list)
        for each in self.arrivals:
            found[each.connection].append(each)
        return list(found.values())

    def close(self) -> None:
        """End every connection and every thread."""
        self.ended.set()
        with suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        with self.lock:
            for each in self.lines.values():
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join(10)
            assert not thread.is_alive(), "a connection of the target does not end"


@contextmanager
def target(script: Script = usual, *, listening: bool = True, **options: object) -> Iterator[Target]:
    """Run a target for the length of a block."""
    made = Target(script, **options)  # type: ignore[arg-type]
    try:
        if listening:
            made.listen()
        yield made
    finally:
        made.close()


def is_within(wanted: Sequence[object], log: Sequence[object]) -> bool:
    """Tell whether all of `wanted` is in `log`, in this order, other things in between."""
    rest = iter(log)
    return all(each in rest for each in wanted)
