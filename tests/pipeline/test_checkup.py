"""How interfaces and findings are shown: to people in columns, to machines as JSON, with an exit code."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest

from pipeline import checkup
from pipeline.devices import Device
from pipeline.machine import Machine

CARD = Device(
    "eth0", "ethernet", True, 1500, ("10.0.0.1/24",), master="bond0", offloads={"gro": True, "lro": None},
    rx_packets=1234567,
)  # fmt: skip
MACHINE = Machine(True, False, "/p", 4, None, None, True, None)


@pytest.fixture
def card(monkeypatch):
    """A machine with one card."""
    monkeypatch.setattr(checkup, "devices", lambda: [CARD])
    monkeypatch.setattr(checkup, "machine", lambda: MACHINE)


def test_interfaces_stand_in_columns(card):
    """All that tells one from another, and `any` beside them."""
    head, line, last = checkup.interfaces(as_json=False).splitlines()
    assert line.split() == ["eth0", "ethernet", "up", "1500", "bond0", "gro", "1,234,567", "0", "10.0.0.1/24"]
    assert head.index("addresses") == line.index("10.0.0.1")
    assert last.split()[0] == "any"


def test_machines_get_everything(card):
    """Whatever a column has no room for."""
    (found,) = json.loads(checkup.interfaces(as_json=True))
    assert (found["name"], found["offloads"], found["rx_ring"]) == ("eth0", {"gro": True, "lro": None}, None)


def test_the_last_line_of_a_diagnosis_is_its_sum(card, monkeypatch):
    """Whoever reads one line reads this one; scripts look at the exit code."""
    text, code = checkup.diagnose(None, as_json=False)
    assert (text.splitlines()[-1], code) == ("Live traffic can be captured here.", 0)
    monkeypatch.setattr(checkup, "machine", lambda: Machine(False, False, "/p", 4, None, None, False, None))
    text, code = checkup.diagnose(None, as_json=False)
    assert (text.splitlines()[-1], code) == ("Live traffic cannot be captured here: right to capture.", 1)
    text, code = checkup.diagnose(None, as_json=True)
    found = {each["what"]: each["verdict"] for each in json.loads(text)}
    assert (found["right to capture"], found["clock"], code) == ("missing", "better", 1)


def test_many_addresses_stand_below_each_other(monkeypatch):
    """Three IPv6 addresses in one line are wider than a terminal."""
    many = replace(CARD, addresses=("10.0.0.1/24", "fd00::1234:5678:9abc:def0/64", "fe80::1/64"))
    monkeypatch.setattr(checkup, "devices", lambda: [many])
    lines = checkup.interfaces(as_json=False).splitlines()
    assert [line.split()[-1] for line in lines[1:4]] == list(many.addresses)
    assert {line.index(address) for line, address in zip(lines[1:4], many.addresses, strict=True)} == {
        lines[0].index("addresses")
    }
    assert max(map(len, lines)) <= 110


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="takes rights away with setpriv, as root")
def test_without_rights_both_commands_work_and_say_what_is_missing():
    """Whoever lacks the right is the one who asks."""
    lacking = ("setpriv", "--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all", "--no-new-privs")
    command = (*lacking, sys.executable, "-m", "pipeline")
    shown = subprocess.run([*command, "interfaces", "--json"], capture_output=True, text=True, timeout=60, check=True)
    assert {"lo": "ETHERNET"}.items() <= {each["name"]: each["link"] for each in json.loads(shown.stdout)}.items()
    asked = subprocess.run([*command, "doctor", "--json"], capture_output=True, text=True, timeout=60, check=False)
    verdicts = {each["what"]: each["verdict"] for each in json.loads(asked.stdout)}
    assert (verdicts["right to capture"], asked.returncode, asked.stderr) == ("missing", 1, "")
