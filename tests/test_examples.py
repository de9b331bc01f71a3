"""The examples beside the code: systemd takes the unit, its sandbox lets a run through, the image finds its files."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import tomllib
from pathlib import Path
from typing import Final

import pytest

from capture.errors import ConfigError
from pipeline.supervisor import DRAIN_S
from tests.integration.jobs import COMMAND, LIMIT_S, processes_under
from tests.integration.mirrors import fetch, mirroring, serving
from tests.namespace import needs_root, pair

ROOT: Final = Path(__file__).parents[1]
UNIT: Final = ROOT / "examples" / "ringtap.service"
RECIPE: Final = ROOT / "examples" / "Containerfile"
INSTALLED: Final = "/opt/ringtap/bin/pipeline"
SAFE: Final = 2.0  # of 10, exposure as systemd-analyze(1) counts it

analyze = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze (systemd)")


def settings(name: str) -> list[str]:
    """The values of one key of the unit."""
    return re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)


def instructions(name: str) -> list[str]:
    """What follows every instruction of one kind, "" for their names."""
    lines = [line for line in RECIPE.read_text().splitlines() if line and not line.startswith("#")]
    found = [line.partition(" ") for line in "\n".join(lines).replace("\\\n", "").splitlines()]
    return [rest for each, _, rest in found if each == name] if name else [each for each, _, _ in found]


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit, with a command that is there."""
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace(INSTALLED, str(COMMAND)))
    return copy


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a program to its end."""
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)


def analysed(*arguments: str) -> str:
    """Run systemd-analyze; fails if it finds fault."""
    done = run("systemd-analyze", *arguments)
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
    for line in settings("SystemCallFilter"):
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
            mirror.wait_for("reload: applied")
            os.kill(supervisor, signal.SIGTERM)
            mirror.job.wait(LIMIT_S)
    used = set(re.findall(r"^\d+ +(\w+)\(", trace.read_text(), re.MULTILINE))
    assert {"capset", "memfd_create", "pidfd_open", "socket"} <= used, "the trace is not that of a run"
    assert not used - allowed()


def test_rights_are_the_one_that_capturing_needs():
    """One more would be the attacker's; one less, and there is no run."""
    assert settings("AmbientCapabilities") == settings("CapabilityBoundingSet") == ["CAP_NET_RAW"]
    assert "cap_net_raw+p" in str(instructions("RUN"))
    assert instructions("USER") == ["ringtap"]


def test_stopping_leaves_time_to_drain():
    """Killed before that, the run would lose what it had captured."""
    (unit,) = settings("TimeoutStopSec")
    (image,) = re.findall(r"--stop-timeout (\d+)", RECIPE.read_text())
    assert float(unit.removesuffix("s")) > DRAIN_S
    assert float(image) > DRAIN_S


@pytest.mark.parametrize(
    ("command", "code"),
    [(settings("ExecStart")[0], 2), (settings("ExecReload")[0], 1), (" ".join(json.loads(instructions("CMD")[0])), 2)],
)
def test_commands_are_what_pipeline_takes(command, code, tmp_path: Path):
    """An option that was renamed would be found out when the service does not start."""
    words = shlex.split(command.removeprefix(INSTALLED))
    missing = tmp_path / "mirror.toml"
    assert "/etc/ringtap/mirror.toml" in words
    done = run(str(COMMAND), *(str(missing) if each.startswith("/etc/") else each for each in words))
    assert (done.returncode, done.stderr.startswith(f"pipeline: error: {missing}: ")) == (code, True), done.stderr


def test_a_wrong_configuration_is_not_tried_again_and_again():
    """It would fill the log, and the state would say that the service is about to start."""
    assert settings("RestartPreventExitStatus") == [str(ConfigError.exit_code)]


def test_the_image_is_built_from_what_there_is():
    """A file that moved ends the build; a package that is left out ends the program."""
    lines = [line for line in instructions("COPY") if not line.startswith("--from")]
    names = {name.rstrip("/") for line in lines for name in line.split()[:-1]}
    assert [name for name in names if not (ROOT / name).exists()] == []
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = {*project["tool"]["setuptools"]["packages"], *project["project"]["license-files"]}
    assert needed | {project["project"]["readme"], "pyproject.toml", "setup.py"} <= names


def test_the_image_has_no_instruction_or_stage_that_does_not_exist():
    """Checked here, as a builder of images is not everywhere."""
    known = {"FROM", "RUN", "COPY", "WORKDIR", "USER", "VOLUME", "ENTRYPOINT", "CMD"}
    assert set(instructions("")) <= known
    stages = re.findall(r"\bAS (\w+)$", "\n".join(instructions("FROM")), re.MULTILINE)
    assert re.findall(r"--from=(\w+)", " ".join(instructions("COPY"))) == stages == ["build"]
    for script in instructions("RUN"):
        done = run("sh", "-n", "-c", script)
        assert done.returncode == 0, done.stderr


def test_the_interpreter_that_may_capture_is_the_one_that_runs_pipeline():
    """The right belongs to one file, and the first line of a script says which; a link to it would get nothing."""
    steps = " ".join(instructions("RUN"))
    (venv,) = re.findall(r"-m venv --copies (\S+)", steps)
    (installer,) = re.findall(r"(\S+) -m pip install", steps)
    (granted,) = re.findall(r"setcap \S+ (\S+)", steps)
    assert granted == installer == f"{venv}/bin/python3"
    assert json.loads(instructions("ENTRYPOINT")[0]) == [INSTALLED] == [f"{venv}/bin/pipeline"]
