"""A reload: what is applied, who is told, what needs a restart, and that a fault changes nothing."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from capture.errors import ConfigError
from emit.succession import Ended
from pipeline import live
from pipeline.config import Config
from pipeline.reload import Reloader
from pipeline.settings import parse
from pipeline.stages import wire
from pipeline.wiring import Stage, Wiring

TEXT = """
[input]
type = "live"
interfaces = ["lo"]
ports = [80]
[workers]
count = 2
[[output]]
type = "tcp"
address = "127.0.0.1:9"
"""
PCAP = '[input]\ntype = "pcap"\npath = "{}"\n[[output]]\ntype = "null"\n'


class Run:
    """What of a supervisor is used here."""

    stopping = False
    succeeding = False
    full = False  # no room for another process

    def __init__(self, wiring: Wiring) -> None:
        self.wiring = wiring
        self.prepared: Callable[[], bool] = lambda: True
        self.failed: Callable[[], None] = lambda: None

    def succeed(
        self,
        make: Callable[[Sequence[Ended]], list[Stage]],
        outputs: tuple[str, ...],
        prepared: Callable[[], bool],
        failed: Callable[[], None],
    ) -> None:
        if self.full:
            raise OSError(24, "Too many open files")
        self.wiring.succeed(make([]), outputs)
        self.wiring.bury()
        self.prepared, self.failed = prepared, failed


class Job:
    """A wired run, never started, whose configuration can be changed."""

    def __init__(self, text: str = TEXT) -> None:
        self.config: Config | ConfigError = parse(text, "m.toml")
        self.wiring = wire(self.config, logging.INFO)
        self.run = Run(self.wiring)
        self.reloader = Reloader(self.load, self.config, self.wiring, self.run, logging.INFO)  # type: ignore[arg-type]

    def load(self) -> Config:
        if isinstance(self.config, ConfigError):
            raise self.config
        return self.config

    def change(self, text: str) -> tuple[list[str], int]:
        """Write another configuration and reload it."""
        self.config = parse(text, "m.toml")
        return self.reloader.reload()

    def orders(self, kind: str) -> list[dict[str, Any] | None]:
        """Take what the processes of one kind were told."""
        told = []
        for stage in self.wiring.stages:
            if stage.kind == kind:
                orders = stage.spec.live.orders if kind == "capture" else stage.spec.orders  # type: ignore[attr-defined]
                orders.seen = 0  # as its reader, who has seen none
                told.append(orders.take())
        return told


def test_a_file_that_was_not_changed_changes_nothing():
    """SIGHUP to be safe is a habit."""
    job = Job()
    assert job.change(TEXT + "\n# a remark\n") == (["nothing has changed"], 0)
    assert job.orders("capture") == job.orders("assembler") == [None]


def test_what_is_wanted_is_told_to_every_capture_and_every_assembler():
    """One that went on as before would lose what the other lets through."""
    job = Job(TEXT.replace("ports", "lanes = 2\nports"))
    new = TEXT.replace("ports = [80]", 'lanes = 2\nports = [81]\nsample = 50\nhosts = ["10.0.0.0/8"]\nfilter = "tcp"')
    assert job.change(new) == (["applied: input.ports, input.hosts, input.filter, input.sample"], 0)
    captures, assemblers = job.orders("capture"), job.orders("assembler")
    assert len(captures) == len(assemblers) == 2
    for order in captures:
        assert order is not None
        assert (order["ports"], order["hosts"], order["filter"]) == ([81], ["10.0.0.0/8"], "tcp")
    for order in assemblers:
        assert order is not None
        assert (order["ports"], order["hosts"], order["sample"]) == ([81], ["10.0.0.0/8"], 50)


def test_a_name_that_stands_for_another_address_is_a_change(monkeypatch):
    """The receiver has moved: nothing in the file says so, and what is sent there must be left out all the same."""
    known = {"collector": "10.0.0.1"}
    monkeypatch.setattr(live, "addresses", lambda host, port: ((known[host], port),))
    text = TEXT.replace("127.0.0.1:9", "collector:9")
    job = Job(text)
    assert job.change(text) == (["nothing has changed"], 0)
    known["collector"] = "10.0.0.2"
    assert job.change(text) == (["applied: addresses"], 0)
    (order,) = job.orders("capture")
    assert order is not None
    assert order["exclude"] == [["10.0.0.1", 9], ["10.0.0.2", 9]]
    assert job.change(text) == (["nothing has changed"], 0)


def test_a_reload_is_settled_when_every_capture_obeys_and_workers_have_taken_over():
    """Not when it was said."""
    job = Job(TEXT.replace("ports", "lanes = 2\nports"))
    assert job.reloader.settled
    job.change(TEXT.replace("ports = [80]", "lanes = 2\nports = [81]"))
    captures = [stage for stage in job.wiring.stages if stage.kind == "capture"]
    captures[0].counters.set("order_now", 1)
    assert not job.reloader.settled
    captures[1].counters.set("order_now", 1)
    assert job.reloader.settled
    job.run.succeeding = True
    assert not job.reloader.settled


def test_other_outputs_have_other_workers_on_the_same_rings():
    """What is in the rings then goes to the new outputs: nothing is lost between them."""
    job = Job()
    rings = [stage.reads for stage in job.wiring.workers()]
    assert job.change(TEXT.replace(":9", ":10")) == (["applied: output"], 0)
    assert [stage.reads for stage in job.wiring.workers()] == rings
    assert [stage.spec.outputs[0].address for stage in job.wiring.workers()] == ["127.0.0.1:10"] * 2  # type: ignore[attr-defined]
    assert job.wiring.outputs == ("tcp 127.0.0.1:10",)
    assert [each.outputs for each in job.wiring.succeeded] == [("tcp 127.0.0.1:9",)]


def test_new_workers_send_nothing_before_captures_leave_it_out():
    """On a watched port they would be mirrored themselves."""
    job = Job()
    job.change(TEXT.replace(":9", ":10"))
    assert not job.run.prepared()
    (capture,) = [stage for stage in job.wiring.stages if stage.kind == "capture"]
    capture.counters.set("order_now", 1)
    assert job.run.prepared()


def test_workers_that_do_not_start_leave_the_configuration_as_it_was():
    """The next reload tries again, and does not say that nothing has changed."""
    job = Job()
    job.run.full = True
    lines, code = job.change(TEXT.replace(":9", ":10"))
    assert (code, "Too many open files; nothing was changed" in lines[0]) == (1, True)
    assert job.orders("capture") == [None]
    job.run.full = False
    assert job.change(TEXT.replace(":9", ":10"))[0] == ["applied: output"]
    job.run.failed()
    assert job.change(TEXT.replace(":9", ":10"))[0] == ["applied: output"]


def test_where_was_sent_to_once_stays_left_out():
    """The old worker may be flushing still, on a port that is watched."""
    job = Job()
    for port in (10, 11):
        job.change(TEXT.replace(":9", f":{port}"))
    excluded = [["127.0.0.1", 9], ["127.0.0.1", 10], ["127.0.0.1", 11]]
    for kind in ("capture", "assembler"):
        (order,) = job.orders(kind)
        assert order is not None
        assert order["exclude"] == excluded


def test_what_needs_a_restart_is_said_and_the_rest_applied():
    """Nobody should wonder why a larger buffer does not help."""
    job = Job()
    new = TEXT.replace("[input]", '[assemble]\nresponses = false\n[ring]\nframes = "64MiB"\n[input]\nbuffer = "1MiB"')
    lines, code = job.change(new.replace("80", "81"))
    assert code == 0
    assert lines == ["applied: input.ports", "needs a restart: input.buffer, assemble.responses, ring.frames"]
    assert job.change(new.replace("80", "81"))[0] == ["needs a restart: input.buffer, assemble.responses, ring.frames"]


@pytest.mark.parametrize(
    ("new", "code", "says"),
    [
        (TEXT.replace("ports", 'filter = "no such word"\nports').replace(":9", ":10"), 2, "cannot be used"),
        (TEXT + '[[output]]\ntype = "file"\npath = "/no/such/directory/a.jsonl"\n', 1, "cannot be written"),
        (TEXT.replace('"lo"', '"loo"'), 1, "loo: there is no such interface"),
        (TEXT.replace('"lo"]', '"any"]\nfilter = "vlan 5"'), 2, "cannot be used"),
    ],
)
def test_a_fault_that_only_the_machine_knows_changes_nothing(new, code, says):
    """What would end a run that starts must not end one that runs."""
    job = Job()
    lines, got = job.change(new)
    assert (got, len(lines)) == (code, 1)
    assert says in lines[0]
    assert lines[0].endswith("nothing was changed")
    assert job.orders("capture") == job.orders("assembler") == [None]
    assert not job.wiring.succeeded
    assert job.change(TEXT) == (["nothing has changed"], 0)


def test_a_file_with_a_fault_changes_nothing():
    """The line is the one that `pipeline check` says."""
    job = Job()
    job.config = ConfigError("m.toml: input.prots: unknown key")
    assert job.reloader.reload() == (["m.toml: input.prots: unknown key; nothing was changed"], 2)


@pytest.mark.parametrize("state", ["stopping", "succeeding"])
def test_one_change_at_a_time(state):
    """A worker whose successor is still to come cannot be succeeded by another."""
    job = Job()
    setattr(job.run, state, True)
    lines, code = job.change(TEXT.replace(":9", ":10"))
    assert (code, "try again" in lines[0]) == (1, True)
    setattr(job.run, state, False)
    assert job.change(TEXT.replace(":9", ":10")) == (["applied: output"], 0)


def test_outputs_of_any_run_can_be_changed_and_its_input_cannot(tmp_path: Path):
    """A long file, or a receiver."""
    for name in "ab":
        (tmp_path / name).write_bytes(b"")
    job = Job(PCAP.format(tmp_path / "a"))
    new = PCAP.format(tmp_path / "b") + '[[output]]\ntype = "stdout"\n'
    assert job.change(new) == (["applied: output", "needs a restart: input.path"], 0)
    assert job.change(TEXT)[0] == ["applied: output", "needs a restart: input, workers.count"]


def test_another_filter_is_applied_and_the_same_one_goes_on_with_what_it_knows():
    """Responses that are on their way when somebody reloads belong to requests of before."""
    text = TEXT + "where = \"path == '/a'\"\n" + '[[output]]\ntype = "null"\nwhere = "path == \'/b\'"\n'
    job = Job(text)

    def wanted() -> list[list[tuple[str, int]]]:
        specs = [stage.spec.outputs for stage in job.wiring.workers()]  # type: ignore[attr-defined]
        return [[(each.where, id(each.verdicts)) for each in outputs] for outputs in specs]

    before = wanted()
    assert job.change(text.replace("'/b'", "'/c'").replace("127.0.0.1:9", "127.0.0.1:10")) == (["applied: output"], 0)
    after = wanted()
    for old, new in zip(before, after, strict=True):
        assert new[0] == old[0]
        assert new[1][0] == "path == '/c'"
        assert new[1][1] not in {memory for each in before for _where, memory in each}
    twice = text.replace("'/b'", "'/c'") + '[[output]]\ntype = "null"\nwhere = "path == \'/c\'"\n'
    job.change(twice)
    assert len({memory for outputs in wanted() for _where, memory in outputs}) == 6, "each has a memory of its own"
