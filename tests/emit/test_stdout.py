"""Lines to standard output: pipes that are slow, closed, or shared."""

import os
import subprocess
import sys
from pathlib import Path

from capture.ring import Ring
from emit.records import OutputSpec
from tests.emit.builders import as_line, conversation, read_lines, response, ring_of
from tests.emit.processes import Child, Processes, wait_until

OUTPUT = OutputSpec("stdout", 0)


def start(processes: Processes, ring: Ring, stdout: int, *more: OutputSpec) -> Child:
    """Start a worker whose standard output is a descriptor of ours."""
    kept = os.dup(1)
    os.dup2(stdout, 1)
    try:
        return processes.worker(ring, OUTPUT, *more)
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def test_a_pipe_gets_every_line(processes: Processes):
    """What `pipeline run | jq` reads."""
    made = [*conversation(300), response(9, bytes(2_000_000))]
    reading, writing = os.pipe()
    worker = start(processes, ring_of(made, 16 << 20), writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        text = pipe.read()
    assert worker.end() == 0
    assert read_lines(text) == [as_line(message) for message in made]


def test_a_slow_reader_holds_up_nobody_else(processes: Processes, tmp_path: Path):
    """One slow output never stops another."""
    made = conversation(2000)
    reading, writing = os.pipe()
    worker = start(processes, ring_of(made), writing, OutputSpec("file", 1, path=str(tmp_path / "m.jsonl")))
    os.close(writing)
    path = tmp_path / "m.jsonl"
    wait_until(lambda: path.exists() and path.read_bytes().count(b"\n") == 2000, "the file's lines")
    assert worker.counters["messages_taken"] == 0, "the pipe holds the ring"
    with os.fdopen(reading, "rb") as pipe:
        assert len(read_lines(pipe.read())) == 2000
    assert worker.end() == 0


def test_a_reader_that_goes_away_ends_the_output_with_an_account(processes: Processes):
    """`| head` is no reason for a traceback, but what was not delivered is counted."""
    reading, writing = os.pipe()
    worker = start(processes, ring_of(conversation(2000)), writing)
    os.close(writing)
    os.read(reading, 1000)
    os.close(reading)
    assert worker.end() == 1
    assert "standard output was closed by its reader" in worker.events("failed")[0]["text"]
    counts = worker.counters.as_dict()
    assert counts["output0_undelivered"] > 0
    assert counts["output0_undelivered"] + counts["output0_delivered"] == 2000


def test_workers_that_share_a_pipe_do_not_mix_their_lines(processes: Processes):
    """They have inherited one and the same descriptor."""
    made = [[response(100 * at + n, bytes([at]) * size) for n, size in enumerate([10, 300_000] * 4)] for at in range(2)]
    reading, writing = os.pipe()
    workers = [start(processes, ring_of(messages, 16 << 20), writing) for messages in made]
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        lines = read_lines(pipe.read())
    assert [worker.end() for worker in workers] == [0, 0]
    for messages in made:
        ids = {message.id_hex for message in messages}
        assert [line for line in lines if line["id"] in ids] == [as_line(message) for message in messages]


def test_a_regular_file_as_standard_output_is_written_as_it_is(processes: Processes, tmp_path: Path):
    """`> out.jsonl` appends where the shell has put the position."""
    with open(tmp_path / "out.jsonl", "wb") as out:
        out.write(b'{"first":1}\n')
        out.flush()
        worker = start(processes, ring_of(conversation(10)), out.fileno())
        assert worker.end() == 0
    assert (tmp_path / "out.jsonl").read_bytes().startswith(b'{"first":1}\n')
    assert (tmp_path / "out.jsonl").read_bytes().count(b"\n") == 11


def test_record_locks_tell_processes_apart_on_pipes():
    """The lock that workers take turns with has to exist for pipes on this system."""
    code = "import fcntl, sys; fcntl.lockf(int(sys.argv[1]), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    import fcntl

    reading, writing = os.pipe()
    fcntl.lockf(writing, fcntl.LOCK_EX | fcntl.LOCK_NB)
    held = subprocess.run([sys.executable, "-c", code, str(writing)], pass_fds=[writing], capture_output=True)
    fcntl.lockf(writing, fcntl.LOCK_UN)
    free = subprocess.run([sys.executable, "-c", code, str(writing)], pass_fds=[writing], capture_output=True)
    os.close(reading)
    os.close(writing)
    assert b"BlockingIOError" in held.stderr
    assert free.returncode == 0
