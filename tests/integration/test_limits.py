"""What each process may have and do in a whole run, and what becomes of one that is out of memory.

Real processes; memory is short as a shell or a control group says so.  A run that loses a process to that goes on with
another, and its ledger closes.
"""

import os
import signal
from pathlib import Path
from typing import Final

import pytest

from tests.integration import jobs
from tests.integration.hardships import RUN, control_group, ended, start
from tests.integration.jobs import START_NS, change, configuration, exchange, exchanges, messages, reading, writing
from tests.packets import ACK, SYN, Tcp, frame
from tests.packets_files import write_pcap

COUNT: Final = 50
OTHERS: Final = (*range(COUNT), *range(2000, 2000 + COUNT))
"""Exchanges before and after the long request."""
MIB: Final = 1 << 20
PIECE_BYTES: Final = 60_000
SHORT: Final = 'ulimit -Sd 60000; exec "$@"'
"""As much as a supervisor needs, and four times what a child does in an ordinary run."""
MEMORY: Final = "it may have 58 MiB of its own (docs/reliability.md)"


def long_request(number: int, size: int) -> list[tuple[int, bytes]]:
    """Make the frames of a request that is as long; nobody answers it."""
    up = Tcp(src="192.0.2.251", sport=1024, dst="198.51.100.1", dport=80)
    pieces = [b"POST /long HTTP/1.1\r\nHost: shop\r\nContent-Length: %d\r\n\r\n" % size]
    pieces += [bytes(PIECE_BYTES)] * (size // PIECE_BYTES) + [bytes(size % PIECE_BYTES)]
    segments, seq = [change(up, seq=1000, flags=SYN), up.back(seq=5000, ack=1001, flags=SYN | ACK)], 1001
    for piece in pieces:
        segments.append(change(up, seq=seq, ack=5001, flags=ACK, data=piece))
        seq += len(piece)
    return [(START_NS + number * 1_000_000 + at * 1000, frame(segment)) for at, segment in enumerate(segments)]


@pytest.fixture
def place(tmp_path):
    """A directory for a run."""
    (tmp_path / "tmp").mkdir()
    return tmp_path


def capture(place: Path, size: int) -> None:
    """Write a capture of ordinary exchanges, with a long request between them."""
    later = [each for number in OTHERS[COUNT:] for each in exchange(number)]
    write_pcap(place / "a.pcap", exchanges(COUNT) + long_request(COUNT, size) + later)


def asked(place: Path) -> set[object]:
    """What the requests in the output ask for."""
    return {each["target"] for each in messages(place / "out.jsonl") if each["kind"] == "request"}


def ids(place: Path) -> list[object]:
    """Which messages are in the output."""
    return [(each["id"], each["kind"]) for each in messages(place / "out.jsonl")]


def status(pid: int) -> dict[str, str]:
    """What the kernel says of a process (proc(5))."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def limits(pid: int) -> dict[str, list[str]]:
    """Its limits, soft and hard, in words."""
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
    return {line[:26].strip(): line[26:].split()[:2] for line in lines}


def score(pid: int) -> int:
    """Which the kernel goes by when memory runs out."""
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


FRAMES: Final = 'type = "pcap"\npath = "fifo"'
RECORDS: Final = 'type = "file"\npath = "fifo"\nformat = "jsonl"'
SENDERS: Final = 'type = "tcp"\nlisten = "127.0.0.1:0"'
MIDDLEWARE: Final = 'type = "null"\nmiddleware = ["sh", "-c", "cat"]'


@pytest.mark.parametrize(
    ("source", "kinds"),
    [
        (FRAMES, {"capture", "assembler", "worker 0"}),
        (RECORDS, {"reader", "worker 0"}),
        (SENDERS, {"receiver", "worker 0"}),
    ],
    ids=["capture", "reader", "receiver"],
)
def test_no_process_of_a_run_can_gain_rights_take_all_memory_or_leave_a_core(place, source, kinds):
    """A setuid program that is started by mistake, or by whoever has broken in, is nobody special."""
    os.mkfifo(place / "fifo")
    held = os.open(place / "fifo", os.O_RDWR)
    configuration(place / "m.toml", source, writing("out.jsonl"), MIDDLEWARE)
    job = start(place, 'ulimit -Sc 0; exec "$@"', *RUN)
    try:
        wanted = kinds | {"cat"}
        found: dict[str, int] = {}

        def settled() -> bool:
            assert job.poll() is None, "it ended"
            found.clear()
            found.update({status(pid)["Name"]: pid for pid in jobs.processes_under(job.pid)})
            return wanted <= found.keys() and all(limits(found[each])["Max core file size"][0] != "0" for each in kinds)

        jobs.wait_until(settled, "all processes")
        for name in wanted:
            pid = found[name]
            assert status(pid)["NoNewPrivs"] == "1", name
            assert limits(pid)["Max core file size"][0] in {"0", "1"}, name
            assert score(pid) == min(score(job.pid) + 500, 1000), name
            assert (limits(pid)["Max data size"] == limits(job.pid)["Max data size"]) == (name == "cat"), name
    finally:
        job.send_signal(signal.SIGTERM)
        os.close(held)
        jobs.finished(job)


def test_an_assembler_without_memory_is_followed_by_another_and_what_it_held_is_counted(place):
    """A message longer than all that it may have: the messages before and after it are nobody's fault."""
    capture(place, 60 * MIB)
    configuration(place / "m.toml", reading("a.pcap"), writing("out.jsonl"))
    done = ended(place, SHORT)
    assert done.returncode == 0, done.stderr
    assert f"warning: assembler ran out of memory: {MEMORY}; it is started again in 0.05 s" in done.stderr
    assert "the ledger closes; lost: " in done.stderr
    assert len(ids(place)) == len(set(ids(place)))
    assert {f"/item/{at}" for at in OTHERS} <= asked(place) <= {f"/item/{at}" for at in OTHERS} | {"/long"}


def test_a_message_that_leaves_a_worker_without_memory_is_left_out_and_kept(place):
    """It comes again to each successor, until it is clear that it is this one."""
    capture(place, 30 * MIB)
    configuration(place / "m.toml", reading("a.pcap"), writing("out.jsonl") + '\nmask = [{ headers = ["host"] }]')
    with (place / "m.toml").open("a") as file:
        file.write('[ring]\nmessages = "64MiB"\n[supervision]\nkept = "kept"\n')
    done = ended(place, SHORT)
    assert done.returncode == 0, done.stderr
    assert f"warning: worker 0 ran out of memory: {MEMORY}; it is started again in 0.05 s" in done.stderr
    assert "the ledger closes; lost: 1 messages poisoned at output 0" in done.stderr
    [kept] = (place / "kept").iterdir()
    assert kept.stat().st_size > 29 * MIB
    assert asked(place) == {f"/item/{at}" for at in OTHERS}


def test_where_the_kernel_kills_for_memory_it_takes_a_child_and_the_run_goes_on(place):
    """The supervisor's end would be everybody's, with all that is in memory."""
    capture(place, 60 * MIB)
    configuration(place / "m.toml", reading("a.pcap"), writing("out.jsonl"))
    with control_group("memory", 120 * MIB) as entering:
        done = ended(place, entering + 'exec "$@"')
    assert "was killed by SIGKILL; it is started again" in done.stderr
    assert done.returncode == 0, done.stderr
    assert "the ledger closes; lost: " in done.stderr
    assert len(ids(place)) == len(set(ids(place)))
    assert {f"/item/{at}" for at in range(COUNT)} <= asked(place)
