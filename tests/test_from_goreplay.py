"""docs/from-goreplay.md is true: every flag of GoReplay has its row, all that is written there is accepted, and rows do
what GoReplay does, as it documents it."""

import contextlib
import gzip
import json
import re
import subprocess
import time
import tomllib
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl

import pytest
import typer

from assemble.message import Message, read_message
from emit.recording import Reader
from pipeline import cli
from pipeline.config import Config
from pipeline.explain import explain
from pipeline.settings import parse
from tests.emit.builders import as_line, read_lines, request
from tests.integration.jobs import COMMAND, START_NS, configuration, exchange, pipeline, reading, writing
from tests.integration.replays import asked, readdressed, record, recorded, replay, sending, targets
from tests.packets_files import write_pcap
from tests.packets_tunnels import UDP, framed, outer, vxlan
from tests.targets import fields, target

ROOT: Final = Path(__file__).parents[1]
TEXT: Final = (ROOT / "docs" / "from-goreplay.md").read_text(encoding="utf-8")

FLAGS: Final = set(re.findall(r"\S+", """
    copy-buffer-size cpuprofile debug exit-after http-allow-header http-allow-method http-allow-url
    http-basic-auth-filter http-disallow-header http-disallow-url http-header-limiter http-original-host
    http-param-limiter http-pprof http-rewrite-header http-rewrite-url http-set-header http-set-param
    input-dummy input-file input-file-dry-run input-file-loop input-file-max-wait input-file-read-depth
    input-file-watch input-file-watch-interval input-http
    input-kafka-host input-kafka-json-format input-kafka-mechanism input-kafka-offset input-kafka-password
    input-kafka-topic input-kafka-use-sasl input-kafka-username
    input-raw input-raw-allow-incomplete input-raw-bpf-filter input-raw-buffer-size input-raw-buffer-timeout
    input-raw-engine input-raw-expire input-raw-ignore-interface input-raw-immediate-mode input-raw-monitor
    input-raw-override-snaplen input-raw-promisc input-raw-protocol input-raw-realip-header input-raw-stats
    input-raw-timestamp-type input-raw-track-response input-raw-vlan input-raw-vlan-vid input-raw-vxlan-port
    input-raw-vxlan-vni
    input-tcp input-tcp-certificate input-tcp-certificate-key input-tcp-secure
    kafka-tls-ca-cert kafka-tls-client-cert kafka-tls-client-key memprofile middleware
    output-binary output-binary-debug output-binary-timeout output-binary-track-response output-binary-workers
    output-dummy output-file output-file-append output-file-buffer output-file-flush-interval
    output-file-max-size-limit output-file-queue-limit output-file-size-limit
    output-http output-http-compatibility-mode output-http-debug output-http-elasticsearch output-http-header
    output-http-header-filter output-http-header-hash-filter output-http-method output-http-queue-len
    output-http-redirects output-http-response-buffer output-http-rewrite-url output-http-skip-verify
    output-http-stats output-http-stats-ms output-http-timeout output-http-track-response
    output-http-url-regexp output-http-worker-timeout output-http-workers output-http-workers-min
    output-kafka-host output-kafka-json-format output-kafka-mechanism output-kafka-password output-kafka-topic
    output-kafka-use-sasl output-kafka-username output-null output-stdout
    output-tcp output-tcp-response-buffer output-tcp-secure output-tcp-skip-verify output-tcp-stats
    output-tcp-sticky output-tcp-workers
    output-ws output-ws-skip-verify output-ws-stats output-ws-sticky output-ws-workers
    prettify-http recognize-tcp-sessions split-output stats verbose
"""))  # fmt: skip
"""What `gor --help` lists, of 0.16, 1.3 and the settings of May 2025."""

NEEDED: Final = {
    ("input", "pcap"): 'path = "examples/shop.pcap"',
    ("input", "file"): 'path = "shop.rec"',
    ("output", "http"): 'address = "http://staging.internal:8080"',
    ("output", "tcp"): 'address = "replay.internal:24224"',
    ("output", "file"): 'path = "shop.jsonl"',
}
"""A key that a table cannot do without; rows name it only where it matters."""


