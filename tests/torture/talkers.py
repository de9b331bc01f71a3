"""A server and clients that speak HTTP in as many ways as a mixed service brings: what a soak mirrors.

In: two namespaces, a seed.  Out: exchanges, numbered from 0; request and response have the number in `X-Item`.
Invariant: whatever was said had its answer before the next one from the same client, but for garbage.
"""

import base64
import contextlib
import http.client
import http.server
import itertools
import random
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final

from tests.integration.jobs import LIMIT_S
from tests.integration.mirrors import PORT, answering
from tests.namespace import Namespace

SIZES: Final = (0, 10, 300, 300, 2_000, 2_000, 10_000, 30_000)
LARGE: Final = 2_000_000
LARGE_EVERY: Final = 300


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers with what the request asks for: a size, chunks, another protocol."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_GET(self) -> None:
        """Answer."""
        if self.headers.get("Upgrade"):
            self._tunnel()
            return
        body = b"x" * int(self.headers.get("X-Size", 0))
        self.send_response(200)
        self.send_header("X-Item", self.headers.get("X-Item", ""))
        if self.headers.get("X-Chunked"):
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for at in range(0, len(body), 7000):
                piece = body[at : at + 7000]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def do_POST(self) -> None:
        """Read the body, and answer."""
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                self.rfile.read(size + 2)
            self.rfile.readline()
        else:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.do_GET()

    def _tunnel(self) -> None:
        self.send_response(101)
        self.send_header("X-Item", self.headers["X-Item"])
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.end_headers()
        self.wfile.flush()
        while data := self.connection.recv(65536):
            self.connection.sendall(data)
        self.close_connection = True

    def log_message(self, *_arguments: Any) -> None:
        """Say nothing."""


class Server(http.server.ThreadingHTTPServer):
    """One that minds nobody who goes."""

    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, _request: Any, _address: Any) -> None:
        """Say nothing."""


@contextlib.contextmanager
def serving(where: Namespace, port: int, handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[int]:
    """Serve in a namespace; yields the port."""
    with answering(where.call(lambda: Server((where.address, port), handler))) as bound:
        yield bound


class Talkers:
    """Clients, and what they have said so far."""

    def __init__(self, client: Namespace, host: str, seed: int, pause_s: float) -> None:
        self.client = client
        self.host = host
        self.seed = seed
        self.pause_s = pause_s
        self.numbers = itertools.count()
        self.said = 0  # numbers that were given to exchanges, at least
        self.over = threading.Event()
        self.raised: list[BaseException] = []
        self.threads: list[threading.Thread] = []

    @contextlib.contextmanager
    def talking(self, count: int) -> Iterator[None]:
        """Have so many clients talk until this is left; what one raises is raised here then."""
        threads = [threading.Thread(target=self._work, args=(self.seed + number,)) for number in range(count)]
        for each in threads:
            self.client.call(each.start)  # whose namespace a thread inherits
        try:
            yield
        finally:
            self.over.set()
            for each in threads:
                each.join()
        if self.raised:
            raise self.raised[0]

    def _work(self, seed: int) -> None:
        dice = random.Random(seed)
        ways: list[Callable[[random.Random], None]] = [
            self.one_by_one, self.one_by_one, self.one_by_one, self.pipelined, self.pipelined, self.upgraded,
            self.garbage,
        ]  # fmt: skip
        try:
            while not self.over.wait(dice.random() * 2 * self.pause_s):
                dice.choice(ways)(dice)
        except BaseException as error:
            self.raised.append(error)

    def number(self) -> int:
        """Give an exchange its number."""
        given = next(self.numbers)
        self.said = max(self.said, given + 1)
        return given

    def one_by_one(self, dice: random.Random) -> None:
        """Requests of all kinds on one connection, each after the answer to the one before."""
        connection = http.client.HTTPConnection(self.host, PORT, timeout=LIMIT_S)
        for _ in range(dice.randrange(1, 12)):
            self.ask(connection, dice)
            self.over.wait(dice.random() * 2 * self.pause_s)
        connection.close()

    def ask(self, connection: http.client.HTTPConnection, dice: random.Random) -> int:
        """Ask for something, and read the answer to its end."""
        number = self.number()
        size = LARGE if dice.randrange(LARGE_EVERY) == 0 else dice.choice(SIZES)
        headers = {"X-Item": str(number), "X-Size": str(size)}
        if dice.random() < 0.3:
            headers["X-Chunked"] = "yes"
        body: Any = None
        if dice.random() < 0.4:
            sent = LARGE if dice.randrange(LARGE_EVERY) == 0 else dice.choice(SIZES)
            body = b"y" * sent if dice.random() < 0.5 else iter([b"y" * (sent // 3 + 1)] * 3)
        connection.request(
            "GET" if body is None else "POST", f"/item/{number}", body, headers,
            encode_chunked=not isinstance(body, bytes | None),
        )  # fmt: skip
        assert len(connection.getresponse().read()) == size
        return number

    def pipelined(self, dice: random.Random) -> None:
        """Several requests in one go; the last one ends the connection."""
        count = dice.randrange(2, 10)
        heads = [
            f"GET /item/{number} HTTP/1.1\r\nHost: h\r\nX-Item: {number}\r\nX-Size: {dice.choice(SIZES[:6])}\r\n"
            for number in (self.number() for _ in range(count))
        ]
        wire = "\r\n".join([*heads[:-1], f"{heads[-1]}Connection: close\r\n\r\n"])
        assert self._until_closed(wire.encode()).count(b"HTTP/1.1 200 OK\r\n") == count

    def upgraded(self, dice: random.Random) -> None:
        """A WebSocket's opening, and then bytes that are no HTTP."""
        number = self.number()
        head = f"GET /item/{number} HTTP/1.1\r\nHost: h\r\nX-Item: {number}\r\nUpgrade: websocket\r\n"
        head += f"Connection: Upgrade\r\nSec-WebSocket-Key: {base64.b64encode(dice.randbytes(16)).decode()}\r\n\r\n"
        with socket.create_connection((self.host, PORT), LIMIT_S) as peer:
            peer.sendall(head.encode())
            said = b""
            while b"\r\n\r\n" not in said:
                more = peer.recv(65536)
                assert more
                said += more
            for _ in range(5):
                data = b"\x82\x7e" + dice.randbytes(1000)
                peer.sendall(data)
                left = len(data)
                while left:
                    left -= len(peer.recv(left))

    def garbage(self, dice: random.Random) -> None:
        """Something else on the port, and half of a request."""
        wire = dice.choice([dice.randbytes(500), b"\x16\x03\x01" + dice.randbytes(300), b"GET /half HTTP/1.1\r\nHo"])
        with contextlib.suppress(ConnectionError):
            self._until_closed(wire)

    def _until_closed(self, wire: bytes) -> bytes:
        """Send, say that this was all, and read to the end."""
        said = bytearray()
        with socket.create_connection((self.host, PORT), LIMIT_S) as peer:
            peer.sendall(wire)
            peer.shutdown(socket.SHUT_WR)
            while data := peer.recv(65536):
                said += data
        return bytes(said)
