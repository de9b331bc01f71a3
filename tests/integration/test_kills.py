"""Kills at random, over the processes of two pipelines: what reached a ring arrives once, and the ledgers close."""

import json
import os
import random
import signal
import threading
from collections import Counter
from pathlib import Path

import pytest

from tests.integration.jobs import (
    configuration,
    messages,
    processes_under,
    reading,
    start,
    wait_until,
)
from tests.integration.test_mirror import Receiver, sending
from tests.integration.test_run import feed

NEAR, FAR = ("assembler", "worker 0"), ("receiver", "worker 0")


def named(parent: int, name: str) -> int:
    """The process of that name under a run."""

    found: list[int] = []

    def find() -> bool:
        for pid in processes_under(parent):
            try:
                if Path(f"/proc/{pid}/comm").read_text().strip() == name:
                    found.append(pid)
            except OSError:
                continue
        return bool(found)

    wait_until(find, f"{name} lives")
    return found[-1]


def size(path: Path) -> int:
    """How much has arrived."""
    return path.stat().st_size if path.exists() else 0


@pytest.mark.parametrize("seed", range(2))
def test_killed_at_random_everything_that_reached_a_ring_arrives_once(tmp_path, seed):
    """Twenty kills and stops; each time more has to arrive before the next, and nothing twice, and both sums close."""
    dice = random.Random(seed)
    (tmp_path / "far").mkdir()
    far = Receiver(tmp_path / "far")
    read_fd, write_fd = os.pipe()
    config = configuration(tmp_path / "m.toml", reading("-"), sending(far.address))
    job = start(tmp_path, "run", "--config", config, "--ledger", "ledger.json", stdin=read_fd)
    os.close(read_fd)
    feeder = threading.Thread(target=feed, args=(write_fd,), daemon=True)
    feeder.start()
    said: list[bytes] = []
    listening = threading.Thread(target=lambda: said.extend(job.stderr), daemon=True)
    listening.start()
    try:
        for _kill in range(20):
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
    near_ledger = json.loads((tmp_path / "ledger.json").read_text())
    far_ledger = json.loads((tmp_path / "far" / "receiver.json").read_text())
    assert (near_ledger["closed"], far_ledger["closed"]) == (True, True), text + "".join(far.said)
    found = Counter((each["id"], each["kind"]) for each in messages(far.path))
    assert max(found.values()) == 1, found.most_common(3)
    counts = near_ledger["counters"]
    assert len(found) == counts["assemble"]["messages"] == counts["workers"][0]["output0_delivered"]
    assert sum(near_ledger.get("restarts", {}).values()) + sum(far_ledger.get("restarts", {}).values()) > 5
