"""A reload while an output is behind: what a file has already is not written to it again by the workers of now."""

import contextlib
import json
import os
import signal
import socket
import subprocess
from collections import Counter

import pytest

from emit.library import open_messages
from tests.integration.jobs import configuration, exchanges, reading, wait_until, writing
from tests.packets_files import pcap
from tests.torture.scenes import Pipeline as Run
from tests.torture.scenes import children, ended, size

COUNT = 100  # exchanges, whose frames have room in a pipe


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize("more", ["", 'rotate_size = "4KiB"', 'format = "recording"\nrotate_size = "8KiB"'])
def test_what_is_in_a_file_is_not_written_again_after_a_reload(tmp_path, more, killed):
    """A receiver takes nothing, so all is in the ring still; the worker of before may even be killed as it leaves."""
    read_fd, write_fd = os.pipe()
    frames = pcap(exchanges(COUNT))
    file = f"{writing('out/a.x')}\n{more}"
    (tmp_path / "out").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        config = configuration(
            tmp_path / "m.toml", reading("-"), file, f'type = "tcp"\naddress = "127.0.0.1:{port}"\nretry = "1m"'
        )
        run = Run("near", tmp_path, ("run", "--config", config, "-v"), stdin=read_fd)
        os.close(read_fd)
        with ended(run):
            try:
                os.write(write_fd, frames[: 1 << 16])
                wait_until(lambda: sum(map(size, (tmp_path / "out").iterdir())) > 0, "a file")
                (worker,) = [pid for pid, name in children(run.job.pid).items() if name == "worker 0"]
                settled = Settled(tmp_path / "out")
                wait_until(settled, "nothing more is written")
                if killed:
                    os.kill(worker, signal.SIGSTOP)
                configuration(config, reading("-"), file, 'type = "null"')
                run.job.send_signal(signal.SIGHUP)
                run.wait_for("(applied: output)")
                if killed:
                    os.kill(worker, signal.SIGKILL)
                wait_until(lambda: worker not in children(run.job.pid), "the worker of before has left")
            finally:
                os.close(write_fd)
            with contextlib.suppress(subprocess.TimeoutExpired):
                run.job.wait(30)
            assert run.job.poll() == 0, run.text
    found = Counter((each.id, each.kind) for each in open_messages(*sorted(map(str, (tmp_path / "out").iterdir()))))
    ledger = json.loads((tmp_path / "near.json").read_text())
    assert set(found.values()) == {1}
    assert len(found) == ledger["counters"]["assemble"]["messages"] == 2 * COUNT
    assert ledger["closed"], run.text
    assert ledger["loss"] == {}


class Settled:
    """Whether a directory has held the same for some looks."""

    LOOKS = 30

    def __init__(self, directory):
        self.directory = directory
        self.before = -1
        self.looks = 0

    def __call__(self):
        """Look once more."""
        now = sum(map(size, self.directory.iterdir()))
        self.looks = self.looks + 1 if now == self.before else 0
        self.before = now
        return self.looks >= self.LOOKS
