"""A live run for tests: started in a namespace, waited for, asked to end, with all that it said; and its traffic."""

import http.client
import http.server
import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.integration.jobs import COMMAND, LIMIT_S, messages, wait_until
from tests.namespace import Namespace

PORT: Final = 8080
BODY: Final = b"x" * 1000


@dataclass
class Mirror:
    """A run that is watching."""

    job: "subprocess.Popen[bytes]"
    directory: Path
    config: Path
    said: list[str] = field(default_factory=list)
    code: int | None = None
    ledger: dict[str, Any] = field(default_factory=dict)

    def says(self, text: str) -> bool:
        """Whether a line with this has come."""
        return any(text in line for line in self.said)

    def wait_for(self, text: str) -> None:
        """Wait for a line with this; fails with all that was said."""
        try:
            wait_until(lambda: self.says(text) or self.job.poll() is not None, text)
        finally:
            assert self.says(text), "\n".join(self.said)

    def messages(self, name: str = "out.jsonl") -> list[dict[str, Any]]:
        """Return what has come out."""
        return messages(self.directory / name)

    def requests(self, name: str = "out.jsonl") -> list[str]:
        """Return the targets of the requests that have come out."""
        return [each["target"] for each in self.messages(name) if each["kind"] == "request"]

    def stop(self) -> int:
        """Ask it to end, as systemd does, and return the exit code; the ledger is read."""
        if self.code is None:
            assert self.job.poll() is None, "\n".join(self.said)
            self.job.send_signal(signal.SIGTERM)
            self.code = self.job.wait(LIMIT_S)
            self.ledger = json.loads((self.directory / "ledger.json").read_text())
            if self.code:
                print(self.ledger["loss"], *self.said, sep="\n")  # pytest shows it with the failure
        return self.code

    def counted(self, kind: str, name: str) -> int:
        """Return one counter, after the end."""
        count: int = self.ledger["counters"][kind][name]
        return count


@contextmanager
def mirroring(
    directory: Path,
    source: str,
    *outputs: str,
    where: Namespace | None = None,
    more: str = "",
    ready: str = "ready: every source",
    under: tuple[str, ...] = (),
) -> Iterator[Mirror]:
    """Start a live run, wait until it watches, and end it in any case; every string is the inside of its table."""
    config = directory / "mirror.toml"
    written = outputs or ('type = "file"\npath = "out.jsonl"',)
    tables = [f'[input]\ntype = "live"\n{source}\n{more}', *(f"[[output]]\n{each}\n" for each in written)]
    config.write_text("\n".join(tables))
    command = [*under, str(COMMAND), "run", "--config", str(config), "--ledger", "ledger.json", "--strict", "-v"]
    job = subprocess.Popen(
        ["ip", "netns", "exec", where.name, *command] if where is not None else command, cwd=directory,
        env=os.environ | {"TMPDIR": str(directory)}, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    mirror = Mirror(job, directory, config)

    def listen() -> None:
        assert job.stderr is not None
        for line in job.stderr:
            mirror.said.append(line.decode().rstrip())

    listening = threading.Thread(target=listen)
    listening.start()
    try:
        if ready:
            mirror.wait_for(ready)
        yield mirror
    finally:
        if job.poll() is None:
            job.terminate()
            try:
                job.wait(LIMIT_S)
            except subprocess.TimeoutExpired:
                job.kill()
                job.wait()
        listening.join()
        assert job.stderr is not None
        job.stderr.close()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # header block and body at once: else the body waits 40 ms for an acknowledgement

    def do_GET(self) -> None:
        size = int(self.headers.get("X-Size", len(BODY)))
        self.send_response(200)
        self.send_header("Content-Length", str(size))
        self.end_headers()
        self.wfile.write(b"x" * size)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, *_arguments: Any) -> None:
        pass


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, _request: Any, _address: Any) -> None:  # a client that goes is no news
        pass


class _Server6(_Server):
    address_family = 10  # AF_INET6


@contextmanager
def serving(where: Namespace, address: str = "", port: int = PORT) -> Iterator[int]:
    """Serve HTTP in a namespace; yields the port."""
    made = _Server6 if ":" in address else _Server
    with answering(where.call(lambda: made((address or where.address, port), _Handler))) as bound:
        yield bound


@contextmanager
def answering(server: http.server.HTTPServer) -> Iterator[int]:
    """Have a server answer from a thread; yields its port."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def fetch(
    where: Namespace, host: str, targets: list[str], port: int = PORT, size: int = len(BODY), body: bytes = b""
) -> None:
    """Send requests on one connection, and read every answer to its end."""

    def ask() -> None:
        connection = http.client.HTTPConnection(host, port, timeout=LIMIT_S)
        for target in targets:
            connection.request("POST" if body else "GET", target, body or None, {"X-Size": str(size)})
            assert len(connection.getresponse().read()) == size
        connection.close()

    where.call(ask)


def until(mirror: Mirror, condition: Callable[[], bool], what: str) -> None:
    """Wait for something that a running mirror has to bring about."""
    try:
        wait_until(lambda: condition() or mirror.job.poll() is not None, what)
    finally:
        if not condition():
            print(what, *mirror.said, *mirror.messages(), sep="\n")  # pytest shows it with the failure
    assert condition(), what
