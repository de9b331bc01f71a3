"""From one machine to another: `run` sends over TCP, `receive` takes, and both ledgers close."""

import json
import os
import re
import signal
import threading
from pathlib import Path

import pytest

from tests.integration.jobs import (
    START_NS,
    change,
    configuration,
    errors,
    exchanges,
    finished,
    messages,
    pipeline,
    reading,
    start,
    wait_until,
    writing,
)
from tests.integration.test_run import feed
from tests.packets import ACK, FIN, SYN, Tcp, frame
from tests.packets_files import write_pcap


class Receiver:
    """A `pipeline receive` that writes a file, or sends to a URL, on a port of its own."""

    def __init__(
        self, directory: Path, listen: str = "127.0.0.1:0", name: str = "received.jsonl", to: str | None = None,
        more: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        self.path = directory / name
        self.said: list[str] = []
        ledger = ("--ledger", "receiver.json")
        self.job = start(directory, "receive", "--listen", listen, "--to", to or name, *ledger, *more)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        wait_until(lambda: self.address or self.job.poll() is not None, "the receiver listens")

    def _read(self) -> None:
        assert self.job.stderr is not None
        for line in self.job.stderr:
            self.said.append(line.decode())

    @property
    def address(self) -> str:
        """Where it listens, as it says itself."""
        found = re.search(r"listening on (\S+)", "".join(self.said))
        return found.group(1) if found else ""

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it and return its exit code."""
        self.job.send_signal(number)
        code = self.job.wait(timeout=30)
        self.reader.join(timeout=5)
        self.job.communicate()
        return code

    def end(self) -> None:
        """Kill it if it is still there."""
        if self.job.poll() is None:
            self.stop(signal.SIGKILL)


@pytest.fixture
def receiver(tmp_path):
    """A receiver that is there."""
    (tmp_path / "far").mkdir()
    far = Receiver(tmp_path / "far")
    assert far.address, far.said
    yield far
    far.end()


def sending(address: str) -> str:
    """The output table that sends."""
    return f'type = "tcp"\naddress = "{address}"'


def lines(path: Path) -> list[str]:
    """All lines in an order that does not depend on which came first."""
    return sorted(path.read_text().splitlines())


@pytest.mark.parametrize("workers", [1, 2])
def test_what_arrives_is_what_was_captured(tmp_path, receiver, workers):
    """Byte for byte the same lines, whether they went over TCP or straight into a file."""
    write_pcap(tmp_path / "shop.pcap", exchanges(300))
    config = configuration(
        tmp_path / "m.toml", reading("shop.pcap"), writing("direct.jsonl"), sending(receiver.address)
    )
    done = pipeline(tmp_path, "run", "--config", config, "--strict", "--set", f"workers.count={workers}")
    assert (done.returncode, errors(done)) == (0, [])
    assert receiver.stop() == 0
    assert len(lines(receiver.path)) == 600
    assert lines(receiver.path) == lines(tmp_path / "direct.jsonl")
    ledger = json.loads((receiver.path.parent / "receiver.json").read_text())
    assert (ledger["closed"], ledger["loss"], ledger["errors"]) == (True, {}, [])
    assert ledger["counters"]["receiver"]["messages"] == 600


def test_large_messages_arrive_whole(tmp_path, receiver):
    """A body of several parts is one message on the other side, and both ledgers count it once."""
    body = os.urandom(3_000_000)
    frames = big_exchange(body)
    write_pcap(tmp_path / "big.pcap", frames)
    config = configuration(tmp_path / "m.toml", reading("big.pcap"), writing("direct.jsonl"), sending(receiver.address))
    done = pipeline(tmp_path, "run", "--config", config, "--strict")
    assert (done.returncode, errors(done)) == (0, [])
    assert receiver.stop() == 0, receiver.said
    assert lines(receiver.path) == lines(tmp_path / "direct.jsonl")
    assert max(map(len, lines(receiver.path))) > 4_000_000


def big_exchange(body: bytes) -> list[tuple[int, bytes]]:
    """One exchange with a large response, in segments of 30,000 bytes."""
    up = Tcp(sport=5000, dport=80)
    request = b"GET /big HTTP/1.1\r\nHost: shop\r\n\r\n"
    response = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    segments = [
        change(up, seq=0, flags=SYN),
        up.back(seq=0, ack=1, flags=SYN | ACK),
        change(up, seq=1, ack=1, flags=ACK, data=request),
    ]
    for at in range(0, len(response), 30_000):
        segments.append(up.back(seq=1 + at, ack=1 + len(request), flags=ACK, data=response[at : at + 30_000]))
    segments.append(up.back(seq=1 + len(response), ack=1 + len(request), flags=ACK | FIN))
    return [(START_NS + at * 1000, frame(segment)) for at, segment in enumerate(segments)]


def test_a_configuration_can_be_the_far_side(tmp_path):
    """The same as `pipeline receive`, with everything that a configuration can say."""
    write_pcap(tmp_path / "shop.pcap", exchanges(20))
    far = configuration(tmp_path / "far.toml", 'type = "tcp"\nlisten = "127.0.0.1:0"', writing("received.jsonl"))
    job = start(tmp_path, "run", "--config", far)
    assert job.stderr is not None
    said = b""
    while b"listening on" not in said:
        said = job.stderr.readline()
        assert said, "the receiver ended"
    address = said.decode().split()[-1]
    near = configuration(tmp_path / "near.toml", reading("shop.pcap"), sending(address))
    assert pipeline(tmp_path, "run", "--config", near).returncode == 0
    job.send_signal(signal.SIGINT)
    assert finished(job).returncode == 0
    assert len(messages(tmp_path / "received.jsonl")) == 40


def test_a_receiver_that_is_killed_and_restarted_gets_everything(tmp_path, receiver):
    """At least once: what was not acknowledged comes again, on a new connection, to the new receiver."""
    config = configuration(tmp_path / "m.toml", reading("-"), writing("direct.jsonl"), sending(receiver.address))
    read_fd, write_fd = os.pipe()
    job = start(tmp_path, "run", "--config", config, "--ledger", "ledger.json", stdin=read_fd)
    os.close(read_fd)
    feeder = threading.Thread(target=feed, args=(write_fd,), daemon=True)
    feeder.start()
    wait_until(lambda: len(messages(receiver.path)) > 100, "messages at the receiver")
    receiver.stop(signal.SIGKILL)
    second = Receiver(receiver.path.parent, receiver.address, "second.jsonl")
    wait_until(lambda: len(messages(second.path)) > 100, "messages at the second receiver")
    job.send_signal(signal.SIGINT)
    done = finished(job)
    feeder.join(timeout=5)
    assert (done.returncode, errors(done)) == (0, [])
    assert second.stop() == 0
    arrived = _keys(messages(receiver.path)) | _keys(messages(second.path))
    assert arrived == _keys(messages(tmp_path / "direct.jsonl"))
    assert json.loads((tmp_path / "ledger.json").read_text())["closed"]


def _keys(found: list[dict[str, object]]) -> set[tuple[object, object]]:
    return {(each["id"], each["kind"]) for each in found}


def test_the_receiver_may_write_to_standard_output(tmp_path):
    """`pipeline receive --to - | jq`; the ledger and the log stay out of it."""
    write_pcap(tmp_path / "shop.pcap", exchanges(5))
    far = start(tmp_path, "receive", "--listen", "127.0.0.1:0", "--to", "-", "--to", "null")
    assert far.stderr is not None
    said = b""
    while b"listening on" not in said:
        said = far.stderr.readline()
        assert said, "the receiver ended"
    near = configuration(tmp_path / "near.toml", reading("shop.pcap"), sending(said.decode().split()[-1]))
    assert pipeline(tmp_path, "run", "--config", near).returncode == 0
    far.send_signal(signal.SIGTERM)
    done = finished(far)
    assert done.returncode == 0
    assert len([json.loads(line) for line in done.stdout.splitlines()]) == 10
