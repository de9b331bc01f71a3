"""The build under test is the one asked for: else the checked run would test the release modules twice."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROFILE = os.environ.get("RINGTAP_PROFILE", "release")
HOME = ROOT / "build" / "checked" if PROFILE == "checked" else ROOT
PACKAGES = ("capture", "assemble", "emit", "pipeline")
COMPILED = [
    ".".join(source.relative_to(ROOT).with_suffix("").parts)
    for package in PACKAGES
    for source in sorted((ROOT / package).glob("*.pyx"))
]


def test_there_are_compiled_modules():
    """An empty list would make the next test pass without looking at anything."""
    assert "capture.ring" in COMPILED


@pytest.mark.parametrize("name", COMPILED)
def test_compiled_modules_come_from_the_profile_under_test(name):
    """STYLE 5: every test runs on the checked build too."""
    module = importlib.import_module(name)
    path = Path(str(module.__file__))
    assert path.parent == HOME / name.split(".")[0]
    assert path.suffix == ".so"


def test_other_processes_take_the_same_build():
    """Whole runs start the command and spawn children; these must not fall back to the installed build."""
    code = "import capture.ring; print(capture.ring.__file__)"
    found = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert Path(found.stdout.strip()).parent == HOME / "capture"
