"""Kills at random, over the processes of two pipelines: what reached a ring arrives once, and the ledgers close.

SIGKILL, or SIGSTOP and SIGCONT, to the assembler, the sender's and the far side's workers, and the receiver, while
frames come without end; each time more has to arrive before the next.
"""

import contextlib
import json
import os
import random
import re
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.integration.jobs import (
    configuration,
    messages,
    reading,
    start,
    wait_until,
)
from tests.integration.test_mirror import Receiver, sending
from tests.integration.test_run import feed

NEAR, FAR = ("assembler", "worker 0"), ("receiver", "worker 0")


def named(parent: int, name: str) -> int:
    """The process of that name under a run.

    Its children are asked for by one read: whoever feeds the run is a thread of ours, which lets us go on only now and
    then, and between the many reads of all processes it went on for seconds.
    """
    found: list[int] = []

    def find() -> bool:
        for pid in map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split()):
            with contextlib.suppress(OSError):
                if Path(f"/proc/{pid}/comm").read_text().strip() == name:
                    found.append(pid)
        return bool(found)

    wait_until(find, f"{name} lives")
    return found[-1]


def size(path: Path) -> int:
    """How much has arrived."""
    return path.stat().st_size if path.exists() else 0


@dataclass(frozen=True)
class Killed:
    """What became of a run."""

    messages: int
    kills: int
    restarts: int
    longest_s: float  # from a death to the next process's first sign of life


def torture(directory: Path, kills: int, seed: int) -> Killed:
    """Run two pipelines, kill so many processes, and hold what has arrived against both ledgers."""
    dice = random.Random(seed)
    (directory / "far").mkdir()
    far = Receiver(directory / "far")
    read_fd, write_fd = os.pipe()
    config = configuration(directory / "m.toml", reading("-"), sending(far.address))
    job = start(directory, "run", "--config", config, "--ledger", "ledger.json", stdin=read_fd)
    os.close(read_fd)
    feeder = threading.Thread(target=feed, args=(write_fd,), daemon=True)
    feeder.start()
    said: list[bytes] = []
    listening = threading.Thread(target=lambda: said.extend(job.stderr), daemon=True)
    listening.start()
    try:
        for _kill in range(kills):
            goal = size(far.path) + dice.randrange(1, 200_000)
            wait_until(lambda goal=goal: size(far.path) > goal or job.poll() is not None, "more arrives")
            assert job.poll() is None, said
            parent, names = dice.choice([(job.pid, NEAR), (far.job.pid, FAR)])
            pid = named(parent, dice.choice(names))
            if dice.random() < 0.2:
                os.kill(pid, signal.SIGSTOP)
                os.kill(pid, signal.SIGCONT)
            else:
                os.kill(pid, signal.SIGKILL)
        goal = size(far.path) + 200_000
        wait_until(lambda: size(far.path) > goal, "more arrives")
        job.send_signal(signal.SIGTERM)
        code = job.wait(30)
    finally:
        if job.poll() is None:
            os.killpg(job.pid, signal.SIGKILL)
            job.wait()
        listening.join(5)
        feeder.join(5)
        job.stderr.close()
        job.stdout.close()
        far_code = far.stop() if far.job.poll() is None else far.job.returncode
    text = b"".join(said).decode()
    assert (code, far_code) == (0, 0), text + "".join(far.said)
    near_ledger = json.loads((directory / "ledger.json").read_text())
    far_ledger = json.loads((directory / "far" / "receiver.json").read_text())
    assert (near_ledger["closed"], far_ledger["closed"]) == (True, True), text + "".join(far.said)
    found = Counter((each["id"], each["kind"], each["payload"]) for each in messages(far.path))  # ports come again
    assert max(found.values()) == 1, found.most_common(3)
    counts = near_ledger["counters"]
    assert len(found) == counts["assemble"]["messages"] == counts["workers"][0]["output0_delivered"]
    restarts = sum(sum(ledger.get("restarts", {}).values()) for ledger in (near_ledger, far_ledger))
    back = [float(each) for each in re.findall(r"works again, ([0-9.]+) s after", text + "".join(far.said))]
    return Killed(len(found), kills, restarts, max(back, default=0.0))


def main(minutes: float) -> Iterator[str]:
    """Kill for so long, in runs of a hundred; yields what each has shown."""
    end_s, seed = time.monotonic() + 60 * minutes, int(time.time())
    while time.monotonic() < end_s:
        with tempfile.TemporaryDirectory() as directory:
            result = torture(Path(directory), 100, seed)
        what = f"{result.kills} kills, {result.restarts} restarts, {result.messages:,} messages once each"
        yield f"seed {seed}: {what}, back within {result.longest_s:.2f} s"
        seed += 1
