"""Other implementations at the other end, running: @fluent-org/logger under Node.js, and Python's fluent-logger."""

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

import pytest

from assemble.message import Message
from capture.ring import Ring
from emit.records import Access, Login, OutputSpec
from tests.emit.builders import as_record, conversation, drain, on_the_wire, replayed, request, response, ring_of
from tests.emit.processes import Processes, wait_until
from tests.emit.test_chunks import FORMS
from tests.integration.forward import KEY, PASSWORD, USER

ROOT: Final = Path(__file__).parents[2]
SCRIPTS: Final = Path(__file__).parent / "node"
INSTALLED: Final = ROOT / "build" / "node" / "node_modules"
MODES: Final = ("Message", "Forward", "PackedForward", "CompressedPackedForward")

needs_node = pytest.mark.skipif(
    shutil.which("node") is None or not (INSTALLED / "@fluent-org" / "logger").is_dir(),
    reason="Node.js, or what tests/integration/node/package.json names, could not be installed (scripts/setup)",
)


@contextmanager
def node(script: str, **wanted: Any) -> Iterator["subprocess.Popen[str]"]:
    """Start a script, and kill it if it is still there at the end."""
    job = subprocess.Popen(
        ["node", SCRIPTS / script, json.dumps(wanted)], env=os.environ | {"NODE_PATH": str(INSTALLED)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield job
    finally:
        job.kill()
        job.communicate()


def plain(value: Any) -> Any:
    """Write bytes as the scripts do."""
    return {"bin": value.hex()} if isinstance(value, bytes) else value


def event(message: Message) -> dict[str, Any]:
    """Return a message as an entry, as it travels to and from the scripts."""
    seconds, nanos = divmod(message.first_ns, 10**9)
    record = {name: plain(value) for name, value in as_record(message).items()}
    return {"label": message.kind, "time": [seconds, nanos], "record": record}


def odd_messages() -> list[Message]:
    """Messages with what an implementation may get wrong: bytes, long numbers, texts, IPv6, parts of seconds."""
    made = [
        request(1, bytes(range(256)), target="/a?b=%20&c=\xe9"), response(1, bytes(range(256)) * 40),
        request(2**64 - 1, b"", method="M-SEARCH"), response(2**64 - 1, b"\r\n\0", status=404, complete=False),
        request(3).replace(missing=2**40 + 1, complete=False), replayed(3, b"x" * 70_000),
        request(5).replace(src=ip_address("2001:db8::1"), dst=ip_address("2001:db8::ff00:0:2")),
        request(4).replace(first_ns=1_700_000_000_000_000_001, last_ns=1_700_000_000_000_000_001 + 5 * 10**12),
    ]  # fmt: skip
    return [on_the_wire(message) for message in [*made, *conversation(50)]]


def sorted_by_kind(made: list[Message]) -> dict[str, list[Message]]:
    """Part messages by kind: that is how they share chunks, and within a kind order holds."""
    return {kind: [each for each in made if each.kind == kind] for kind in ("request", "response", "replayed")}


@needs_node
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("ack", [False, True], ids=["plain", "ack"])
@pytest.mark.parametrize("login", ["open", "key", "user"])
def test_what_a_node_client_sends_arrives_as_it_was(mode: str, ack: bool, login: str, processes: Processes):
    """All modes, with and without acknowledgements and handshake: the same messages, to the byte and the nanosecond."""
    made = odd_messages()
    ring = Ring.create(4 << 20)
    access = {"open": None, "key": Access(KEY), "user": Access(KEY, ((USER, PASSWORD),))}[login]
    receiver, port = processes.receiver(ring, access=access)
    sink = processes.worker(ring, OutputSpec("null", 0))
    wanted: dict[str, Any] = {"port": port, "mode": mode, "ack": ack}
    if login != "open":
        wanted["key"] = KEY.decode()
    if login == "user":
        wanted |= {"user": USER.decode(), "password": PASSWORD.decode()}
    with node("client.js", **wanted) as client:
        out, err = client.communicate("\n".join(json.dumps(event(message)) for message in made), timeout=60)
        assert (client.returncode, err) == (0, "")
    assert json.loads(out) == {"sent": len(made)}
    wait_until(lambda: receiver.counters["records"] == len(made), "all records")
    assert receiver.stop() == 0
    assert sink.end() == 0
    assert receiver.counters["connections_failed"] == receiver.counters["records_refused"] == 0
    assert sink.counters["messages_taken"] == len(made)
    assert sorted_by_kind(drain(ring)) == sorted_by_kind(made)


@needs_node
def test_a_node_client_with_another_key_is_told_so(processes: Processes):
    """It says why, as its own server would have it say, and nothing of it is taken."""
    receiver, port = processes.receiver(Ring.create(1 << 20), access=Access(b"another"))
    with node("client.js", port=port, mode="Message", ack=True, key=KEY.decode()) as client:
        out, err = client.communicate(json.dumps(event(request(1))), timeout=60)
        assert client.returncode == 1
    assert out == ""
    assert "shared key mismatch" in err
    assert receiver.stop() == 0
    assert receiver.counters["handshakes_failed"] == receiver.counters["connections_failed"] == 1
    assert receiver.counters["records"] == 0


class NodeServer:
    """A server under Node.js, and the entries that it was sent."""

    def __init__(self, job: "subprocess.Popen[str]") -> None:
        self.job = job
        self.lines: list[dict[str, Any]] = []
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        wait_until(lambda: self.lines or job.poll() is not None, "the server listens")
        self.port = self.lines.pop(0)["port"]

    def read(self) -> None:
        """Take its lines as they come."""
        assert self.job.stdout is not None
        for line in self.job.stdout:
            self.lines.append(json.loads(line))


@needs_node
@pytest.mark.parametrize("compression", ["none", "gzip"])
@pytest.mark.parametrize("login", ["open", "key", "user"])
def test_what_we_send_to_a_node_server_arrives_as_it_was(compression: Any, login: str, processes: Processes):
    """PackedForward and its compressed form, acknowledged: the same record, id, bytes and time included."""
    made = odd_messages()
    wanted = {} if login == "open" else {"key": KEY.decode()}
    users = {"users": {USER.decode(): PASSWORD.decode()}} if login == "user" else {}
    known = {"open": None, "key": Login(KEY), "user": Login(KEY, USER, PASSWORD)}[login]
    with node("server.js", **wanted, **users) as job:
        server = NodeServer(job)
        output = OutputSpec("tcp", 0, address=f"127.0.0.1:{server.port}", compression=compression, login=known)
        sender = processes.worker(ring_of(made), output)
        assert sender.end() == 0
        wait_until(lambda: len(server.lines) >= len(made), "all entries")
    assert sender.counters["output0_delivered"] == len(made)
    assert sender.counters["output0_reconnects"] == sender.counters["output0_resent"] == 0
    found = [{"label": line.pop("tag").removeprefix("ringtap."), **line} for line in server.lines]
    for kind, messages in sorted_by_kind(made).items():
        entries = [line for line in found if line["label"] == kind]
        assert entries == [event(message) for message in messages]


@needs_node
@pytest.mark.parametrize("payload", ["base64", "text"])
def test_payloads_that_are_a_str_are_one_to_a_node_server(payload: Any, processes: Processes):
    """Which prints them as JSON: the same characters, whatever the bytes were."""
    made = odd_messages()
    with node("server.js") as job:
        server = NodeServer(job)
        output = OutputSpec("tcp", 0, address=f"127.0.0.1:{server.port}", payload=payload)
        sender = processes.worker(ring_of(made), output)
        assert sender.end() == 0
        wait_until(lambda: len(server.lines) >= len(made), "all entries")
    found = sorted((line["record"]["kind"], line["record"]["id"], line["record"]["payload"]) for line in server.lines)
    assert found == sorted((each.kind, each.id_hex, FORMS[payload](each.payload)) for each in made)


@needs_node
def test_a_node_server_with_another_key_gets_nothing(processes: Processes):
    """It closes in the handshake; what is to be done about it is in the log."""
    with node("server.js", key="another") as job:
        server = NodeServer(job)
        login = Login(KEY)
        output = OutputSpec("tcp", 0, address=f"127.0.0.1:{server.port}", login=login, retry_s=1.0)
        sender = processes.worker(ring_of(conversation(4)), output)
        assert sender.end() == 1
        assert server.lines == []
    assert sender.counters["output0_undelivered"] == 4
    [failed] = sender.events("failed")
    assert "the receiver refuses us: shared key mismatch" in failed["text"]


@pytest.mark.parametrize("nanoseconds", [False, True])
def test_what_fluent_logger_sends_arrives_as_it_was(nanoseconds: bool, processes: Processes):
    """Message mode without acknowledgements: it sends and closes."""
    sender_of = pytest.importorskip("fluent.sender", reason="fluent-logger is not installed")
    made = odd_messages()
    ring = Ring.create(4 << 20)
    receiver, port = processes.receiver(ring)
    sink = processes.worker(ring, OutputSpec("null", 0))
    logger = sender_of.FluentSender("ringtap", host="127.0.0.1", port=port, nanosecond_precision=nanoseconds)
    for message in made:
        seconds, nanos = divmod(message.first_ns, 10**9)
        time = sender_of.EventTime(seconds, nanos) if nanoseconds else seconds
        assert logger.emit_with_time(message.kind, time, as_record(message)), logger.last_error
    logger.close()
    wait_until(lambda: receiver.counters["records"] == len(made), "all records")
    assert receiver.stop() == 0
    assert sink.end() == 0
    assert receiver.counters["connections_failed"] == receiver.counters["records_refused"] == 0
    if not nanoseconds:
        made = [_in_seconds(message) for message in made]
    assert drain(ring) == made


def _in_seconds(message: Message) -> Message:
    """Return what is left of a message's times if they begin at a whole second."""
    lost_ns = message.first_ns % 10**9
    return message.replace(first_ns=message.first_ns - lost_ns, last_ns=message.last_ns - lost_ns)
