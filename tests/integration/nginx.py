"""nginx as a server to replay against, whose access log says what it got: here, or in a namespace.

In: a directory.  Out: the lines of its log.  Invariant: it listens on loopback or in a namespace only, and ends with
its block.
"""

import json
import shutil
import signal
import socket
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from tests.emit.processes import free_port
from tests.integration.jobs import LIMIT_S, wait_until
from tests.namespace import Namespace

needs_nginx: Final = pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx")
FIELDS: Final = {
    "connection": "$connection", "method": "$request_method", "request": "$request", "length": "$request_length",
    "host": "$http_host", "agent": "$http_user_agent", "cookie": "$http_cookie", "number": "$http_x_number",
    "status": "$status", "body": "$request_body",
}  # fmt: skip
CONFIGURATION: Final = """
# Requests go through to another server, as nginx reads a body only if somebody wants it.
daemon off; worker_processes 1; pid {directory}/nginx.pid; error_log {directory}/error.log;
{user}
events {{ worker_connections 1024; }}
http {{
    log_format told escape=json '{format}';
    access_log {directory}/access.log told;
    client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy; fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
    keepalive_requests 1000000; large_client_header_buffers 8 64k; client_max_body_size 0;
    client_body_buffer_size 4m; client_body_in_single_buffer on;
    server {{ listen {address}:{port}; location / {{ proxy_pass http://unix:{directory}/behind; }} }}
    server {{ listen unix:{directory}/behind; access_log off; location / {{ return 200 'here you are'; }} }}
}}
"""


@dataclass(frozen=True)
class Nginx:
    """A running server."""

    directory: Path
    address: str
    port: int

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://{self.address}:{self.port}"

    def log(self) -> list[dict[str, Any]]:
        """Return a map for each request that it has answered, in order; a character stands for a byte."""
        lines = (self.directory / "access.log").read_bytes().split(b"\n")[:-1]
        return [json.loads(line.decode("latin-1"), strict=False) for line in lines]

    def by_connection(self) -> list[list[dict[str, Any]]]:
        """Return the same by connection, without its number."""
        found: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for each in self.log():
            found[each.pop("connection")].append(each)
        return list(found.values())


@contextmanager
def nginx(directory: Path, where: Namespace | None = None, port: int = 0) -> Iterator[Nginx]:
    """Run nginx for the length of a block."""
    directory.mkdir()
    server = Nginx(directory, "127.0.0.1" if where is None else where.address, port or free_port())
    told = json.dumps(FIELDS).replace('"$request_length"', "$request_length").replace('"$status"', "$status")
    configuration = directory / "nginx.conf"
    configuration.write_text(CONFIGURATION.format(
        directory=directory, format=told, address=server.address, port=server.port,
        user="user root;" if Path.home() == Path("/root") else "",
    ))  # fmt: skip
    command = ["nginx", "-p", str(directory), "-c", str(configuration)]
    within = [] if where is None else ["ip", "netns", "exec", where.name]
    job = subprocess.Popen([*within, *command], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        wait_until(lambda: job.poll() is not None or _answers(server, where), "nginx")
        assert job.poll() is None, job.stderr.read() if job.stderr else ""
        yield server
    finally:
        if job.poll() is None:
            job.send_signal(signal.SIGTERM)
        try:
            job.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            job.kill()
            job.communicate()


def _answers(server: Nginx, where: Namespace | None) -> bool:
    def attempt() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((server.address, server.port)) == 0

    return attempt() if where is None else where.call(attempt)