@dataclass(frozen=True)
class Row:
    """One row of a table that says what to write instead."""

    section: str
    gor: str
    instead: str
    about: tuple[str, ...]  # the table that keys belong into where no other is named, as its first lines

    @property
    def flags(self) -> set[str]:
        """The flags of GoReplay that it is about."""
        return set(re.findall(r"`--([\w-]+)", self.gor)) | set(re.findall(r" --([\w-]+)", self.gor))

    @property
    def spans(self) -> list[str]:
        """What stands in backquotes."""
        return re.findall(r"`([^`]+)`", self.instead)

    @property
    def ways(self) -> list[list[list[str]]]:
        """What it writes, in each way that it offers: tables, each its head and its keys."""
        parts = re.split(r"(?:;| or) (?=(?:[^`]*`[^`]*`)*[^`]*$)", self.instead)
        return [tables for tables in map(self._tables, parts) if tables]

    def _tables(self, text: str) -> list[list[str]]:
        found: list[list[str]] = []
        for span in re.findall(r"`([^`]+)`", text):
            if re.fullmatch(r"\[+[\w.]+\]+", span):
                found.append([span])
            elif re.match(r"\w+ = ", span):
                if not found:
                    found.append(list(self.about))
                found[-1].append(span)
        return found


def rows() -> Iterator[Row]:
    """Read the tables of the document."""
    for section in TEXT.split("\n## ")[1:]:
        said = re.search(r"^Keys belong into (.+?)[,.](?: |$)", section, re.MULTILINE)
        about = re.findall(r"`([^`]+)`", said[1]) if said else []
        for line in section.splitlines():
            cells = [each.strip().replace(r"\|", "|") for each in re.split(r"(?<!\\)\|", line)[1:-1]]
            if cells and cells[0].startswith("`"):
                yield Row(section.split("\n")[0], cells[0], cells[-1], tuple(about))


ROWS: Final = list(rows())


def row(gor: str) -> Row:
    """Return the row whose first cell is this."""
    (found,) = [each for each in ROWS if each.gor == f"`{gor}`"]
    return found


def written(tables: list[list[str]]) -> str:
    """Return a whole configuration in which these tables stand, the rest as small as it can be."""
    heads = [head.strip("[]") for head, *_keys in tables]
    if heads[0].startswith("output."):
        return written([["[[output]]"], *tables])
    text = []
    for (head, *keys), name in zip(tables, heads, strict=True):
        given = dict(key.split(" = ", 1) for key in keys)
        assert len(given) == len(keys), f"a key twice: {keys}"
        if name == "output" and "type" not in given:
            given = {"type": '"null"'} | given
        needed = NEEDED.get((name, given.get("type", "").strip('"')), "").split(" = ", 1)
        if needed[0] and needed[0] not in given:
            given[needed[0]] = needed[1]
        text += [head, *(f"{key} = {value}" for key, value in given.items())]
    if "input" not in heads:
        text += ["[input]", 'type = "pcap"', NEEDED["input", "pcap"]]
    if "output" not in heads:
        text += ["[[output]]", 'type = "null"']
    return "\n".join(text)


def test_every_flag_of_gor_has_its_row_and_no_row_one_that_is_not():
    """Whoever moves looks for what they have, and nothing else."""
    assert {flag for each in ROWS for flag in each.flags} == FLAGS
    first = [each.gor for each in ROWS]
    assert len(first) == len(set(first))


def test_every_row_says_something():
    """An empty cell would be read as "works the same"."""
    for each in ROWS:
        if each.section == "Older names":
            assert set(re.findall(r"`--([\w-]+)`", each.instead)) < FLAGS
        elif "nothing to write" not in each.instead and not each.instead.startswith("not offered"):
            command = any(span.split()[0] in {"pipeline", "timeout", "python3"} for span in each.spans)
            assert each.ways or command, each


(STEPS,) = re.findall(r"```python\n(.+?)```", TEXT, re.DOTALL)


SEPARATOR: Final = "\n🐵🙈🙉\n".encode()


def as_gor(messages: Iterable[Message]) -> bytes:
    """Write requests as GoReplay's documentation says: a header of kind, id and time, the message, three monkeys."""
    pieces = (b"1 %040x %d 0\n%s" % (each.id, each.first_ns, each.payload) for each in messages)
    return b"".join(piece + SEPARATOR for piece in pieces)


def ungor(data: bytes) -> list[tuple[bytes, bytes, int]]:
    """Read the same: kind, message, time."""
    found = []
    for piece in data.split(SEPARATOR)[:-1]:
        head, _, payload = piece.partition(b"\n")
        kind, _id, at_ns, *_rest = head.split()
        found.append((kind, payload, int(at_ns)))
    return found


