"""Whole runs with answers: an output that answers itself stands in for one that replays; the rest is real."""

import json
import logging
import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

import emit.worker
from emit.records import OutputSpec
from pipeline import ledger
from pipeline.config import Config
from pipeline.reload import Reloader
from pipeline.run import Telling, run
from pipeline.stages import wire
from pipeline.supervisor import Outcome, Supervisor
from pipeline.terminal import Terminal
from tests.emit.builders import as_line, read_lines, request, response, ring_of
from tests.emit.echo import answer_to, replaying
from tests.emit.processes import Processes, free_port
from tests.integration.jobs import exchanges
from tests.packets_files import write_pcap
from tests.pipeline.sending import sending


@pytest.fixture(autouse=True)
def _answering(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every worker know the stand-in."""
    monkeypatch.setattr(emit.worker, "main", replaying)


def reading(path: Path, *outputs: str, more: str = "") -> str:
    """Write the configuration of a run over a capture."""
    tables = "".join(f"[[output]]\n{each}\n" for each in outputs)
    return f'[input]\ntype = "pcap"\npath = "{path}"\n[workers]\ncount = 2\n{more}{tables}'


@pytest.mark.parametrize("lanes", [1, 2])
def test_answers_go_to_every_other_output_of_a_run(tmp_path: Path, lanes: int, capsys: pytest.CaptureFixture[str]):
    """Each by its own `where`, into the same files as requests and responses; and every sum closes."""
    capture = write_pcap(tmp_path / "shop.pcap", exchanges(300))
    everything, failures, book = tmp_path / "all.jsonl", tmp_path / "some.jsonl", tmp_path / "ledger.json"
    text = reading(
        capture, f'type = "file"\npath = "{everything}"',
        f'type = "file"\npath = "{failures}"\nwhere = "kind == \'replayed\' and path ~ \'7$\'"',
    ).replace('path = "', f'lanes = {lanes}\npath = "', 1)  # fmt: skip
    assert run(sending(text, True), Telling(Terminal(), ledger=book, strict=True)) == 0
    lines = read_lines(everything.read_bytes())
    kinds = Counter(line["kind"] for line in lines)
    assert kinds == {"request": 300, "response": 300, "replayed": 300}
    assert len({line["id"] for line in lines}) == 300
    asked = {line["id"] for line in lines if line["kind"] == "request" and line["target"].endswith("7")}
    some = read_lines(failures.read_bytes())
    assert {line["id"] for line in some} == asked
    assert Counter(line["kind"] for line in some) == {"replayed": len(asked)}
    written = json.loads(book.read_text())
    rows = {each["name"]: each for each in written["equations"]}
    assert rows["answers replayed"]["right"] == {"taken by answer workers": 300, "dropped": 0, "aborted": 0}
    assert rows["output 0: http http://127.0.0.1:9"]["left"] == 600
    assert rows[f"output 1: file {everything}"]["left"] == 900
    assert rows[f"output 2: file {failures}"]["right"]["filtered"] == 900 - len(asked)
    assert len(written["counters"]["answers"]) == 2 * lanes
    assert {f"answer ring {at}" for at in range(2 * lanes)} < set(written["rings"])
    said = capsys.readouterr().err
    assert "answers replayed" in said
    (replay,) = written["replay"]
    assert replay["output"] == "output 0: http http://127.0.0.1:9"
    (endpoint,) = replay["endpoints"]
    assert (endpoint["endpoint"], endpoint["requests"], endpoint["originals"]) == ("GET /item/*", 300, 300)
    assert endpoint["answered"] + endpoint["failed"].get("timeout", 0) == 300
    assert endpoint["statuses"] == [{"original": 200, "replayed": 200, "count": endpoint["answered"]}]
    assert "replay by output 0: http" in said
    assert "GET /item/*" in said


class Job:
    """A run that receives what a test sends, until it is told to stop."""

    def __init__(self, processes: Processes, output: str, answers: bool = True) -> None:
        self.processes = processes
        self.port = free_port()
        self.config = self.say(output, answers)
        self.wiring = wire(self.config, logging.INFO)
        self.steps: list[tuple[Callable[[], bool], Callable[[], None]]] = []
        self.supervisor = Supervisor(self.wiring, self.tick)
        self.reloader = Reloader(lambda: self.config, self.config, self.wiring, self.supervisor, logging.INFO)
        self.sent = 0

    def say(self, output: str, answers: bool = True) -> Config:
        return sending(f'[input]\ntype = "tcp"\nlisten = "127.0.0.1:{self.port}"\n[[output]]\n{output}\n', answers)

    def tick(self) -> None:
        """Do the next thing once what it waits for is so."""
        if self.steps and self.steps[0][0]():
            self.steps.pop(0)[1]()

    def then(self, when: Callable[[], bool], do: Callable[[], None]) -> None:
        """Have something done once something else is so."""
        self.steps.append((when, do))

    def send(self, count: int) -> None:
        """Send requests, each with its response."""
        made = [each for at in range(count) for each in (request(self.sent + at), response(self.sent + at))]
        self.sent += count
        self.processes.worker(ring_of(made), OutputSpec("tcp", 0, address=f"127.0.0.1:{self.port}"))

    def reload(self, output: str, answers: bool = True) -> None:
        """Have other outputs."""
        self.config = self.say(output, answers)
        assert self.reloader.reload() == (["applied: output"], 0)

    def taken(self) -> int:
        """Return how many messages have been taken by workers, and by those for answers."""
        tally = self.wiring.tally()
        return tally.worker("messages_taken") + sum(each.answered() for each, _when in tally.deliveries())

    def kill(self, name: str) -> None:
        """Kill one process."""
        child = next(child for child in self.supervisor.children if child.stage.name == name)
        os.kill(child.process.pid or 0, signal.SIGKILL)

    def run(self) -> tuple[Outcome, ledger.Ledger]:
        """Run to the end, with nothing left over."""
        outcome = self.supervisor.run()
        assert not multiprocessing.active_children()[len(self.processes.children) :]
        assert not self.steps, "the run ended before that"
        return outcome, ledger.build(self.wiring.tally())


def stop() -> None:
    """Ask this process to end what it runs."""
    os.kill(os.getpid(), signal.SIGTERM)


def test_a_reload_keeps_begins_and_ends_answers(processes: Processes, tmp_path: Path):
    """The ring and its worker go on, come, or go, with the worker that writes it; no answer is lost on the way."""
    paths = [tmp_path / f"{at}.jsonl" for at in range(4)]
    outputs = [f'type = "file"\npath = "{path}"' for path in paths]
    job = Job(processes, outputs[0])
    each = 1000
    job.then(lambda: job.supervisor.ready, lambda: job.send(each))
    job.then(lambda: job.taken() == 3 * each, lambda: job.reload(outputs[1]))
    job.then(lambda: job.reloader.settled, lambda: job.send(each))
    job.then(lambda: job.taken() == 6 * each, lambda: job.reload(outputs[2], answers=False))
    job.then(lambda: job.reloader.settled, lambda: job.send(each))
    job.then(lambda: job.taken() == 8 * each, lambda: job.reload(outputs[3]))
    job.then(lambda: job.reloader.settled, lambda: job.send(each))
    job.then(lambda: job.taken() == 11 * each, stop)
    outcome, built = job.run()
    assert (outcome.exit_code, outcome.errors) == (0, [])
    assert built.closed, built.equations
    assert built.losses == {}
    rows = {row.name: row for row in built.equations}
    assert rows["answers replayed"].left == 3 * each
    (replay,) = job.wiring.replays().values()
    assert (replay.all().requests, replay.all().originals) == (3 * each, 3 * each), "it goes on through reloads"
    kinds = [Counter(line["kind"] for line in read_lines(path.read_bytes())) for path in paths]
    assert kinds == [{"request": each, "response": each} | ({"replayed": each} if at != 2 else {}) for at in range(4)]
    assert [rows[f"output 1: file {path}, before reload {at + 1}"].left for at, path in enumerate(paths[:3])] == [
        3 * each, 3 * each, 2 * each,
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["worker 0", "answer worker 0"])
def test_a_killed_worker_costs_no_answer(processes: Processes, tmp_path: Path, name: str):
    """Another goes on at its ring; the one at the other end of the answer ring notices nothing."""
    path = tmp_path / "m.jsonl"
    job = Job(processes, f'type = "file"\npath = "{path}"')
    job.then(lambda: job.supervisor.ready, lambda: job.send(500))
    job.then(lambda: job.taken() == 1500, lambda: job.kill(name))
    job.then(lambda: job.wiring.restarts() == {name: 1}, lambda: job.send(500))
    job.then(lambda: job.taken() == 3000, stop)
    outcome, built = job.run()
    assert (outcome.exit_code, outcome.errors) == (0, [])
    assert built.closed
    found = [line for line in read_lines(path.read_bytes()) if line["kind"] == "replayed"]
    assert found == [as_line(answer_to(request(number))) for number in range(1000)]


def test_an_abort_says_what_lies_in_the_answer_ring(processes: Processes, tmp_path: Path):
    """A reader that takes nothing: answers stay where they are, and are accounted for."""
    fifo = tmp_path / "m.jsonl"
    os.mkfifo(fifo)
    held = os.open(fifo, os.O_RDWR)
    try:
        job = Job(processes, f'type = "file"\npath = "{fifo}"\nwhere = "kind == \'replayed\'"')
        job.then(lambda: job.supervisor.ready, lambda: job.send(3000))
        job.then(lambda: job.wiring.rings["answer ring 0"].stats().used > 0 and job.sent == 3000, stop)
        job.then(lambda: job.supervisor.stopping, stop)
        outcome, built = job.run()
    finally:
        os.close(held)
    assert outcome.exit_code == 128 + signal.SIGTERM
    assert "bytes in answer ring 0" in outcome.errors[0]
    assert built.closed, built.equations
    assert built.losses["answers aborted"] > 0
