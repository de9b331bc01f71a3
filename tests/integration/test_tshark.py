"""A second opinion on whole captures: tshark finds the same methods, targets and statuses, in the same order."""

import json
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest
from engines import by_compiled
from packets_files import read_pcap, write_pcap
from talks import CLIENT, SERVER, START_NS, Talk

from assemble import Message

ROOT: Final = Path(__file__).resolve().parents[2]
EXPECTED: Final = ROOT.parent / "shared" / "captures" / "expected.json"
TUNNELS: Final = ("vxlan.pcap", "gre.pcap")  # not unwrapped yet
SEPARATOR: Final = "\x1f"  # in no target
FIELDS: Final = ("tcp.srcport", "tcp.dstport", "http.request.method", "http.request.uri", "http.response.code")
SEEDS: Final = 400

Read = dict[tuple[int, int], list[str]]

needs_tshark = pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")


def by_tshark(path: Path, ports: Sequence[int]) -> Read:
    """Give what each direction says, by its ports: `METHOD target` or `status`, as tshark dissects it."""
    options = [part for field in FIELDS for part in ("-e", field)]
    options += [part for port in ports for part in ("-d", f"tcp.port=={port},http")]
    ran = subprocess.run(
        ["tshark", "-n", "-r", str(path), "-Y", "http", "-o", "tcp.reassemble_out_of_order:TRUE", "-T", "fields",
         "-E", "separator=/t", "-E", "occurrence=a", "-E", f"aggregator={SEPARATOR}", *options],
        capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    found: Read = defaultdict(list)
    for line in ran.stdout.splitlines():
        source, target, *lists = line.split("\t")
        methods, uris, statuses = (part.split(SEPARATOR) if part else [] for part in lists)
        way = int(source.split(SEPARATOR)[0]), int(target.split(SEPARATOR)[0])
        found[way] += [f"{method} {uri}" for method, uri in zip(methods, uris, strict=True)] + statuses
    return found


def by_us(messages: list[Message]) -> Read:
    """Put messages as `by_tshark` does."""
    found: Read = defaultdict(list)
    for m in messages:
        found[m.sport, m.dport].append(f"{m.method} {m.target}" if m.kind == "request" else str(m.status))
    return found


# What tshark reads as RFC 9112 says.  Not among it, and not drawn: methods that it has no name for; lines that end in
# a bare LF; folded lines (it takes what they hold for headers); codings before chunked; lists of lengths; what has a
# length but no body behind a pipelined HEAD; the next message in one segment with the end of a chunked body (it takes
# that for trailers); a CR and its LF in two segments behind the last chunk (that costs it the message).
METHODS: Final = ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND", "REPORT")
TARGETS: Final = ("/", "*", "/a?b=c,d&e=%20", "http://h.example/x", "/'\"<>{}|\\^`", "/" + "long/" * 900)
STATUSES: Final = ("200 OK", "201 Created", "206 Partial", "301 ", "404 Not Found", "500 Oh: no", "503 HTTP/1.1 200 OK")


def framed(random: Random) -> bytes:
    """Give the rest of a message behind its start line: headers that frame the body, and the body."""
    body = random.choice(
        (b"", random.randbytes(random.randrange(90)), b"GET /trap HTTP/1.1\r\n\r\n", b"0\r\n\r\n" * 900)
    )
    noise = b"X-Content-Length: 7\r\n" * random.randrange(3)
    if random.random() < 0.5:
        return noise + b"content-LENGTH:%d\r\n\r\n%b" % (len(body), body)
    cut = random.randint(1, len(body)) if body else 0
    chunks = b"".join(b"%x;a=b\r\n%b\r\n" % (len(part), part) for part in (body[:cut], body[cut:]) if part)
    return (
        noise + b"Transfer-Encoding: Chunked\r\n\r\n" + chunks + b"0\r\n" + random.choice((b"", b"A: b\r\n")) + b"\r\n"
    )


def request(random: Random, method: str) -> bytes:
    """Give a request, with a body or without."""
    rest = random.choice((b"Host: h\r\n\r\n", framed(random)))
    return f"{method} {random.choice(TARGETS)} HTTP/1.{random.choice('10')}\r\n".encode() + rest


def response(random: Random, method: str) -> bytes:
    """Give a response, perhaps behind interim ones."""
    interim = b"HTTP/1.1 103 Hints\r\nLink: </a>\r\n\r\n" * random.choice((0, 0, 1, 2))
    if method == "HEAD":
        return interim + b"HTTP/1.1 200 OK\r\nContent-Length: 30000\r\n\r\n"
    if random.random() < 0.2:
        return interim + random.choice((b"HTTP/1.1 204 No\r\nX: y\r\n\r\n", b"HTTP/1.1 304 Not\r\n\r\n"))
    return interim + f"HTTP/1.1 {random.choice(STATUSES)}\r\n".encode() + framed(random)


def runs(messages: list[bytes]) -> list[bytes]:
    """Join messages up to and with each chunked one."""
    out = [b""]
    for message in messages:
        out[-1] += message
        if message.endswith(b"\r\n\r\n") and b"Chunked" in message:
            out.append(b"")
    return [run for run in out if run]


def splits_end(data: bytes, size: int) -> bool:
    """Tell whether segments of this size tear a CR from its LF behind the last chunk."""
    cut = (len(data) - 1) // size * size
    return cut > len(data) - 9 and data[cut - 1 : cut + 1] == b"\r\n"


def ordinary(seed: int) -> Talk:
    """Give a conversation of messages that tshark reads, pipelined and cut in any way, some segments sent twice."""
    random = Random(seed)
    talk = Talk(cport=20000 + seed, now_ns=START_NS + seed * 10**9, client_isn=random.getrandbits(32)).open()
    for _ in range(random.randint(1, 5)):
        methods = random.choices(METHODS, k=random.choice((1, 1, 2, 4)))
        if len(methods) == 1 and random.random() < 0.2:
            methods = ["HEAD"]
        size = random.choice((1400, 1400, 100, 7 if random.random() < 0.1 else 300))
        for side, make in ((CLIENT, request), (SERVER, response)):
            for data in runs([make(random, method) for method in methods]):
                talk.say(side, data, next(n for n in range(size, size + 100) if not splits_end(data, n)))
    if random.random() < 0.3:
        at = random.randrange(3, len(talk.frames))
        talk.frames.insert(at, talk.frames[at])
    return talk.close()


@needs_tshark
def test_tshark_finds_the_same_in_generated_conversations(tmp_path):
    """Hundreds of conversations that both must be able to read: not one method, target or status may differ."""
    frames = [frame for seed in range(SEEDS) for frame in ordinary(seed).frames]
    ours = by_us(by_compiled(frames, ports=[80]))
    theirs = by_tshark(write_pcap(tmp_path / "ordinary.pcap", frames), [80])
    assert len(ours) == 2 * SEEDS
    assert ours == theirs


def captures() -> list[Any]:
    """Give path and ports of each capture."""
    shop = pytest.param(ROOT / "examples" / "shop.pcap", [8080], id="shop")
    if not EXPECTED.exists():
        why = pytest.mark.skip(reason="../shared/captures is not there")
        return [shop, pytest.param(EXPECTED, [], id="captures", marks=why)]
    entries = [e for e in json.loads(EXPECTED.read_text()) if e["file"] not in TUNNELS]
    return [shop, *(pytest.param(EXPECTED.parent / e["file"], e["ports"], id=e["file"]) for e in entries)]


@needs_tshark
@pytest.mark.parametrize(("path", "ports"), captures())
def test_tshark_finds_the_same_in_a_capture(path, ports):
    """The same of traffic that nobody here made; a message with a hole in it tshark leaves out."""
    link, frames = read_pcap(path)
    ours = by_us([m for m in by_compiled(frames, link=link, ports=ports) if not m.missing])
    assert ours == {way: said for way, said in by_tshark(path, ports).items() if said}
