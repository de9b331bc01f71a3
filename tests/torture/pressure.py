"""Back-pressure from end to end: a far output that nobody reads for a while, and what each policy makes of it.

Frames without end go into a pipeline with two outputs, a file and a receiver; the receiver writes to its standard
output, which is read, and for a while is not.
"""

import json
import os
import random
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.integration.jobs import configuration, messages, processes_under, reading, start, wait_until, writing
from tests.integration.test_run import feed
from tests.torture.scenes import size

POLICIES: Final = {
    "block": 'policy = "block"',
    "drop": 'policy = "drop"',
    "spool": 'policy = "block"\nspool = { path = "spool", size = "1GiB" }',
}
NEAR: Final = ("--ledger", "ledger.json", "--set", "ring.messages=1MiB", "--set", "ring.frames=2MiB")
FAR: Final = ("--ledger", "ledger.json", "--set", "ring.messages=64KiB")
WINDOW: Final = 'window_chunks = 64\nchunk_bytes = "16KiB"\nchunk_records = 100\nack_timeout = "3s"'
STANDS_S: Final = 0.7
"""What has not moved for so long stands still."""
MOST_RSS_BYTES: Final = 150 << 20
"""Of any process, whatever waits: an interpreter, rings, and what a window or a connection may hold."""


class Reader:
    """Reads a job's standard output, and its standard error, until they end; the former not while it is paused."""

    def __init__(self, job: "subprocess.Popen[bytes]") -> None:
        self.job = job
        self.goes = threading.Event()
        self.goes.set()
        self.taken = bytearray()
        self.said: list[str] = []
        self.threads = [threading.Thread(target=each, daemon=True) for each in (self._read, self._hear)]
        for each in self.threads:
            each.start()

    def _read(self) -> None:
        assert self.job.stdout is not None
        while self.goes.wait() and (data := os.read(self.job.stdout.fileno(), 1 << 16)):
            self.taken += data

    def _hear(self) -> None:
        assert self.job.stderr is not None
        for line in self.job.stderr:
            self.said.append(line.decode())

    def end(self, number: int = signal.SIGTERM) -> int:
        """Let the job end, and return its exit code."""
        self.goes.set()
        if self.job.poll() is None:
            self.job.send_signal(number)
        try:
            return self.job.wait(60)
        finally:
            if self.job.poll() is None:
                os.killpg(self.job.pid, signal.SIGKILL)
                self.job.wait()
            for each in self.threads:
                each.join(5)
            for pipe in (self.job.stdout, self.job.stderr):
                assert pipe is not None
                pipe.close()


@dataclass(frozen=True)
class Pressed:
    """What became of a run."""

    messages: int
    delivered: int
    dropped: int
    spooled: int
    waited_s: float  # the longest that the output beside wrote nothing while the far one was not read
    unread_bytes: int  # most that lay before the receiver
    rss_bytes: int  # most of any process of both sides