@pytest.fixture
def _somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory in which the files that rows and recipes name are there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").mkdir()
    for name in ("capture.pcap", "examples/shop.pcap", "shop.rec", "ca.pem"):
        (tmp_path / name).touch()
    for name in ("shop.gor", "logs-1.gor", "requests_0.gor"):
        (tmp_path / name).write_bytes(as_gor(asked(1, 1)))
    (tmp_path / "change.py").touch(0o755)
    (tmp_path / "steps.py").write_text(STEPS)


def accepted(text: str) -> Config:
    """Check a configuration as `pipeline check` does."""
    config = parse(text, "docs/from-goreplay.md")
    assert list(explain(config))[-1] == "The configuration is valid."
    return config


@pytest.mark.usefixtures("_somewhere")
@pytest.mark.parametrize("each", [each for each in ROWS if each.ways], ids=lambda each: each.gor.strip("`"))
def test_what_a_row_writes_is_accepted(each: Row):
    """What is copied from here works, in each of the ways that a row offers."""
    for tables in each.ways:
        accepted(written(tables))


@pytest.mark.usefixtures("_somewhere")
@pytest.mark.parametrize("text", re.findall(r"```toml\n(.+?)```", TEXT, re.DOTALL))
def test_the_recipes_are_accepted(text: str):
    """They are what people begin with."""
    accepted(text)


def commands() -> list[list[str]]:
    """Every command of ours in the document, as its words."""
    blocks = re.findall(r"```\n(.+?)```", TEXT, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()] + [span for each in ROWS for span in each.spans]
    found = [
        line[line.index("pipeline ") :].split()[1:] for line in lines if re.match(r"(timeout .+ )?pipeline ", line)
    ]
    return [list(each) for each in dict.fromkeys(map(tuple, found))]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_the_commands_are_ones_that_there_are(words: list[str]):
    """An option that was renamed would be a dead end."""
    group: Any = typer.main.get_command(cli.app)
    name, *rest = words
    context = group.commands[name].make_context(name, rest)
    assert not context.args


def test_the_commands_of_gor_have_flags_that_gor_has():
    """The left side is to be recognised."""
    blocks = re.findall(r"```\n(gor .+?)```", TEXT, re.DOTALL)
    assert len(blocks) > 3
    assert {flag for block in blocks for flag in re.findall(r" --([\w-]+)", block)} < FLAGS


# -- what rows do, against what GoReplay says that it does


def settings_of(gor: str, way: int = 0) -> dict[str, list[dict[str, Any]]]:
    """Return the tables that a row writes, as values, by their names."""
    found: dict[str, list[dict[str, Any]]] = {}
    for head, *keys in row(gor).ways[way]:
        found.setdefault(head.strip("[]"), []).append(tomllib.loads("\n".join(keys)))
    return found


def keys_of(gor: str, way: int = 0) -> dict[str, Any]:
    """Return the keys that a row writes into its first output, but for its type."""
    output, *_others = settings_of(gor, way)["output"]
    return {key: value for key, value in output.items() if key != "type"}


def lines(keys: Mapping[str, Any]) -> str:
    """Write keys of an output as TOML."""
    return "\n".join(f"{key} = {json.dumps(value)}" for key, value in keys.items())


def sample() -> list[Message]:
    """Requests that differ in all that flags of GoReplay look at."""
    heads = [
        "", "Host: shop.example\r\n", "Host: SHOP.example:8080\r\n", "host: other.example\r\n",
        "Accept: text/html, application/json\r\n", "Accept: text/html\r\n", "User-Agent: a Bot\r\n",
        "User-Agent: Firefox\r\n", f"Authorization: Basic {b64encode(b'alice:secret').decode()}\r\n",
        f"Authorization: Basic {b64encode(b'bob:alice:').decode()}\r\n", "Authorization: Bearer YWxpY2U6\r\n",
    ]  # fmt: skip
    paths = ["/", "/api/", "/api/a?b=/health", "/health", "/healthy?x", "/a", "/b?c", "/c?d=/a", "/x/api/"]
    methods = ["GET", "HEAD", "POST", "GETS", "get"]
    made = []
    for number, (method, path, head) in enumerate(product(methods, paths, heads)):
        payload = f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode()
        asked = request(number, target=path, method=method, payload=payload, head=len(payload))
        made.append(asked.replace(sport=32_768 + number * 57))
    return made


