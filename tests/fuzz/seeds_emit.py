"""The first corpus of the targets about messages, files of them, and what users write.

In: nothing.  Out: lists of inputs.
"""

import re
import tempfile
from pathlib import Path
from typing import Final

from emit.blocks import BLOCK_HEADER, FILE_HEADER
from emit.gorlines import write_line
from fuzz.records import TOKENS
from pipeline.template import template
from tests.emit.builders import conversation, entries, packed_forward
from tests.emit.test_formats import WRITERS, as_recording

FILTERS: Final = (
    "method == 'GET' and path ~ '^/api/[0-9]+$'", "not (status >= 500 or header('X-One') in ['1', '2']) and complete",
    "src in ['10.0.0.0/8', '2001:db8::/32'] or dport != 80", "host ~ 'shop' and param('q') !~ 'a|b' and cookie('sid')",
    "kind == 'replayed' and size < 100 and body ~ 'x'", "((query))", "target == \"/\" and not not sport in [1, 2]",
)  # fmt: skip
REPLACEMENTS: Final = ("a", "(?P<n>[a-z]+)/(b*)\n\\g<n>\\2\\\\", "^/api\n/", "x|y|\\d{2,3}\n<\\0>", "(?i)host\n")
POINTERS: Final = ("/a", "/a/0/b\n/**/card", "/*/x~1y\n/~0", "/**/a/*/b")
JSON: Final = (
    b'{"a":[{"b":1,"card":"\\u0041"}],"x/y":null,"~":-1.5e3}',
    b'[{"a":{"a":1}}, "x", true]',
    b'{"a":1}{"a":2}',
)
SAMPLES: Final = ("exchange", "header('X-User')", 'cookie("a")', "client")
REQUEST: Final = (
    b"GET http://u@shop:80/api/1?token=s3cr3t&q=%20 HTTP/1.1\r\nHost: shop\r\nX-One: 1\r\nCookie: a=b; sid=1\r\n"
    b"Referer: /x?token=1#f\r\nAuthorization: Basic s3cr3t\r\n"
)
BODIES: Final = (
    b"\r\n", b"Content-Type: application/json\r\nContent-Length: 54\r\n\r\n" + JSON[0],
    b"Transfer-Encoding: chunked\r\nContent-Type: application/x-www-form-urlencoded\r\nTrailer: Cookie\r\n\r\n"
    b"5;x=y\r\na=1&t\r\n8\r\noken=abc\r\n0\r\nCookie: a\r\n\r\n",
    b"Content-Type: multipart/form-data; boundary=\"x y\"\r\n\r\n--x y\r\nContent-Disposition: form-data;"
    b" name=\"token\"\r\n\r\nabc\r\n--x y--\r\n",
    b"Content-Encoding: gzip, identity\r\nContent-Type: application/json\r\n\r\n\x1f\x8b\x08\0\0\0\0\0\0\x03",
)  # fmt: skip
PARTS: Final = """
[[output.rewrite]]
where = "path ~ '^/a'"
path = { pattern = "^/a", with = "/b" }
set_headers = { "X-A" = "1" }
query = { set = { q = "1" }, remove = ["t"] }
json = { "/a/b" = [1, 2.5, true] }
[[output.mask]]
headers = ["Cookie"]
json = ["/**/card"]
how = "hash"
key_file = "secret.key"
"""


def receiving_seeds() -> list[bytes]:
    """Frames of all modes, whole, damaged, in parts and over each other; and raw ones."""
    out = []
    for mode in range(8):
        for session in (0, 0x0C, 0x4D, 0xAC):
            steps = [bytes([0x60 + 16 * (mode & 7) + at % 3, mode, session, at, 3 * mode, at]) for at in range(6)]
            out.append(bytes([mode]) + b"".join(steps))
    parts = b"".join(bytes([0x60, 2, 0x0C, at, 2, 7, 3, at]) for at in range(4))
    out += [b"\x05" + parts, b"\x06" + parts * 2 + b"\x00" + parts, b"\x81" + parts[:16] + b"\x01" + parts]
    raw = packed_forward(entries(conversation(1)), "id")
    out.append(
        b"\x00"
        + b"".join(bytes([0x20, len(raw[at : at + 200])]) + raw[at : at + 200] for at in range(0, len(raw), 200))
    )
    return out + [bytes([0, 0x50, at]) for at in range(len(TOKENS))]


