"""What a run takes, beside what there is: told before the kernel tells it by a kill."""

from dataclasses import replace

import pytest

from pipeline.findings import Finding, Verdict
from pipeline.machine import Machine
from pipeline.resources import examine_resources
from pipeline.settings import parse
from tests.pipeline.sending import sending

MACHINE = Machine(True, False, "/p", 4, 8 << 30, None, True, None, open_files=1024)
LIVE = '[input]\ntype = "live"\n{}\n[[output]]\ntype = "null"\n'


def found(what: str, machine: Machine = MACHINE, text: str = "", watching: int = 1) -> Finding:
    """The finding about one thing."""
    config = parse(LIVE.format(text), "m.toml")
    return next(each for each in examine_resources(machine, config, watching) if each.what == what)


@pytest.mark.parametrize("bound", ["available", "limit", "address_space"])
def test_rings_that_do_not_fit_are_told_from_a_memory_that_may_not(bound):
    """The first ends at the start, the second on a bad day; whichever bound is the narrowest decides."""
    for size, verdict in ((100 << 20, Verdict.MISSING), (200 << 20, Verdict.BETTER), (1 << 30, Verdict.OK)):
        assert found("memory", replace(MACHINE, **{bound: size})).verdict is verdict


def test_every_lane_and_every_worker_has_rings():
    """Four lanes of two workers: four buffers, four frame rings, eight message rings."""
    text = "lanes = 4\n[workers]\ncount = 2"
    assert f"{4 * 64 + 4 * 32 + 8 * 16}MiB of it" in found("memory", text=text).found


def test_answers_have_rings_too():
    """As many as messages, and a process for each."""
    config = sending(LIVE.format("lanes = 4\n[workers]\ncount = 2"), True)
    (memory, _files) = examine_resources(MACHINE, config, 1)
    assert f"{4 * 64 + 4 * 32 + 16 * 16}MiB of it" in memory.found


def test_interfaces_share_a_buffer_down_to_the_least_each_has():
    """A pattern that matches a hundred interfaces takes more than input.buffer."""
    assert f"{64 + 48}MiB of it" in found("memory", watching=24).found
    assert f"{100 * 2 + 48}MiB of it" in found("memory", watching=100).found


def test_too_few_descriptors_come_with_the_command():
    """Otherwise a run with many lanes ends at the start with EMFILE."""
    finding = found("open files", replace(MACHINE, open_files=256), "lanes = 32")
    assert (finding.verdict, "ulimit -n 4096" in finding.advice) == (Verdict.BETTER, True)
    assert found("open files", replace(MACHINE, open_files=None), "lanes = 32").verdict is Verdict.OK


def test_only_live_inputs_are_judged():
    """Files are read at whatever speed there is; without a configuration, the default live input is meant."""
    config = parse('[input]\ntype = "tcp"\n[[output]]\ntype = "null"\n', "m.toml")
    assert not list(examine_resources(MACHINE, config, 1))
    assert [each.what for each in examine_resources(MACHINE, None, 1)] == ["memory", "open files"]
