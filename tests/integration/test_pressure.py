"""A far output that nobody reads for a moment; scripts/torture does the same for minutes."""

import os
import threading

import pytest

from tests.emit.test_formats import read
from tests.integration.jobs import (
    configuration,
    errors,
    exchanges,
    finished,
    messages,
    reading,
    start,
    wait_until,
    writing,
)
from tests.packets_files import write_pcap
from tests.torture.pressure import POLICIES, torture


@pytest.mark.parametrize("policy", POLICIES)
def test_what_cannot_go_on_waits_or_is_counted_or_goes_to_the_disk(tmp_path, policy):
    """Every message once or in the ledger, from end to end; the output beside waits only where that was asked for."""
    result = torture(tmp_path, policy, [2.5])
    assert result.unread_bytes > 0, "the receiver does not read what its outputs do not take"
    assert (result.waited_s >= 2.4) == (policy == "block"), result
    assert result.waited_s < 2 or policy == "block", result


@pytest.mark.parametrize("form", ["jsonl", "recording", "gor", "har"])
def test_a_pipe_that_nobody_reads_delays_no_other_output(tmp_path, form):
    """It waits, in the ring, for whoever comes; the worker is neither held up nor taken for one that hangs."""
    write_pcap(tmp_path / "a.pcap", exchanges(2000))
    os.mkfifo(tmp_path / "pipe")
    pipe = f'{writing("pipe")}\nformat = "{form}"'
    config = configuration(tmp_path / "m.toml", reading("a.pcap"), pipe, writing("beside.jsonl"))
    job = start(tmp_path, "run", "--config", config, "--strict")
    taken = bytearray()

    def drain() -> None:
        with open(tmp_path / "pipe", "rb", buffering=0) as source:
            while data := source.read(1 << 16):
                taken.extend(data)

    draining = threading.Thread(target=drain, daemon=True)
    try:
        wait_until(lambda: len(messages(tmp_path / "beside.jsonl")) == 4000, "all of it beside")
        assert job.poll() is None, "it waits"
        draining.start()
        done = finished(job)
    finally:
        job.kill()
        job.wait()
    draining.join(30)
    assert (done.returncode, errors(done)) == (0, [])
    (tmp_path / "copy").write_bytes(taken)
    found, source = read(tmp_path / "copy")
    assert (len(found), source.cut_at, source.refused) == (4000, None, 0)