def value(message: Message, name: str) -> str:
    """Return a header as GoReplay finds it; empty if it is not there."""
    found = re.search(rf"(?mi)^{name}: ?([^\r\n]*)", message.payload.decode())
    return found[1] if found else ""


def user(message: Message) -> str:
    """Return user and password of Basic authentication."""
    word, _, coded = value(message, "Authorization").partition(" ")
    return b64decode(coded).decode() if word == "Basic" else ""


Lets = Callable[[Message], object]

LETS_THROUGH: Final[dict[str, Lets]] = {
    "--http-allow-url ^/api/": lambda m: re.search("^/api/", str(m.target)),
    "--http-allow-url ^/a --http-allow-url ^/b": lambda m: any(re.match(each, str(m.target)) for each in ("/a", "/b")),
    "--http-disallow-url ^/health": lambda m: not re.search("^/health", str(m.target)),
    "--http-allow-method GET --http-allow-method HEAD": lambda m: m.method in {"GET", "HEAD"},
    '--http-allow-header "Accept: json"': lambda m: re.search("json", value(m, "Accept")),
    r'--http-allow-header "Host: ^shop\.example$"': lambda m: value(m, "Host").lower().split(":")[0] == "shop.example",
    '--http-disallow-header "User-Agent: Bot"': lambda m: not re.search("Bot", value(m, "User-Agent")),
    "--http-basic-auth-filter ^alice:": lambda m: not user(m) or re.search("^alice:", user(m)),
}  # fmt: skip
"""What GoReplay sends on, by the flag: its documentation, word for word, but for the port and the case of a host."""


def written_by(directory: Path, messages: Sequence[Message], keys: Iterable[str]) -> list[list[object]]:
    """Run over a recording of messages, and return the ids of those that outputs with such keys have written."""
    record(directory / "shop.rec", messages)
    outputs = [f"{writing(f'{at}.jsonl')}\n{each}" for at, each in enumerate(keys)]
    config = configuration(directory / "filters.toml", recorded("shop.rec"), *outputs)
    done = pipeline(directory, "run", "--config", config, "--strict")
    assert done.returncode == 0, done.stderr
    files = [(directory / f"{at}.jsonl").read_bytes() for at in range(len(outputs))]
    return [[line["id"] for line in read_lines(file)] for file in files]


def test_filters_let_through_what_gor_does(tmp_path: Path):
    """Each beside the others; every one of them leaves something out."""
    messages = sample()
    found = written_by(tmp_path, messages, (lines({"where": keys_of(gor)["where"]}) for gor in LETS_THROUGH))
    for ids, (gor, lets) in zip(found, LETS_THROUGH.items(), strict=True):
        wanted = [as_line(message)["id"] for message in messages if lets(message)]
        assert 0 < len(wanted) < len(messages)
        assert ids == wanted, gor


@pytest.mark.parametrize("way", [0, 1])
def test_outputs_that_split_traffic_have_each_request_once(tmp_path: Path, way: int):
    """A request at both, or at none, would be no split."""
    messages = sample()
    outputs = settings_of("--split-output", way)["output"]
    one, other = written_by(tmp_path, messages, map(lines, outputs))
    assert sorted(one + other) == sorted(as_line(message)["id"] for message in messages)
    assert min(len(one), len(other)) > len(messages) / 3


def through(directory: Path, messages: Sequence[Message], keys: str) -> list[Message]:
    """Run over a recording of messages, with these keys in an output that writes another; return what is in that."""
    record(directory / "shop.rec", messages)
    output = f'type = "file"\npath = "out.rec"\nformat = "recording"\n{keys}'
    config = configuration(directory / "through.toml", recorded("shop.rec"), output)
    done = pipeline(directory, "run", "--config", config, "--strict")
    assert done.returncode == 0, done.stderr
    with Reader(str(directory / "out.rec")) as found:
        return [read_message(each) for each in found]


Request = tuple[str, list[tuple[str, str]], dict[bytes, bytes]]
"""Path, parameters and headers."""


def taken_apart(message: Message) -> Request:
    """Return what rules change of a request; where a header stands is of no interest."""
    path, _, query = str(message.target).partition("?")
    return path, parse_qsl(query, keep_blank_values=True), dict(fields(message.payload))


def replaced(pattern: str, template: str, text: str) -> str:
    """Replace as Go does, where groups are $1."""
    return re.sub(pattern, template.replace("$", "\\"), text)


def url(message: Message, pattern: str, template: str) -> Message:
    """Return a request whose target is rewritten."""
    return retargeted(message, replaced(pattern, template, str(message.target)))


