"""Findings from made-up facts: what is missing is told from what could be better, and each comes with what to do."""

from dataclasses import replace

import pytest

from pipeline.devices import Device
from pipeline.doctor import Finding, Verdict, examine
from pipeline.machine import Machine
from pipeline.reach import Named
from pipeline.settings import parse

HEALTHY = Machine(
    may_capture=True, root=False, interpreter="/opt/p/bin/python3", cores=8, available=8 << 30, limit=None,
    synchronised=True, clock="tsc",
)  # fmt: skip
CARD = Device("eth0", "ethernet", True, 1500, offloads={"gro": True, "lro": False}, rx_ring=(512, 4096))
DOWN = Device("eth1", "ethernet", False, 1500)
LIVE = '[input]\ntype = "live"\n{}\n[[output]]\ntype = "null"\n'


def found(what: str, machine: Machine = HEALTHY, devices: tuple[Device, ...] = (CARD, DOWN), text: str = "") -> Finding:
    """The finding about one thing."""
    config = parse(LIVE.format(text), "m.toml") if text else None
    return next(each for each in examine(machine, devices, config) if each.what == what)


def test_a_healthy_machine_needs_nothing():
    """Advice that is not needed hides what is."""
    assert {each.verdict for each in examine(HEALTHY, (CARD,))} == {Verdict.OK}
    assert not any(each.advice for each in examine(HEALTHY, (CARD,), parse(LIVE.format(""), "m.toml")))


def test_the_missing_right_comes_with_every_way_to_get_it():
    """The first thing that goes wrong for everybody."""
    finding = found("right to capture", replace(HEALTHY, may_capture=False))
    assert finding.verdict is Verdict.MISSING
    for way in ("sudo pipeline", "AmbientCapabilities=CAP_NET_RAW", "setcap cap_net_raw+p /opt/p/bin/python3"):
        assert way in finding.advice


@pytest.mark.parametrize(
    ("interfaces", "verdict", "says"),
    [
        ('["eth0"]', Verdict.OK, "eth0"),
        ('["any"]', Verdict.OK, "any"),
        ('["eth7"]', Verdict.MISSING, "eth7: no such interface"),
        ('["eth1"]', Verdict.MISSING, "eth1: down"),
        ('["eth*"]', Verdict.OK, "eth0; eth1: waited for"),
        ('["eth0", "veth*"]', Verdict.OK, "eth0; veth*: waited for"),
    ],
)
def test_the_interfaces_of_a_configuration_are_looked_for(interfaces, verdict, says):
    """A pattern may come true later, a name will not."""
    finding = found("interfaces", text=f"interfaces = {interfaces}")
    assert (finding.verdict, finding.found) == (verdict, says)


@pytest.mark.parametrize(
    ("text", "verdict"), [("lanes = 2", Verdict.OK), ("lanes = 4", Verdict.BETTER), ('lanes = "auto"', Verdict.OK)]
)
def test_more_lanes_than_cores_are_no_gain(text, verdict):
    """Three processes each."""
    assert found("cores", text=text).verdict is verdict


@pytest.mark.parametrize(
    ("machine", "verdict"),
    [
        (HEALTHY, Verdict.OK),
        (replace(HEALTHY, limit=256 << 20), Verdict.BETTER),
        (replace(HEALTHY, available=256 << 20), Verdict.BETTER),
        (replace(HEALTHY, available=None), Verdict.OK),
    ],
)
def test_memory_that_could_run_out_is_said_before_it_does(machine, verdict):
    """Buffers, rings and what is held for reassembly, all lanes together."""
    assert found("memory", machine, text='interfaces = ["eth0"]').verdict is verdict
    assert "624MiB" in found("memory", machine, text='interfaces = ["eth0"]').found


def test_a_clock_that_nobody_keeps_is_worth_a_word():
    """Messages of two machines cannot be put in order."""
    assert found("clock", replace(HEALTHY, synchronised=False)).verdict is Verdict.BETTER
    assert found("clock", replace(HEALTHY, synchronised=None)).verdict is Verdict.OK


def test_large_receive_offload_is_told_from_the_harmless_ones():
    """It throws the packets' own boundaries away."""
    merging = replace(CARD, offloads={"gro": True, "lro": True})
    assert "ethtool -K eth0 lro off" in found("large receive offload", devices=(merging,)).advice


@pytest.mark.parametrize(
    ("ring", "says"), [((512, 4096), "ethtool -G eth0 rx 4096"), ((4096, 4096), "ethtool -L"), (None, "ethtool -L")]
)
def test_a_card_that_misses_frames_gets_a_larger_ring_if_it_has_one(ring, says):
    """What the card lost nobody else can count."""
    finding = found("interface drops", devices=(replace(CARD, rx_missed=7, rx_ring=ring),))
    assert (finding.verdict, says in finding.advice) == (Verdict.BETTER, True)


def test_only_the_interfaces_that_are_watched_are_judged():
    """The other card's troubles are somebody else's."""
    other = replace(CARD, name="eth9", rx_missed=7)
    assert found("interface drops", devices=(CARD, other), text='interfaces = ["eth0"]').verdict is Verdict.OK
    assert found("interface drops", devices=(CARD, other), text='interfaces = ["any"]').verdict is Verdict.BETTER


def test_a_right_that_is_refused_is_not_asked_for_again():
    """Somebody who has CAP_NET_RAW must not be sent to get it."""
    finding = found("right to capture", replace(HEALTHY, may_capture=False, held=True))
    assert (finding.verdict, "setcap" in finding.advice) == (Verdict.MISSING, False)
    assert "seccomp" in finding.advice


def test_a_kernel_without_fanout_has_one_lane():
    """Lanes would end with an error at the start."""
    assert found("kernel", replace(HEALTHY, fanout=False)).advice == "input.lanes = 1"
    assert found("kernel", replace(HEALTHY, fanout=None)).verdict is Verdict.OK


def test_drops_that_go_on_are_told_from_old_ones():
    """A number as old as the machine says nothing about now."""
    now = replace(CARD, rx_missed=7)
    for then, goes_on in ((3, True), (7, False)):
        findings = examine(HEALTHY, (now,), earlier=(replace(CARD, rx_missed=then),))
        said = next(each.found for each in findings if each.what == "interface drops")
        assert said.startswith("eth0: 7 frames missed")
        assert ("it goes on" in said) is goes_on


def test_slow_cores_are_said():
    """Bursts are lost while they wake."""
    assert "performance" in found("CPU frequency", replace(HEALTHY, governors=("powersave",))).advice


def test_what_the_configuration_names_and_is_not_there_is_missing():
    """The run could not deliver."""
    named = [Named("output 0", "tcp x:1", "x: no such host", "write another"), Named("output 1", "file m.jsonl")]
    findings = {each.what: each for each in examine(HEALTHY, (CARD,), named=named)}
    assert (findings["output 0"].verdict, findings["output 0"].found) == (Verdict.MISSING, "x: no such host")
    assert (findings["output 1"].verdict, findings["output 1"].found) == (Verdict.OK, "file m.jsonl")