def files_seeds() -> list[bytes]:
    """The same messages in every format, plain and packed, and blocks for recordings that are sealed anew."""
    made = conversation(4, body_bytes=16)
    files = {name: write(made) for name, write in WRITERS.items()}
    with tempfile.TemporaryDirectory() as folder:
        files["recording"] = as_recording(made[:2], Path(folder) / "r")
    out = [bytes([how]) + data for data in files.values() for how in (0, 8, 24, 32, 64)]
    body = files["recording"][FILE_HEADER.size + BLOCK_HEADER.size :][:300]
    return out + [bytes([6, len(body) // 2, kind, 0x11, 0x21]) + body for kind in range(3)]


def configuration_seeds() -> list[bytes]:
    """The template, whole and each table with what is commented out; rules; options."""
    text = template()
    plain = re.sub(r" +# .*", "", re.sub(r"(?m)^# (?=[\[a-z])", "", text))
    plain = re.sub(r"(?m)^(rewrite|mask|rate|rotate_\w+) = .*\n", "", plain)
    tables = [each.strip() for each in re.split(r"\n(?=\[)", plain) if each.startswith("[")]
    inputs = [each for each in tables if each.startswith("[input]")]
    outputs = [each for each in tables if each.startswith("[[output]]")]
    others = [each for each in tables if each[:6] not in ("[input", "[[outp")]
    out = [inputs[0] + "\n" + outputs[0] + "\n" + each for each in others]
    out += [f"{each}\n{outputs[-1]}" for each in inputs] + [f"{inputs[0]}\n{each}\n{PARTS}" for each in outputs]
    lines = ('[input]\ntype = "tcp"\nlisten = "127.0.0.1:0"', '[[output]]\ntype = "null"')
    out += ["\n".join(lines), "\n".join(lines) + "\0output.0.type=null\0workers.count=3\0output.1={type='stdout'}"]
    return [each.encode() for each in out]


def expressions_seeds() -> list[bytes]:
    """Each language with what it is for."""
    subject = REQUEST + b"\r\n"
    out = [b"\0" + text.encode() + b"\0" + subject for text in FILTERS]
    out += [b"\1" + text.encode() for text in SAMPLES]
    out += [b"\2" + text.encode() + b"\0" + subject for text in REPLACEMENTS]
    out += [b"\3" + text.encode() + b"\0" + each for text in POINTERS for each in JSON]
    return [*out, b"\4" + bytes(range(200))]


def changes_seeds() -> list[bytes]:
    """Each rule with each body, of requests and responses; lines of a middleware."""
    heads = (REQUEST, b"HTTP/1.1 302 Go\r\nLocation: ?token=1\r\nSet-Cookie: a=b\r\n")
    out = [bytes([rule, 2]) + head + body for rule in range(9) for head in heads for body in BODIES]
    written = [write_line(message) for message in conversation(3, body_bytes=8)]
    bare = b"\xff".join(bytes.fromhex(each.decode()) for each in written)
    return [*out, b"\x09\0" + b"".join(written), b"\x09\1" + bare]


def handshake_seeds() -> list[bytes]:
    """Right messages, wrong fields, and bytes before them; to either side."""
    steps = [bytes([how, field]) for how in (0, 128, 2, 6, 10, 14, 18) for field in range(6)]
    return [bytes([side, 0x80 * (side & 1)]) + step for side in (0, 1, 2, 21, 64) for step in [*steps, b"\x07abc\x00"]]