def parameter(message: Message, name: str, text: str) -> Message:
    """Return a request in which a parameter is set: in its place, or at the end."""
    path = str(message.target)
    known = re.search(rf"(?<=[?&]){name}=[^&]*", path)
    if known:
        return retargeted(message, path[: known.start()] + f"{name}={text}" + path[known.end() :])
    return retargeted(message, f"{path}{'&' if '?' in path else '?'}{name}={text}")


def retargeted(message: Message, path: str) -> Message:
    """Return a request for something else."""
    payload = message.payload.replace(str(message.target).encode(), path.encode(), 1)
    return message.with_payload(payload, len(payload))


def header(message: Message, name: str, text: str) -> Message:
    """Return a request in which a header is set: in its place, or as one more."""
    line = f"{name}: {text}\r\n".encode()
    payload, known = re.subn(rb"(?mi)^%s:[^\n]*\n" % name.encode(), line, message.payload)
    payload = payload if known else message.payload[:-2] + line + b"\r\n"
    return message.with_payload(payload, len(payload))


def rewritten(message: Message, name: str, pattern: str, template: str) -> Message:
    """Return a request in which a header, if it is there, is rewritten."""
    text = value(message, name)
    return header(message, name, replaced(pattern, template, text)) if text else message


CHANGES: Final[dict[str, Callable[[Message], Message]]] = {
    "--http-rewrite-url /v1/user/([^/]+)/ping:/v2/user/$1/ping": lambda m: url(
        m, "/v1/user/([^/]+)/ping", "/v2/user/$1/ping"
    ),
    "--http-set-param api_key=1": lambda m: parameter(m, "api_key", "1"),
    '--http-set-header "X-Replay: 1"': lambda m: header(m, "X-Replay", "1"),
    '--http-rewrite-header "Referer: shop,staging"': lambda m: rewritten(m, "Referer", "shop", "staging"),
    "--output-http http://alice:secret@staging.internal": lambda m: header(
        m, "Authorization", f"Basic {b64encode(b'alice:secret').decode()}"
    ),
}
"""What GoReplay makes of a request, by the flag, as it documents it."""


@pytest.mark.parametrize("gor", CHANGES)
def test_rules_change_what_gor_does(tmp_path: Path, gor: str):
    """In all requests, whether there is something to change or not; the rest stays as it was."""
    made = []
    heads = ["", "X-Replay: 0\r\n", "x-replay:2\r\nReferer: http://shop/shop\r\n", "Authorization: Basic eDp5\r\n"]
    paths = ["/", "/v1/user/7/ping", "/v1/user/7/ping/v1/user/8/ping?a=/v1/", "/v1/user//ping", "/a?api_key=7&b=2",
               "/a?b&api_key=", "/a?my_api=1&b=c%20d"]  # fmt: skip
    for number, (path, head) in enumerate(product(paths, heads)):
        payload = f"GET {path} HTTP/1.1\r\nHost: shop\r\n{head}\r\n".encode()
        made.append(request(number, target=path, payload=payload, head=len(payload)))
    tables = "\n".join(line for table in row(gor).ways[0] for line in table)
    got = through(tmp_path, made, tables)
    wanted = [taken_apart(CHANGES[gor](each)) for each in made]
    assert [taken_apart(each) for each in got] == wanted
    assert wanted != [taken_apart(each) for each in made]


def test_a_target_is_asked_for_the_host_that_a_rule_makes(tmp_path: Path):
    """The recipe, whole: another host, and no token goes out."""
    recipe = next(block for block in re.findall(r"```toml\n(.+?)```", TEXT, re.DOTALL) if "output.mask" in block)
    payload = b"GET /a?token=7&b=2 HTTP/1.1\r\nhost: %s\r\nAuthorization: Basic eDp5\r\n\r\n"
    made = [
        request(number, target="/a?token=7&b=2", payload=payload % host, head=len(payload % host))
        for number, host in enumerate([b"eu.shop.example.com", b"example.org"])
    ]
    record(tmp_path / "shop.rec", made)
    with target() as server:
        _, keys = recipe.split("[[output]]\n")
        found = replay(tmp_path, recorded("shop.rec"), keys.replace("http://staging.internal:8080", server.url))
    assert found.count("delivered") == 2
    assert sorted(each.values(b"host") for each in server.arrivals) == [[b"eu.shop.beta.example.com"], [b"example.org"]]
    assert {(each.target, *each.values(b"authorization")) for each in server.arrivals} == {
        (b"/a?token=***&b=2", b"***")
    }


