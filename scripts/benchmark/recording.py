"""Real traffic for the benchmark: nginx and wrk on loopback, recorded by tcpdump until there is enough.

In: a path and a number of exchanges.  Out: a capture, and beside it a note of what wrk counted.
Nothing is left running; nginx gets a configuration of its own and a free port.
"""

import json
import math
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts.benchmark.processes import wait_for

CONNECTIONS = 16
FIRST_BURST_S = 2
LONGEST_BURST_S = 10
BUFFER_KIB = 512 * 1024
NGINX = """
worker_processes 1; daemon off; pid {dir}/nginx.pid; error_log {dir}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off; keepalive_requests 100000000; keepalive_timeout 300s;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            default_type application/json;
            return 200 '{{"id":42,"name":"enamel mug","price":9.99,"currency":"EUR","stock":42}}';
        }}
    }}
    server {{ listen 127.0.0.1:{status}; location / {{ stub_status; }} }}
}}
"""


def free_port() -> int:
    """Return a TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(command: list[str], **options) -> Iterator[subprocess.Popen]:
    """Run a program for the length of a block; it is stopped by SIGINT."""
    process = subprocess.Popen(command, **options)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.wait(30)


def answers(port: int) -> bool:
    """Tell whether somebody listens on a port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def requests_served(status: int) -> int:
    """Ask nginx how many requests it has served since it started (ngx_http_stub_status_module)."""
    with urllib.request.urlopen(f"http://127.0.0.1:{status}/", timeout=5) as answer:
        return int(answer.read().splitlines()[2].split()[2])


def settled(path: Path) -> bool:
    """Tell whether a file has stopped growing; the kernel hands over a block that is not full after 1 s."""
    before = path.stat().st_size
    threading.Event().wait(2.5)
    return path.stat().st_size == before


def record(path: Path, exchanges: int) -> dict[str, int]:
    """Record at least so many exchanges; returns what nginx and wrk counted, and which port was served."""
    port, status = free_port(), free_port()
    counted = bursts = 0
    burst_s = FIRST_BURST_S
    with tempfile.TemporaryDirectory() as folder:
        conf = Path(folder, "nginx.conf")
        conf.write_text(NGINX.format(dir=folder, port=port, status=status))
        dump = [
            shutil.which("tcpdump") or "tcpdump", "-i", "lo", "-B", str(BUFFER_KIB),
            "-s", "262144", "-Z", "root", "-w", str(path), f"tcp port {port}",
        ]  # fmt: skip
        with running(["nginx", "-p", folder, "-c", str(conf)], stderr=subprocess.DEVNULL):
            wait_for("nginx", lambda: answers(port))
            log = Path(folder, "tcpdump.log")
            with log.open("w") as stderr, running(dump, stderr=stderr):
                wait_for("tcpdump", lambda: "listening on" in log.read_text())
                while counted < exchanges:
                    wrk = subprocess.run(
                        ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{burst_s}s", f"http://127.0.0.1:{port}/items/42"],
                        capture_output=True, text=True, check=True,
                    )  # fmt: skip
                    bursts += 1
                    found = int(re.search(r"(\d+) requests in", wrk.stdout)[1])
                    counted += found
                    left_s = (exchanges - counted) * burst_s / max(1, found)  # at the rate of this burst
                    burst_s = min(LONGEST_BURST_S, max(1, math.ceil(left_s)))
                    wait_for("writing the capture", lambda: settled(path), 120)
            served = requests_served(status) - 1  # one of them asked for this
            dropped = int(re.search(r"(\d+) packets dropped by kernel", log.read_text())[1])
    note = {
        "port": port,
        "messages": 2 * served,
        "served": served,
        "wrk_requests": counted,
        "may_exceed": CONNECTIONS * bursts,
        "dropped": dropped,
    }
    Path(f"{path}.json").write_text(json.dumps(note))
    return note


def capture(folder: Path, exchanges: int) -> tuple[Path, dict[str, int]]:
    """Return a capture of so many exchanges, recorded now if need be; again if frames were dropped."""
    path = folder / f"recorded-{exchanges}.pcap"
    note_path = Path(f"{path}.json")
    for _ in range(3):
        note = json.loads(note_path.read_text()) if note_path.exists() and path.exists() else record(path, exchanges)
        if note["dropped"] == 0:
            return path, note
        note_path.unlink()
    raise SystemExit("bench: tcpdump dropped frames three times over: the machine is too busy to record")
