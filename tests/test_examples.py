"""The examples beside the code: systemd takes the unit, its sandbox lets a run through, the image finds its files."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.integration.jobs import LIMIT_S, processes_under
from tests.integration.mirrors import fetch, mirroring, serving
from tests.namespace import needs_root, pair

ROOT: Final = Path(__file__).parents[1]
UNIT: Final = ROOT / "examples" / "ringtap.service"
RECIPE: Final = ROOT / "examples" / "Containerfile"
SAFE: Final = 2.5  # of 10, exposure as systemd-analyze(1) counts it

analyze = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze (systemd)")


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit, with a command that is there."""
    command = Path(sys.executable).parent / "pipeline"
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/opt/ringtap/bin/pipeline", str(command)))
    return copy


def analysed(*arguments: str) -> str:
    """Run systemd-analyze; fails if it finds fault."""
    done = subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return done.stdout


@analyze
def test_the_unit_is_one_that_systemd_takes(unit):
    """A key that is misspelt is ignored, and protects nothing."""
    analysed("verify", str(unit))


@analyze
def test_the_unit_exposes_little(unit):
    """What parses other people's bytes has no business in the rest of the machine."""
    said = analysed("security", "--offline=true", f"--threshold={round(SAFE * 10)}", str(unit))
    assert float(re.search(r"exposure level for \S+: ([\d.]+)", said)[1]) <= SAFE  # type: ignore[index]


def calls_of(group: str) -> set[str]:
    """The system calls of one of systemd's groups, and of the groups within."""
    found = set()
    for line in analysed("syscall-filter", group).splitlines()[1:]:
        name = line.split("#")[0].strip()
        if name:
            found |= calls_of(name) if name.startswith("@") else {name}
    return found


def allowed() -> set[str]:
    """What the unit's filter lets through: a list, exceptions from it, and exceptions from these (systemd.exec(5))."""
    found: set[str] = set()
    for line in re.findall(r"^SystemCallFilter=(.*)$", UNIT.read_text(), re.MULTILINE):
        names = line.removeprefix("~").split()
        calls = set().union(*(calls_of(each) if each.startswith("@") else {each} for each in names))
        found = found - calls if line.startswith("~") else found | calls
    return found


@analyze
@needs_root
@pytest.mark.skipif(shutil.which("strace") is None, reason="watches system calls with strace")
def test_the_unit_lets_every_call_of_a_run_through(tmp_path):
    """Start, traffic, reload, end: a call that the filter forgot would kill the service on the day that it is made."""
    trace = tmp_path / "calls"
    strace = ("strace", "-f", "-qq", "-o", str(trace))
    with pair("10.9.0.1/24", "10.9.0.2/24") as (client, server), serving(server):
        source = f'interfaces = ["{server.device}"]\nlanes = 2\npin = true'
        with mirroring(tmp_path, source, where=server, under=strace) as mirror:
            fetch(client, server.address, ["/one"])
            mirror.config.write_text(
                mirror.config.read_text().replace("out.", "new.").replace("pin", "ports = [80]\npin")
            )
            supervisor = processes_under(mirror.job.pid)[0]
            os.kill(supervisor, signal.SIGHUP)
            mirror.wait_for("capturing anew")
            os.kill(supervisor, signal.SIGTERM)
            mirror.job.wait(LIMIT_S)
    used = set(re.findall(r"^\d+ +(\w+)\(", trace.read_text(), re.MULTILINE))
    assert {"capset", "memfd_create", "pidfd_open", "socket"} <= used, "the trace is not that of a run"
    assert not used - allowed()


def test_the_image_copies_what_is_there():
    """A folder that is renamed would be missing in the image only."""
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", RECIPE.read_text(), re.MULTILINE)
    names = [name for line in copied for name in line.split()]
    assert {"pyproject.toml", "setup.py", "capture/", "assemble/", "emit/", "pipeline/"} <= set(names)
    assert all((ROOT / name).exists() for name in names)