def test_a_network_of_vxlan_is_chosen_by_its_number(tmp_path: Path):
    """The expression is arithmetic on bytes: wrong ones are accepted, too."""
    frames = [
        (at_ns, framed(outer(UDP, vxlan(frame[14:], vni=41 + number % 3))))
        for number in range(6) for at_ns, frame in exchange(number)
    ]  # fmt: skip
    write_pcap(tmp_path / "tunnel.pcap", frames)
    (keys,) = settings_of("--input-raw-vxlan-vni 42")["input"]
    source = f'{reading("tunnel.pcap")}\ndecapsulate = {keys["decapsulate"]}\nfilter = "{keys["filter"]}"'
    config = configuration(tmp_path / "tunnel.toml", source, writing("out.jsonl"))
    done = pipeline(tmp_path, "run", "--config", config)
    assert done.returncode == 0, done.stderr
    lines = read_lines((tmp_path / "out.jsonl").read_bytes())
    assert {line["target"] for line in lines if line["kind"] == "request"} == {"/item/1", "/item/4"}


def test_a_target_gets_the_host_the_methods_and_the_path_that_rows_say(tmp_path: Path):
    """As GoReplay does, but for the path of an address; and every header in its place."""
    head = "{} /a?b=1 HTTP/1.1\r\nx-Last: 1\r\nHost: shop.example\r\nAccept: */*\r\n\r\n"
    payloads = [head.format(method).encode() for method in ("GET", "POST", "HEAD")]
    messages = [
        request(number, target="/a?b=1", method=payload.split()[0].decode(), payload=payload, head=len(payload))
        for number, payload in enumerate(payloads)
    ]
    messages.append(messages[0].replace(id=9, sport=50_000, complete=False, missing=1))
    record(tmp_path / "shop.rec", messages)
    with contextlib.ExitStack() as stack:
        plain, original, named, some, based = (stack.enter_context(target()) for _ in range(5))
        outputs = [
            sending(plain.url),
            sending(original.url, **keys_of("--http-original-host")),
            sending(named.url, **keys_of('--http-set-header "Host: shop.example"')),
            sending(some.url, **keys_of("--http-allow-method GET --http-allow-method HEAD", 1)),
            sending(based.url + "/base"),
        ]
        found = replay(tmp_path, recorded("shop.rec"), *outputs)
    assert all(found.count("failed_incomplete", at) == 1 for at in range(5))
    for server, host in ((plain, plain.authority), (original, b"shop.example"), (named, b"shop.example")):
        assert sorted(each.payload for each in server.arrivals) == sorted(readdressed(each, host) for each in payloads)
    assert sorted(each.method for each in some.arrivals) == [b"GET", b"HEAD"]
    assert {each.target for each in based.arrivals} == {b"/base/a?b=1"}


def test_200_percent_is_twice_the_captured_speed(tmp_path: Path):
    """Two seconds take one, give or take what a busy machine costs."""
    record(tmp_path / "shop.rec", asked(1, 6, step_ns=400_000_000))
    with target() as server:
        replay(tmp_path, recorded("shop.rec"), sending(server.url, **keys_of('--input-file "shop.gor|200%"')))
    times = [each.at_s for each in server.arrivals]
    assert 0.5 < times[-1] - times[0] < 1.7


def test_a_number_of_requests_per_second_is_that_and_nothing_is_dropped(tmp_path: Path):
    """GoReplay drops what is above; here it comes later."""
    record(tmp_path / "shop.rec", asked(4, 10, step_ns=0))
    with target() as server:
        found = replay(tmp_path, recorded("shop.rec"), sending(server.url, **keys_of('--input-file "shop.gor|100"')))
    times = [each.at_s for each in server.arrivals]
    assert (len(times), found.count("delivered")) == (40, 40)
    assert times[-1] - times[0] > 0.2  # of the 0.39 that 40 take


def test_other_outputs_get_the_answers(tmp_path: Path):
    """By the id of their request, as GoReplay's third kind of payload."""
    record(tmp_path / "shop.rec", asked(2, 3))
    with target() as server:
        output = sending(server.url, **keys_of("--output-http-track-response"))
        replay(tmp_path, recorded("shop.rec"), output, writing("out.jsonl"))
    lines = read_lines((tmp_path / "out.jsonl").read_bytes())
    ids = {kind: sorted(line["id"] for line in lines if line["kind"] == kind) for kind in ("request", "replayed")}
    assert ids["request"] == ids["replayed"]
    assert len(set(ids["replayed"])) == 6


