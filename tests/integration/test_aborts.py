"""Runs that are aborted: what was under way is named and counted, the sums close, and what arrived is what is said."""

import json
import logging
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from emit.records import OutputSpec
from pipeline import ledger
from pipeline.config import Config
from pipeline.report import verdict
from pipeline.settings import parse
from pipeline.stages import wire
from pipeline.supervisor import Outcome, Supervisor
from tests.emit.builders import conversation, ring_of
from tests.emit.processes import Processes, free_port
from tests.emit.test_tcp import FarSide
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


class Deaf(FarSide):
    """Takes so many chunks, and then reads on, and never acknowledges anything."""

    def __init__(self, takes: int = 0) -> None:
        super().__init__(["ack"] * takes + ["keep"] * 100_000)
        self.takes = takes

    @property
    def acknowledged(self) -> int:
        """How many messages it has taken."""
        return sum(int(frame[2]["size"]) for frame in self.chunks[: self.takes])


@pytest.fixture
def deaf() -> Iterator[Callable[[int], Deaf]]:
    """Receivers that are gone when the test is."""
    made: list[Deaf] = []

    def make(takes: int = 0) -> Deaf:
        made.append(Deaf(takes))
        return made[-1]

    yield make
    for each in made:
        each.close()


def say(source: str, output: str, more: str = "") -> Config:
    """Read a configuration with small rings; each string is the inside of its table."""
    rings = '[ring]\nframes = "1200KiB"\nmessages = "1MiB"\n'
    return parse(f"[input]\n{source}\n{more}\n{rings}[[output]]\n{output}\n", "m.toml")


def to(far: FarSide, more: str = "") -> str:
    """The output table of a receiver."""
    return f'type = "tcp"\naddress = "{far.address}"\nflush = "1ms"\n{more}'


class Job:
    """A run in this process, to which something is done when it has come far enough."""

    def __init__(self, config: Config, drain_s: float = 10.0) -> None:
        self.wiring = wire(config, logging.INFO)
        self.steps: list[tuple[Callable[[], object], Callable[[], None]]] = []
        self.supervisor = Supervisor(self.wiring, self.tick, drain_s)

    def tick(self) -> None:
        """Do the next thing once what it waits for is so."""
        if self.steps and self.steps[0][0]():
            self.steps.pop(0)[1]()

    def then(self, when: Callable[[], object], *todo: Callable[[], None]) -> None:
        """Have things done, one a tick, once something is so."""
        for do in todo:
            self.steps.append((when, do))

    def full(self) -> bool:
        """Whether the first ring is full, so that all wait for one another; of a receiver's, half of it is enough."""
        levels = {name: ring.stats() for name, ring in self.wiring.rings.items()}
        frames = [level for name, level in levels.items() if name.startswith("frame")]
        return any(level.stalls for level in frames) or (
            not frames and levels["message ring 0"].used > levels["message ring 0"].capacity // 2
        )

    def count(self, name: str) -> int:
        """Sum a counter over workers."""
        return self.wiring.tally().worker(name)

    def halt(self, name: str) -> None:
        """Stop a process (SIGSTOP): it hangs from now on."""
        child = next(child for child in self.supervisor.children if child.stage.name == name)
        os.kill(child.process.pid or 0, signal.SIGSTOP)

    def run(self) -> tuple[Outcome, ledger.Ledger]:
        """Run to the end, with nothing left over."""
        before = len(multiprocessing.active_children())
        outcome = self.supervisor.run()
        assert len(multiprocessing.active_children()) == before
        assert not self.steps, "the run ended before that"
        return outcome, ledger.build(self.wiring.tally())


def stop() -> None:
    """Ask this process to end what it runs."""
    os.kill(os.getpid(), signal.SIGTERM)


def rows(built: ledger.Ledger) -> dict[str, ledger.Equation]:
    """The equations by their names."""
    assert built.closed, verdict(built)
    return {each.name: each for each in built.equations}


def whole(built: ledger.Ledger, delivered: int) -> None:
    """What was assembled and is not known to have arrived was aborted, and is a loss by name."""
    found = rows(built)
    assembled = found["messages assembled"]
    assert assembled.right == {"taken by workers": delivered, "aborted": assembled.left - delivered}
    assert assembled.left > delivered
    assert built.losses["messages aborted"] == assembled.left - delivered
    assert next(row for name, row in found.items() if name.startswith("output 0")).right["delivered"] == delivered
    frames = found["frames captured"].right
    assert built.losses["frames aborted"] == frames["aborted"] > 0


@pytest.mark.parametrize(("lanes", "workers", "takes"), [(1, 1, 0), (1, 1, 4), (1, 3, 0), (2, 2, 0)])
def test_a_second_signal_names_and_counts_what_nobody_has_acknowledged(tmp_path: Path, deaf, lanes, workers, takes):
    """What the receiver has taken is delivered; all the rest is a loss, wherever it lay."""
    capture = write_pcap(tmp_path / "shop.pcap", exchanges(3000, size=1000 * workers * lanes))
    far = deaf(takes)
    source = f'type = "pcap"\npath = "{capture}"\nlanes = {lanes}'
    job = Job(say(source, to(far), f"[workers]\ncount = {workers}"))
    job.then(
        lambda: job.full() and len(far.chunks) >= takes and job.count("messages_taken") == far.acknowledged, stop, stop
    )
    outcome, built = job.run()
    assert outcome.exit_code == 128 + signal.SIGTERM
    assert outcome.errors[0].startswith("aborted by SIGTERM; in flight: ")
    assert (far.acknowledged > 0) == (takes > 0)
    whole(built, far.acknowledged)


