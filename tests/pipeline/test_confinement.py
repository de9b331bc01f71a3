"""Which process keeps which right: one too many is an attacker's, one too few ends the run."""

import getpass
import logging
import os

import pytest

from capture.errors import ConfigError
from capture.privileges import Capability
from pipeline import confinement
from pipeline.settings import parse
from pipeline.stages import wire
from pipeline.wiring import Wiring
from tests.pipeline.sending import sending

LIVE = '[input]\ntype = "live"\ninterfaces = ["lo"]\n{}\n[workers]\ncount = 2\n[[output]]\ntype = "null"\n'


def wired(more: str = "") -> Wiring:
    """The stages of a live run."""
    return wire(parse(LIVE.format(more), "m.toml"), logging.INFO)


@pytest.fixture
def root(monkeypatch):
    """As if it had been started with sudo."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)


@pytest.fixture
def somebody(monkeypatch):
    """As if it had been started by a user."""
    monkeypatch.setattr(os, "geteuid", lambda: 12345)


def test_only_captures_keep_the_right_to_open_interfaces(somebody):
    """Everything else reads what others sent, and must not be worth taking over."""
    for stage in wired().stages:
        assert stage.rights.keep == ({Capability.NET_RAW} if stage.kind == "capture" else frozenset())
        assert stage.rights.user is None


def test_root_without_a_user_may_still_write_everybodys_files(root):
    """`sudo pipeline run` in a home directory: the file belongs to a directory that is not root's."""
    for stage in wired().stages:
        expected = {Capability.DAC_OVERRIDE} | ({Capability.NET_RAW} if stage.kind == "capture" else set())
        assert stage.rights.keep == expected


def test_root_with_a_user_gives_everything_else_away(root):
    """Files are that user's business."""
    for stage in wired('user = "nobody"').stages:
        assert stage.rights.keep == ({Capability.NET_RAW} if stage.kind == "capture" else frozenset())
        assert stage.rights.user is not None
        assert stage.rights.user.name == "nobody"


def test_files_need_no_right_to_capture(root, tmp_path):
    """Offline there is nothing to open but files."""
    (tmp_path / "a.pcap").write_bytes(b"")
    text = f'[input]\ntype = "pcap"\npath = "{tmp_path}/a.pcap"\n[[output]]\ntype = "null"\n'
    assert {stage.rights.keep for stage in wire(parse(text, "m"), 20).stages} == {frozenset({Capability.DAC_OVERRIDE})}


def test_who_is_not_root_becomes_nobody_else(somebody, monkeypatch):
    """Said before anything starts; naming oneself is no change."""
    with pytest.raises(ConfigError, match="only root can change"):
        wired('user = "nobody"')
    with pytest.raises(ConfigError, match="no-such-user"):
        wired('user = "no-such-user"')
    monkeypatch.undo()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() or 1)
    monkeypatch.setattr(confinement, "account", lambda name: type("A", (), {"name": name, "uid": os.geteuid()})())
    assert all(stage.rights.user is None for stage in wired(f'user = "{getpass.getuser()}"').stages)


def test_pinned_processes_of_a_lane_share_its_cores_out(monkeypatch):
    """Two processes on one core while another is idle would be worse than no pinning."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)))
    cores = {stage.name: stage.cores for stage in wired("lanes = 2\npin = true").stages}
    assert cores == {
        "worker 0": (0,), "worker 1": (1,), "assembler 0": (2,), "capture 0": (3,),
        "worker 2": (4,), "worker 3": (5,), "assembler 1": (6,), "capture 1": (7,),
    }  # fmt: skip
    assert {stage.cores for stage in wired("lanes = 2").stages} == {()}


def test_who_takes_answers_is_in_the_lane_of_who_gets_them(monkeypatch):
    """Its ring stays in the caches of that lane, and other lanes keep their cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(12)))
    config = sending(LIVE.format("lanes = 2\npin = true"), True)
    cores = {stage.name: stage.cores[0] for stage in wire(config, logging.INFO).stages}
    assert {name for name, core in cores.items() if core < 6} == {
        "worker 0", "worker 1", "answer worker 0", "answer worker 1", "assembler 0", "capture 0",
    }  # fmt: skip
    assert sorted(cores.values()) == list(range(12))