def test_a_run_that_timeout_ends_is_in_order(tmp_path: Path):
    """Its sums close, and its exit code says so."""
    (words,) = [each for each in row("--exit-after 30s").spans if each.startswith("timeout ")]
    head = words[: words.index(" pipeline ")].replace(" 30", " 2").split()
    config = configuration(tmp_path / "mirror.toml", 'type = "tcp"\nlisten = "127.0.0.1:0"', 'type = "null"')
    done = subprocess.run(
        [*head, COMMAND, "run", "--config", config, "--strict"], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, "the ledger closes" in done.stderr) == (0, True), done.stderr


@pytest.mark.parametrize(
    ("gor", "field"),
    [
        ('--http-header-limiter "X-API-Key: 10%"', "X-API-Key: {}"),
        ('--http-param-limiter "api_key: 10%"', "Accept: */*"),
        ('--output-http "http://staging|10%"', "Accept: */*"),
    ],
)
def test_a_tenth_of_the_values_is_taken_and_all_of_their_requests(tmp_path: Path, gor: str, field: str):
    """Consistent, as GoReplay's limiters are; where nothing is named, of the requests."""
    keys = range(500)
    made = []
    for number, key in enumerate([*keys, *keys]):
        payload = f"GET /?api_key={key} HTTP/1.1\r\n{field.format(key)}\r\n\r\n".encode()
        made.append(request(number, target=f"/?api_key={key}", payload=payload, head=len(payload)))
    got = [str(each.target) for each in through(tmp_path, made, lines(keys_of(gor)))]
    assert 0.05 < len(got) / len(made) < 0.17
    if gor.startswith("--http-"):
        assert all(got.count(each) == 2 for each in got)


def test_what_is_above_a_limit_is_dropped_or_waits(tmp_path: Path):
    """Of a burst, GoReplay sends a second's worth at most; waiting, nothing is lost."""
    made = asked(4, 10, step_ns=0)
    gor = '--output-http "http://staging|10"'
    assert len(through(tmp_path, made, lines(keys_of(gor)))) in range(10, 20)
    later = keys_of(gor, 1) | {"limit": 100}
    (tmp_path / "later").mkdir()
    assert len(through(tmp_path / "later", made, lines(later))) == 40


MIDDLEWARE: Final = """#!/usr/bin/env python3
import sys
from binascii import hexlify, unhexlify

for line in sys.stdin.buffer:
    head, _, payload = unhexlify(line.strip()).partition(b"\\n")
    kind, *_rest = head.split()
    if kind == b"1" and b"/3" in payload:
        continue
    if kind == b"1":
        payload = payload.replace(b" /0/", b" /changed/", 1)
    sys.stdout.buffer.write(hexlify(head + b"\\n" + payload) + b"\\n")
    sys.stdout.buffer.flush()
"""
"""Written after GoReplay's documentation of the protocol."""


def test_a_middleware_for_gor_runs_as_it_is(tmp_path: Path):
    """It changes what it changes, and what it keeps for itself is not sent."""
    (tmp_path / "change.py").write_text(MIDDLEWARE)
    (tmp_path / "change.py").chmod(0o755)
    made = asked(2, 4)
    record(tmp_path / "shop.rec", made)
    with target() as server:
        output = sending(server.url, **keys_of("--middleware ./change.py"))
        found = replay(tmp_path, recorded("shop.rec"), output)
    wanted = [str(each.target).replace("/0/", "/changed/") for each in made if "/3" not in str(each.target)]
    assert sorted(targets(server.arrivals)) == sorted(wanted)
    assert (found.count("delivered"), found.count("removed")) == (6, 2)


def test_the_recipe_in_python_does_what_the_flags_of_gor_do(tmp_path: Path):
    """Requests of other users are left out, those of none are not; the client's address is there."""
    (tmp_path / "steps.py").write_text(STEPS)
    users = {b"customer1:x": True, b"customers:x": False, b"bob:customer1": False, b"": True}
    made = []
    for number, user in enumerate(users):
        field = b"authorization: Basic %s\r\n" % b64encode(user) if user else b""
        payload = b"GET /%d HTTP/1.1\r\n%s\r\n" % (number, field)
        made.append(request(number, target=f"/{number}", payload=payload, head=len(payload)))
    got = through(tmp_path, made, 'python = "steps:customers"')
    assert [each.id for each in got] == [each.id for each, kept in zip(made, users.values(), strict=True) if kept]
    assert {value(each, "X-Real-IP") for each in got} == {str(made[0].src)}
    assert all(each.head == len(each.payload) for each in got)


