"""A program beside a worker: pipes that never wait, signals, and an end that leaves nothing."""

import logging
import os
import resource
import select
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from capture.records import KIND_MESSAGE
from capture.ring import Producer, Ring
from emit.middleware import MiddlewareSpec
from emit.program import Program, ending
from emit.records import OutputSpec
from tests.emit.builders import records_of, request
from tests.emit.processes import Processes, wait_until


def output_of(program: Program) -> bytes:
    """Return all that a program writes to its end."""
    found = b""
    poller = select.poll()
    poller.register(program.output, select.POLLIN)
    while not program.ended:
        assert poller.poll(30_000)
        found += program.read()
    return found


def sh(script: str) -> Program:
    """Start a shell."""
    return Program(("sh", "-c", script), "it")


def test_signals_that_a_worker_ignores_are_not_ignored_by_a_program():
    """What is ignored is inherited: nothing could end it but SIGKILL."""
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        program = sh("kill -TERM $$; echo survived")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert output_of(program) == b""
    assert program.close(0.0) == -signal.SIGTERM
    assert ending(-signal.SIGTERM) == "was ended by SIGTERM"


def test_a_program_may_have_the_memory_that_a_worker_may_not():
    """The limit is made for what we do; what an operator's program needs nobody else knows."""
    before = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (1 << 31, before[1]))
    try:
        program = sh("ulimit -Sd")
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)
    expected = b"unlimited\n" if before[0] == resource.RLIM_INFINITY else b"%d\n" % (before[0] // 1024)
    assert output_of(program) == expected
    assert program.close(0.0) == 0


def test_a_program_has_nothing_of_ours_but_its_pipes():
    """Rings and sockets of the worker are none of its business, nor is the Ctrl-C that is for us."""
    with open("/dev/null", "rb") as mine:
        os.set_inheritable(mine.fileno(), False)
        program = sh("ls /proc/$$/fd | tr '\\n' ' '; cut -d' ' -f5 /proc/$$/stat; echo $$")
        said = output_of(program).split()
    assert program.close(0.0) == 0
    assert {b"0", b"1", b"2"} <= set(said[:-2])
    assert len(said[:-2]) <= 4, "and what ls opened"
    assert said[-2] == said[-1] != str(os.getpgrp()).encode()


def test_what_was_written_and_not_read_is_known():
    """In the pipe it may be lost; what has been read is the program's affair."""
    program = sh("read line; echo $line; exec sleep 1000")
    program.send(b"one\n")
    assert program.write()
    assert not program.write()
    wait_until(lambda: program.unread() == 0, "the line is read")
    program.send(b"x" * 300_000)
    while program.write():
        pass
    assert program.unread() + len(program.waiting) == 300_000
    assert program.descriptors()[program.input] == select.POLLOUT
    assert program.close(0.0) == -signal.SIGTERM
    assert (program.descriptors(), program.unread(), program.write(), program.read()) == ({}, 0, False, b"")


def test_a_program_that_closes_its_input_may_go_on_writing():
    """It has seen enough; that is no reason to end it."""
    program = sh("exec 0<&-; read go < /dev/null; echo later")
    deadline_s = time.monotonic() + 30
    while program.input >= 0:
        program.send(b"line\n")
        program.write()
        assert time.monotonic() < deadline_s
    assert output_of(program) == b"later\n"
    assert program.close(0.0) == 0


def test_a_program_that_ends_no_other_way_is_killed():
    """And so is what it has started."""
    program = sh("trap '' TERM; sleep 1000 & echo $!; while true; do wait; done")
    grandchild = int(os.read(select_one(program), 100))
    began_s = time.monotonic()
    assert program.close(0.0) == -signal.SIGKILL
    assert time.monotonic() - began_s < 5
    wait_until(lambda: not Path(f"/proc/{grandchild}").exists(), "the grandchild's end")


def select_one(program: Program) -> int:
    """Wait until a program has written something, and return where."""
    poller = select.poll()
    poller.register(program.output, select.POLLIN)
    assert poller.poll(30_000)
    return program.output


def test_its_last_words_are_logged(caplog: pytest.LogCaptureFixture):
    """Why it ends is often said there, without a line feed."""
    with caplog.at_level(logging.INFO):
        program = sh("printf 'bad luck' >&2; exit 9")
        output_of(program)
        assert program.close(5.0) == 9
    assert [record.getMessage() for record in caplog.records] == ["it says: bad luck"]
    assert ending(9) == "ended with status 9"


def test_a_program_ends_with_a_worker_that_is_killed(processes: Processes, tmp_path: Path):
    """Nobody is left to end it, and it may not look at its input."""
    pid = tmp_path / "pid"
    spec: Any = MiddlewareSpec(("sh", "-c", f"echo $$ > {pid}; exec sleep 1000"), "it")
    ring = Ring.create(1 << 20)
    assert Producer(ring).try_put(KIND_MESSAGE, records_of(request(1))[0])
    worker = processes.worker(ring, OutputSpec("null", 0, transforms=(spec,)))
    wait_until(lambda: pid.exists() and pid.read_text().strip(), "the program")
    started = int(pid.read_text())
    assert Path(f"/proc/{started}").exists()
    worker.kill()
    wait_until(lambda: not Path(f"/proc/{started}").exists(), "its end")
