"""Disks that are full: one line says so, what is whole stays whole, the rest is counted, and nobody else is delayed.

Real runs, in a mount namespace of their own, where `small` is a file system of a few kilobytes.
"""

import json
import signal
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from emit.spool import Spool, SpoolSpec
from tests.emit.processes import free_port
from tests.emit.test_formats import read
from tests.integration import jobs
from tests.integration.jobs import configuration, errors, exchanges, messages, reading, wait_until, writing
from tests.integration.test_hardships import MOUNTED, RUN, needs_mounts, start
from tests.packets_files import write_pcap

COUNT: Final = 8000
"""Messages of a run, more than fit."""
SMALL: Final = "mount -t tmpfs -o size=700k none small;"
KEEP: Final = 'unshare -m bash -c \'{} "$@"; code=$?; cp -r small/. kept; exit $code\' bash "$@"'
"""The namespace ends with its run: what is on the small disk is copied."""

pytestmark = needs_mounts


@pytest.fixture
def place(tmp_path):
    """A directory with a capture, and one in it where the small disk will be."""
    write_pcap(tmp_path / "a.pcap", exchanges(COUNT // 2))
    for name in ("tmp", "small", "kept"):
        (tmp_path / name).mkdir()
    return tmp_path


def ended(place: Path, before: str, *more: str) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    """Run to the end, which has to come; return what was said, and the ledger, which closes."""
    done = jobs.finished(start(place, before, *RUN, "--ledger", "ledger.json", *more))
    assert "Traceback" not in done.stderr
    ledger = json.loads((place / "ledger.json").read_text())
    assert ledger["closed"], done.stderr
    return done, ledger["counters"]["workers"][0]


@pytest.mark.parametrize("more", ["", '\nrewrite = [{ set_headers = { X-Mirror = "1" } }]'], ids=["plain", "steps"])
@pytest.mark.parametrize("form", ["jsonl", "recording", "gor", "har"])
def test_a_full_disk_costs_what_does_not_fit_and_no_other_output_anything(place, form, more):
    """Whatever the format, also behind steps: the file is whole, and the error says which one it is and what to do."""
    configuration(
        place / "m.toml", reading("a.pcap"), f'{writing("small/out")}\nformat = "{form}"{more}', writing("beside.jsonl")
    )
    done, counts = ended(place, KEEP.format(SMALL), "--set", "ring.messages=64KiB")
    assert done.returncode == 1
    [line] = errors(done)
    assert "cannot write to small/out: no space left on device: make room; " in line
    found, source = read(place / "kept" / "out")
    assert (source.cut_at, source.refused) == (None, 0)
    assert 0 < len(found) == counts["output0_delivered"] < COUNT
    assert counts["output0_undelivered"] == COUNT - len(found)
    assert len(messages(place / "beside.jsonl")) == counts["output1_delivered"] == COUNT


def test_a_disk_that_has_room_again_is_written_to_again(place):
    """A run that lasts weeks, and a disk that somebody else fills for a while."""
    configuration(place / "m.toml", 'type = "tcp"\nlisten = "127.0.0.1:0"', writing("small/out"), writing("b.jsonl"))
    before = MOUNTED.format(f"{SMALL} head -c 680k /dev/zero > small/ballast;")
    job = start(place, before, *RUN, "--ledger", "ledger.json", "-v")
    try:
        assert job.stderr

        def hear(text: bytes) -> bytes:
            while text not in (line := job.stderr.readline()):
                assert line, "it ended"
            return line

        address = hear(b"listening on").split()[-1].decode()
        port = address.rpartition(":")[2]
        small = Path(f"/proc/{job.pid}/root{place}/small")
        configuration(place / "s.toml", reading("a.pcap"), f'type = "tcp"\naddress = "127.0.0.1:{port}"')
        send = (*RUN[:-1], "s.toml", "--quiet")
        assert jobs.finished(start(place, 'exec "$@"', *send)).returncode == 0
        assert b"no space left on device" in hear(b" error: ")
        (small / "ballast").unlink()
        written = (small / "out").read_text().count("\n")
        assert written < COUNT
        write_pcap(place / "a.pcap", exchanges(20))

        def again() -> bool:
            assert jobs.finished(start(place, 'exec "$@"', *send)).returncode == 0
            return (small / "out").read_text().count("\n") > written

        wait_until(again, "the file grows again")
        assert b"can be written again" in hear(b" warning: ")
        kept = read(small / "out")[0]
        job.send_signal(signal.SIGTERM)
        done = jobs.finished(job)
    finally:
        job.kill()
        job.wait()
    assert done.returncode == 1, "not all was delivered"
    ledger = json.loads((place / "ledger.json").read_text())
    counts = ledger["counters"]["workers"][0]
    assert ledger["closed"]
    assert counts["output0_delivered"] == len(kept)
    assert counts["output0_delivered"] + counts["output0_undelivered"] == counts["output1_delivered"]
    assert counts["output1_undelivered"] == 0
    assert f"; {counts['output0_undelivered']} messages were not delivered" in errors(done)[0]


def test_a_spool_on_a_full_disk_holds_up_nobody(place):
    """What fits is on it for the next run, what does not is counted; the output beside has everything."""
    tcp = f'type = "tcp"\naddress = "127.0.0.1:{free_port()}"\nretry = "1s"\nspool = {{ path = "small/spool" }}'
    configuration(place / "m.toml", reading("a.pcap"), tcp, writing("beside.jsonl"))
    done, counts = ended(place, KEEP.format(SMALL), "--set", "output.0.chunk_bytes=16KiB")
    assert done.returncode == 1
    [line] = errors(done)
    assert "connection refused, tried for 1 s" in line
    assert "spool small/spool/worker-0: no space left on device: make room; going on without it" in done.stderr
    assert counts["output0_spool_failed"] > 0
    assert 0 < counts["output0_spooled"] < COUNT
    assert counts["output0_spooled"] + counts["output0_undelivered"] == COUNT
    assert len(messages(place / "beside.jsonl")) == COUNT
    spool = Spool(SpoolSpec(str(place / "kept" / "spool"), 1 << 30))
    spool.open()
    found = 0
    while (chunk := spool.next()) is not None:
        assert not chunk.buried, "no half chunk"
        found += chunk.messages
    assert found == counts["output0_spooled"]
    spool.close()


@pytest.mark.parametrize(("option", "why"), [("ro", "read-only file system: "), ("nr_inodes=3", "no space left")])
def test_a_spool_that_cannot_be_made_costs_its_output_and_no_other(place, option, why):
    """As a file that cannot be opened does; it is said at once, and the ledger closes."""
    tcp = f'type = "tcp"\naddress = "127.0.0.1:{free_port()}"\nspool = {{ path = "small/spool" }}'
    configuration(place / "m.toml", reading("a.pcap"), tcp, writing("beside.jsonl"))
    done, counts = ended(place, KEEP.format(f"mount -t tmpfs -o {option} none small;"))
    assert done.returncode == 1
    [line] = errors(done)
    assert f"spool small/spool/worker-0: {why}" in line
    assert counts["output0_undelivered"] == COUNT
    assert len(messages(place / "beside.jsonl")) == COUNT


def test_a_disk_without_room_for_the_ledger_is_an_error_and_leaves_no_half(place):
    """The run itself is as ever."""
    configuration(place / "m.toml", reading("a.pcap"), writing("out.jsonl"))
    before = KEEP.format("mount -t tmpfs -o size=4k none small;")
    done = jobs.finished(start(place, before, *RUN, "--ledger", "small/l.json"))
    assert done.returncode == 1
    assert errors(done) == ["--ledger small/l.json: cannot be written: no space left on device: make room"]
    assert (place / "kept" / "l.json").read_bytes() == b""
    assert len(messages(place / "out.jsonl")) == COUNT


def test_a_log_that_nobody_can_write_ends_nothing(place):
    """Standard error on a full disk; JSON as well as plain."""
    configuration(place / "m.toml", reading("a.pcap"), writing("out.jsonl"))
    for form in ("plain", "json"):
        (place / "out.jsonl").unlink(missing_ok=True)
        done, counts = ended(place, 'unset PYTHONUNBUFFERED; exec "$@" 2> /dev/full', "--log-format", form)
        assert (done.returncode, counts["output0_delivered"]) == (0, COUNT)
        assert len(messages(place / "out.jsonl")) == COUNT


def test_a_standard_output_on_a_full_disk_is_told(place):
    """Where a shell has sent it."""
    configuration(place / "m.toml", reading("a.pcap"), 'type = "stdout"', writing("beside.jsonl"))
    done, counts = ended(place, KEEP.format(SMALL + " exec > small/out;"))
    assert done.returncode == 1
    [line] = errors(done)
    assert "cannot write to standard output: no space left on device: make room" in line
    written = len(messages(place / "kept" / "out"))
    assert 0 < written == counts["output0_delivered"] < COUNT
    assert counts["output0_undelivered"] == COUNT - written
    assert len(messages(place / "beside.jsonl")) == COUNT


@pytest.mark.parametrize("name", ["out.rec", "out.har"])
def test_convert_onto_a_full_disk_is_told(place, name):
    """And the exit code says it to a script."""
    command = (*RUN[:-3], "convert", "a.pcap", f"small/{name}")
    done = jobs.finished(start(place, KEEP.format(SMALL), *command))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    [line] = errors(done)
    assert f"cannot write to small/{name}: no space left on device: make room" in line
    assert read(place / "kept" / name)[1].cut_at is None