def source_of(gor: str, way: int = 0) -> str:
    """Return the input table that a row writes, as TOML."""
    (source,) = settings_of(gor, way)["input"]
    return lines(source)


def read_again(directory: Path, source: str) -> list[Message]:
    """Run over a file, and return what is in a recording of it."""
    config = configuration(directory / "again.toml", source, 'type = "file"\npath = "out.rec"\nformat = "recording"')
    done = pipeline(directory, "run", "--config", config, "--strict")
    assert done.returncode == 0, done.stderr
    with Reader(str(directory / "out.rec")) as found:
        return [read_message(each) for each in found]


@pytest.mark.parametrize("packed", [bytes, gzip.compress])
def test_a_file_of_gor_is_read(tmp_path: Path, packed: Callable[[bytes], bytes]):
    """By what is in it, plain and packed: bytes and times as they are there."""
    made = asked(3, 5)
    (tmp_path / "shop.gor").write_bytes(packed(as_gor(made)))
    got = read_again(tmp_path, source_of("--input-file shop.gor"))
    assert [(each.payload, each.first_ns) for each in got] == [(each.payload, each.first_ns) for each in made]


def test_a_file_for_gor_is_one(tmp_path: Path):
    """Who still runs it somewhere can read what comes from here."""
    (output,) = settings_of("--output-file requests.gor", 2)["output"]
    made = asked(3, 5)
    record(tmp_path / "shop.rec", made)
    config = configuration(tmp_path / "out.toml", recorded("shop.rec"), lines(output))
    done = pipeline(tmp_path, "run", "--config", config, "--strict")
    assert done.returncode == 0, done.stderr
    wanted = [(b"1", each.payload, each.first_ns) for each in made]
    assert ungor((tmp_path / output["path"]).read_bytes()) == wanted


def test_files_are_read_again_and_again(tmp_path: Path):
    """As often as it says, one round behind the other."""
    made = asked(1, 4)
    (tmp_path / "shop.gor").write_bytes(as_gor(made))
    got = read_again(tmp_path, source_of("--input-file-loop", 1))
    assert [each.target for each in got] == [each.target for each in made] * 10
    assert sorted(each.first_ns for each in got) == [each.first_ns for each in got]


def test_a_long_silence_is_shortened(tmp_path: Path):
    """A night takes ten seconds; short ones stay as they are."""
    second_ns = 1_000_000_000
    times = [0, 3 * second_ns, 3600 * second_ns, 3605 * second_ns]
    made = [
        each.replace(first_ns=START_NS + at, last_ns=START_NS + at) for each, at in zip(asked(1, 4), times, strict=True)
    ]
    (tmp_path / "shop.gor").write_bytes(as_gor(made))
    got = read_again(tmp_path, source_of("--input-file-max-wait 10s"))
    assert [each.first_ns - got[0].first_ns for each in got] == [at * second_ns for at in (0, 3, 13, 18)]


@pytest.mark.parametrize("gor", ["--output-file %Y-%m-%d-%H.gor", "--output-file-size-limit 32mb"])
def test_a_next_file_begins_where_rows_say(tmp_path: Path, gor: str):
    """By the hour of the messages, or by size; each message is in one of them."""
    made = asked(1, 20, step_ns=1800 * 1_000_000_000)
    record(tmp_path / "in.rec", made)
    (output,) = settings_of(gor)["output"]
    if "rotate_size" in output:
        output |= {"rotate_size": 1024}
    config = configuration(tmp_path / "out.toml", recorded("in.rec"), lines(output))
    done = pipeline(tmp_path, "run", "--config", config, "--strict")
    assert done.returncode == 0, done.stderr
    files = sorted(path.name for path in tmp_path.glob("*.rec") if path.name != "in.rec")
    assert len(files) > 2
    if "%H" in gor:
        hours = {time.strftime(output["path"], time.gmtime(each.first_ns // 1_000_000_000)) for each in made}
        assert set(files) == hours
    found = []
    for name in files:
        with Reader(str(tmp_path / name)) as reader:
            found += [read_message(each).id for each in reader]
    assert sorted(found) == sorted(each.id for each in made)