def unread(port: int) -> int:
    """How many bytes lie in the sockets of a port that its process has not read (/proc/net/tcp)."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(int(row[4].partition(":")[2], 16) for row in rows if row[1].endswith(f":{port:04X}") and row[3] == "01")


def longest_stand(value: Callable[[], int], for_s: float) -> float:
    """Watch something that grows for a time; return for how long at most it did not."""
    began_s = moved_s = time.monotonic()
    longest_s, last = 0.0, value()
    nothing = threading.Event()
    while (now_s := time.monotonic()) < began_s + for_s:
        if (new := value()) != last:
            last, moved_s = new, now_s
        longest_s = max(longest_s, now_s - moved_s)
        nothing.wait(0.005)
    return longest_s


def arrives(far: Reader, near: Reader) -> None:
    """Wait until more has come through."""
    goal = len(far.taken) + 200_000
    wait_until(lambda: len(far.taken) > goal or near.job.poll() is not None, "more arrives")
    assert near.job.poll() is None, "".join(near.said)


def most_rss(*jobs: "subprocess.Popen[bytes]") -> int:
    """The most memory that any process of some jobs ever had."""
    found = [0]
    for pid in (each for job in jobs for each in processes_under(job.pid)):
        status = Path(f"/proc/{pid}/status").read_text()
        found += [int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM")]
    return max(found)


def torture(directory: Path, policy: str, pauses_s: list[float]) -> Pressed:
    """Run two pipelines, do not read the far one's output for these times, and hold both accounts against all."""
    (directory / "far").mkdir()
    listening = configuration(directory / "far" / "m.toml", 'type = "tcp"\nlisten = "127.0.0.1:0"', 'type = "stdout"')
    far = Reader(start(directory / "far", "run", "--config", listening, *FAR))
    near: Reader | None = None
    read_fd, write_fd = os.pipe()
    feeder = threading.Thread(target=feed, args=(write_fd,), daemon=True)
    try:
        wait_until(lambda: any("listening on" in line for line in far.said), "the receiver listens")
        port = int(next(line for line in far.said if "listening on" in line).rpartition(":")[2])
        tcp = f'type = "tcp"\naddress = "127.0.0.1:{port}"\n{WINDOW}\n{POLICIES[policy]}'
        config = configuration(directory / "m.toml", reading("-"), tcp, writing("beside.jsonl"))
        near = Reader(start(directory, "run", "--config", config, *NEAR, stdin=read_fd))
        feeder.start()
        beside = directory / "beside.jsonl"
        waited_s, lay_bytes = 0.0, 0

        def watched() -> int:
            nonlocal lay_bytes
            lay_bytes = max(lay_bytes, unread(port))
            return size(beside)

        for pause_s in pauses_s:
            arrives(far, near)
            far.goes.clear()
            wait_until(lambda: longest_stand(lambda: unread(port), STANDS_S) >= STANDS_S * 0.9, "nobody reads")
            if policy == "block":
                wait_until(lambda: longest_stand(lambda: size(beside), STANDS_S) >= STANDS_S * 0.9, "all stands")
            waited_s = max(waited_s, longest_stand(watched, pause_s))
            far.goes.set()
        arrives(far, near)
        rss_bytes = most_rss(far.job, near.job)
        near_code = near.end()
        far_code = far.end()
    finally:
        os.close(read_fd)
        for each in (far, *([near] if near is not None else [])):
            if each.job.poll() is None:
                each.end(signal.SIGKILL)
        feeder.join(5)
    assert (near_code, far_code) == (0, 0), "".join(near.said + far.said)
    near_ledger, far_ledger = (json.loads((at / "ledger.json").read_text()) for at in (directory, directory / "far"))
    assert (near_ledger["closed"], far_ledger["closed"]) == (True, True), "".join(near.said + far.said)
    found = [json.loads(line) for line in far.taken.decode().splitlines()]
    return account(policy, near_ledger, found, messages(beside), (waited_s, lay_bytes, rss_bytes))


def account(
    policy: str, ledger: dict[str, Any], found: list[dict[str, Any]], beside: list[dict[str, Any]],
    seen: tuple[float, int, int],
) -> Pressed:  # fmt: skip
    """Hold what has arrived at both ends against the ledger."""
    counts = ledger["counters"]["workers"][0]
    total = ledger["counters"]["assemble"]["messages"]
    there, wanted = (Counter((each["id"], each["kind"], each["payload"]) for each in many) for many in (found, beside))
    assert max(there.values()) == 1, there.most_common(3)
    assert len(wanted) == len(beside) == counts["output1_delivered"] == total, "the output beside has everything"
    assert there.keys() <= wanted.keys()
    dropped = counts["output0_dropped"]
    delivered = counts["output0_delivered"] + counts["output0_drained"]
    assert len(there) == delivered == total - dropped
    assert (dropped > 0) == (policy == "drop")
    assert (counts["output0_spooled"] > 0) == (policy == "spool")
    stalls = ledger["rings"]["message ring 0"]["stalls"]
    assert stalls > 0 or policy != "block", ledger["rings"]
    result = Pressed(total, delivered, dropped, counts["output0_spooled"], *seen)
    assert result.rss_bytes < MOST_RSS_BYTES, result
    return result


def main(minutes: float) -> Iterator[str]:
    """Press for so long, with each policy in turn; yields what each run has shown."""
    end_s, seed = time.monotonic() + 60 * minutes, int(time.time())
    while time.monotonic() < end_s:
        dice = random.Random(seed)
        policy = dice.choice(sorted(POLICIES))
        with tempfile.TemporaryDirectory() as directory:
            found = torture(Path(directory), policy, [dice.random() * 8 for _ in range(4)])
        there = f"{found.delivered:,} of {found.messages:,} messages delivered once"
        rest = f"{found.dropped:,} dropped, {found.spooled:,} by way of the disk"
        beside = f"beside nothing for {found.waited_s:.2f} s at most"
        memory = f"{found.unread_bytes:,} bytes unread, {found.rss_bytes / 2**20:.0f} MiB at most"
        yield f"seed {seed}: {policy}: {there}, {rest}; {beside}; {memory}"
        seed += 1
