"""Record `shop.pcap`: a small shop on 127.0.0.1:8080, its customers, and tcpdump watching loopback.

    python examples/shop.py [FILE]

It needs tcpdump and the right to capture (root, or CAP_NET_RAW on tcpdump); all else is the standard library.
What is said is the same in every recording; times, client ports and how the connections interleave are not.
"""

import gzip
import hashlib
import io
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from email.message import Message
from http.client import parse_headers
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HOST, PORT = "127.0.0.1", 8080
CUSTOMERS = 10
CLOCK = "Thu, 01 Jan 2026 12:00:00 GMT"
LAST_PATH = "/closing-time"
DEADLINE_S = 20


def noise(name: str, size: int) -> bytes:
    """Make bytes that look random and are the same every time."""
    return hashlib.shake_128(name.encode()).digest(size)


def product(number: int) -> dict[str, object]:
    """Describe one product of the shop."""
    return {
        "id": number,
        "name": f"Product {number}",
        "price_cents": 199 + number * 37 % 9000,
        "stock": number * 7 % 23,
        "text": "Well made and kindly priced. " * (1 + number % 4),
    }


class Shop(BaseHTTPRequestHandler):
    """Answers for the shop: every way HTTP/1.1 has to say where a body ends."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "shop/1.0", ""

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if path == "/":
            self.answer(b"<!doctype html><title>Shop</title><h1>Welcome</h1>\n" * 8, "text/html")
        elif path == "/products":
            page = int(query.rpartition("=")[2] or 0)
            listing = json.dumps([product(page * 10 + i) for i in range(10)]).encode()
            self.answer(listing, "application/json", cached=True)
        elif found := re.fullmatch(r"/products/(\d+)", path):
            self.answer(json.dumps(product(int(found[1]))).encode(), "application/json", cached=True)
        elif found := re.fullmatch(r"/images/(\d+)\.png", path):
            image = b"\x89PNG\r\n\x1a\n" + noise(path, 900 + 217 * int(found[1]) % 4000)
            self.answer(image, "image/png", cached=True)
        elif path == "/catalogue.bin":
            self.answer(noise(path, 150_000), "application/octet-stream")
        elif path == "/news":
            self.stream([f"data: {query} item {i}\n\n".encode() * (1 + i) for i in range(5)])
        elif path == "/old-page":
            self.until_close(b"<p>This page is older than Content-Length.\n" * 20)
        elif path == LAST_PATH:
            self.answer(b"Good night.\n", "text/plain")
        else:
            self.answer(b"Nothing here.\n", "text/plain", status=404)

    do_HEAD = do_GET  # noqa: N815 - the base class calls it so

    def do_POST(self) -> None:
        body = self.body()
        if self.path == "/orders":
            self.answer(b"", "text/plain", status=303, extra={"Location": f"/orders/{len(body)}"})
        else:
            self.answer(json.dumps({"took": len(body)}).encode(), "application/json", status=201)

    do_PUT = do_POST  # noqa: N815 - the base class calls it so

    def do_DELETE(self) -> None:
        self.send_response(204)
        self.end_headers()

    def body(self) -> bytes:
        """Read the request's body, by length or in chunks."""
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        return read_chunks(self.rfile)

    def answer(
        self,
        body: bytes,
        kind: str,
        *,
        status: int = 200,
        cached: bool = False,
        extra: dict[str, str] | None = None,
    ) -> None:
        """Send a body of known length, compressed where the client reads that; 304 if it has it already."""
        tag = f'"{hashlib.sha256(body).hexdigest()[:12]}"'
        if cached and self.headers.get("If-None-Match") == tag:
            self.send_response(304)
            self.send_header("ETag", tag)
            self.end_headers()
            return
        self.send_response(status)
        if "gzip" in self.headers.get("Accept-Encoding", "") and kind == "application/json":
            body = gzip.compress(body, mtime=0)
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if cached:
            self.send_header("ETag", tag)
        for name, value in (extra or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def stream(self, pieces: list[bytes]) -> None:
        """Send a body of unknown length in chunks, with an extension and a trailer."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Trailer", "X-Digest")
        self.end_headers()
        for number, piece in enumerate(pieces):
            self.wfile.write(b"%x;n=%d\r\n%b\r\n" % (len(piece), number, piece))
        digest = hashlib.sha256(b"".join(pieces)).hexdigest()
        self.wfile.write(b"0\r\nX-Digest: %b\r\n\r\n" % digest.encode())

    def until_close(self, body: bytes) -> None:
        """Send a body that ends when the connection does."""
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def date_time_string(self, timestamp: float | None = None) -> str:  # noqa: ARG002 - as the base class has it
        """Give the same date in every recording."""
        return CLOCK

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base class has it
        """Say nothing."""


def read_chunks(stream: io.BufferedIOBase) -> bytes:
    """Read a chunked body to its end."""
    out = b""
    while size := int(stream.readline().split(b";")[0], 16):
        out += stream.read(size)
        stream.readline()
    while stream.readline().strip():
        pass
    return out


class Customer:
    """One connection to the shop."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.socket = socket.create_connection((HOST, PORT), timeout=DEADLINE_S)
        self.stream = self.socket.makefile("rb")
        self.exchanges = 0

    def ask(self, method: str, path: str, body: bytes = b"", version: str = "1.1", **headers: str) -> bytes:
        """Spell a request."""
        lines = [f"{method} {path} HTTP/{version}", f"Host: {HOST}:{PORT}", f"User-Agent: {self.name}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        return "\r\n".join([*lines, "", ""]).encode() + body

    def hear(self, method: str) -> tuple[int, Message]:
        """Read one response, and give its status and headers."""
        status = int(self.stream.readline().split()[1])
        headers = parse_headers(self.stream)
        if status == 100:
            return status, headers
        self.exchanges += 1
        if headers["Transfer-Encoding"]:
            read_chunks(self.stream)
        elif method != "HEAD" and status not in (204, 304):
            length = headers["Content-Length"]
            self.stream.read(int(length) if length else -1)
        return status, headers

    def get(self, method: str, path: str, body: bytes = b"", version: str = "1.1", **headers: str) -> Message:
        """Make one exchange."""
        self.socket.sendall(self.ask(method, path, body, version, **headers))
        return self.hear(method)[1]

    def pipeline(self, *paths: str) -> None:
        """Ask for all of them before reading any answer."""
        self.socket.sendall(b"".join(self.ask("GET", path) for path in paths))
        for _ in paths:
            self.hear("GET")

    def upload(self, path: str, body: bytes) -> None:
        """Send a body only when told to go on."""
        request = self.ask("PUT", path, body, Expect="100-continue")
        head = len(request) - len(body)
        self.socket.sendall(request[:head])
        if self.hear("PUT")[0] != 100:
            raise RuntimeError("the shop did not ask for the upload")
        self.socket.sendall(request[head:])
        self.hear("PUT")

    def order(self, pieces: list[bytes]) -> None:
        """Send a body in chunks, each in a packet of its own."""
        self.socket.sendall(self.ask("POST", "/orders", Transfer_Encoding="chunked"))
        for piece in pieces:
            self.socket.sendall(b"%X\r\n%b\r\n" % (len(piece), piece))
        self.socket.sendall(b"0\r\n\r\n")
        self.hear("POST")

    def close(self) -> None:
        """Hang up."""
        self.stream.close()
        self.socket.close()


def visit(number: int) -> int:
    """Do one customer's shopping over one connection, and give the number of exchanges."""
    me = Customer(f"customer/{number:02}")
    me.get("GET", "/")
    for page in range(3):
        me.get("GET", f"/products?page={page}", Accept_Encoding="gzip")
    for step in range(5):
        item = number * 11 + step * 3
        tag = me.get("GET", f"/products/{item}")["ETag"]
        me.get("HEAD", f"/images/{item}.png")
        me.get("GET", f"/images/{item}.png")
        me.get("GET", f"/products/{item}", If_None_Match=tag)
        wish = json.dumps({"item": item, "count": step + 1}).encode()
        me.get("POST", "/cart", wish, Content_Type="application/json")
    me.pipeline(*(f"/products/{number + i}" for i in range(6)))
    me.get("GET", f"/news?for={number}")
    me.get("DELETE", f"/cart/{number * 11}")
    me.order([json.dumps({"line": i, "item": number * 11 + i}).encode() for i in range(4)])
    if number % 4 == 3:
        me.get("GET", "/catalogue.bin")
        me.upload(f"/photos/{number}", noise(f"photo {number}", 40_000))
    if number % 5 == 2:
        me.get("GET", "/no-such-page?" + "q" * 3000)
    if number % 3 == 1:
        me.get("GET", "/old-page", version="1.0")
    me.close()
    return me.exchanges


@contextmanager
def shop():
    """Keep the shop open."""
    with ThreadingHTTPServer((HOST, PORT), Shop) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()


@contextmanager
def tcpdump(path: Path):
    """Record the shop's port on the loopback interface; at the end, wait for the last customer's goodbye."""
    command = f"tcpdump -i lo -n -U --immediate-mode -s 262144 -w - tcp port {PORT}".split()
    with (
        path.open("wb") as out,
        subprocess.Popen(command, stdout=out, stderr=subprocess.PIPE, text=True) as process,
    ):
        said = process.stderr.readline()
        if "listening on" not in said:
            raise SystemExit(f"tcpdump cannot capture here: {said.strip()}")
        try:
            yield
            wait_for(path, b"Good night.\n")
        finally:
            process.send_signal(signal.SIGINT)
            print(process.stderr.read().strip())


def wait_for(path: Path, what: bytes) -> None:
    """Wait until these bytes have been recorded and the file has stopped growing."""
    pause, deadline, before = threading.Event(), time.monotonic() + DEADLINE_S, b""
    while what not in before or len(before) != path.stat().st_size:
        if time.monotonic() > deadline:
            raise SystemExit(f"tcpdump did not record everything within {DEADLINE_S} s")
        before = path.read_bytes()
        pause.wait(0.2)


def main() -> None:
    """Record one day in the shop."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("shop.pcap")
    with tcpdump(path), shop():
        with ThreadPoolExecutor(4) as pool:
            exchanges = sum(pool.map(visit, range(CUSTOMERS)))
        last = Customer("customer/last")
        last.get("GET", LAST_PATH, Connection="close")
        last.close()
    print(f"{path}: {exchanges + 1} exchanges on {CUSTOMERS + 1} connections, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