@pytest.mark.parametrize("name", ["worker 0", "assembler", "capture"])
def test_a_run_that_does_not_drain_in_time_says_what_it_gave_up(tmp_path: Path, deaf, name):
    """Whichever process it is that hangs; the exit code is that of the abort."""
    capture = write_pcap(tmp_path / "shop.pcap", exchanges(3000, size=1000))
    job = Job(say(f'type = "pcap"\npath = "{capture}"', to(deaf())), drain_s=0.5)
    job.then(lambda: job.full() and job.wiring.rings["message ring 0"].stats().used, lambda: job.halt(name), stop)
    outcome, built = job.run()
    assert outcome.exit_code == 1
    assert "not drained within 0.5 s; in flight: " in outcome.errors[0]
    whole(built, 0)


def test_large_messages_in_parts_are_counted_as_one(tmp_path: Path, deaf):
    """Of the one that was being written, the bytes are lost with the assembler."""
    capture = write_pcap(tmp_path / "shop.pcap", exchanges(300, size=60_000))
    far = deaf()
    job = Job(say(f'type = "pcap"\npath = "{capture}"', to(far)))
    job.then(lambda: job.full() and len(far.chunks) > 0, stop, stop)
    outcome, built = job.run()
    assert outcome.exit_code == 143
    whole(built, 0)
    assert built.losses["bytes that a killed process held"] > 60_000


def test_the_command_ends_with_the_code_of_the_abort_and_a_ledger_that_closes(tmp_path: Path, deaf):
    """As a user sees it; the other output's file has what it has, and --strict changes nothing."""
    write_pcap(tmp_path / "shop.pcap", exchanges(3000, size=1000))
    far = deaf()
    config = configuration(tmp_path / "m.toml", reading("shop.pcap"), to(far), writing("out.jsonl"))
    job = start(tmp_path, "run", "--config", config, "--ledger", "ledger.json", "--strict")
    wait_until(lambda: far.chunks and messages(tmp_path / "out.jsonl"), "chunks at the receiver")
    job.send_signal(signal.SIGTERM)
    job.send_signal(signal.SIGINT)
    job.send_signal(signal.SIGINT)
    done = finished(job)
    assert done.returncode in (130, 143)
    (error,) = errors(done)
    assert "; in flight: " in error
    written = json.loads((tmp_path / "ledger.json").read_text())
    assert written["closed"]
    assert written["exit_code"] == done.returncode
    counters = written["counters"]
    assert written["loss"]["messages aborted"] == counters["assemble"]["messages"]
    assert "the ledger closes; lost: " in done.stderr
    assert f"{counters['assemble']['messages']:,} messages aborted" in done.stderr
    assert 0 < len(messages(tmp_path / "out.jsonl")) <= counters["assemble"]["messages"]


def test_what_has_left_the_ring_is_aborted_at_its_output(tmp_path: Path, deaf):
    """Policy drop gives the ring back before the receiver has anything: those that wait are in chunks."""
    capture = write_pcap(tmp_path / "shop.pcap", exchanges(4000, size=1000))
    far = deaf()
    job = Job(say(f'type = "pcap"\npath = "{capture}"', to(far, 'policy = "drop"')))
    job.then(lambda: job.count("output0_dropped") > 0, stop, stop)
    outcome, built = job.run()
    assert outcome.exit_code == 143
    (row,) = (row for name, row in rows(built).items() if name.startswith("output 0"))
    assert row.right["delivered"] == 0
    assert row.right["dropped"] + row.right["aborted"] == row.left
    assert built.losses[f"messages aborted at output 0: tcp {far.address}"] == row.right["aborted"] > 0


@pytest.mark.parametrize("form", ["jsonl", "recording"])
def test_a_reader_of_messages_is_counted_as_far_as_it_had_come(tmp_path: Path, deaf, form):
    """It shows what it has read every thousand messages; its ring has them all."""
    capture = write_pcap(tmp_path / "shop.pcap", exchanges(1333, size=1000))
    path = tmp_path / ("m.rec" if form == "recording" else "m.jsonl")
    first = Job(say(f'type = "pcap"\npath = "{capture}"', f'type = "file"\npath = "{path}"\nformat = "{form}"'))
    assert first.run()[0].exit_code == 0
    job = Job(say(f'type = "file"\npath = "{path}"', to(deaf())))
    job.then(job.full, lambda: job.halt("reader"), stop, stop)
    outcome, built = job.run()
    assert outcome.exit_code == 143
    read = rows(built)["messages read"]
    assert read.right == {"taken by workers": 0, "aborted": read.left}
    assert built.losses == {"messages aborted": read.left}


@pytest.mark.parametrize("halted", [False, True])
def test_a_receiver_keeps_its_sums_and_acknowledges_nothing_of_it(processes: Processes, deaf, halted):
    """Whoever sent it has it still, and says so."""
    port = free_port()
    job = Job(say(f'type = "tcp"\nlisten = "127.0.0.1:{port}"', to(deaf())))
    spec = OutputSpec("tcp", 0, address=f"127.0.0.1:{port}", retry_s=0.2)
    job.then(lambda: job.supervisor.ready, lambda: (processes.worker(ring_of(conversation(3000)), spec), None)[1])
    job.then(job.full, *([lambda: job.halt("receiver")] if halted else []), stop, stop)
    outcome, built = job.run()
    assert outcome.exit_code == 143
    received = rows(built)["messages received"]
    assert received.right == {"taken by workers": 0, "aborted": received.left}
    (sender,) = processes.children
    assert sender.end() == 1
    assert sender.counters["output0_delivered"] == 0
    assert built.losses["messages aborted"] == received.left > 0
