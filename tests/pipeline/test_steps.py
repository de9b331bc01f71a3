"""Functions and programs of the operator: found before anything starts, or refused with their place."""

import logging
from pathlib import Path

import pytest

from capture.errors import ConfigError
from emit.hooks import HookSpec
from emit.middleware import MiddlewareSpec
from pipeline.explain import explain
from pipeline.settings import load, parse
from pipeline.stages import wire
from pipeline.steps import check_steps, directories
from pipeline.table import CombinationError

START = '[input]\ntype = "tcp"\n[[output]]\ntype = "null"\n[[output]]\ntype = "file"\npath = "m.jsonl"\n'


def written(directory: Path, keys: str, **modules: str) -> Path:
    """Write a configuration, and modules beside it."""
    for name, text in modules.items():
        (directory / f"{name}.py").write_text(text)
    path = directory / "m.toml"
    path.write_text(START + keys)
    return path


def fault(path: Path, *overrides: str) -> str:
    """The one line that is said about a configuration."""
    with pytest.raises(ConfigError) as caught:
        load(path, overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{path}: ")


def test_a_function_beside_the_configuration_or_here_is_found(tmp_path, monkeypatch):
    """Whichever of the two people think of; the file may be anywhere."""
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    monkeypatch.chdir(here)
    (here / "local.py").write_text("def f(message): return message\n")
    for name in ("local:f", "beside:f", "json:loads"):
        path = written(there, f'python = "{name}"\n', beside="def f(message): return message\n")
        config = load(path)
        assert directories(config) == (str(there), str(here))
        (_, spec) = wire(config, logging.INFO).workers()[0].spec.outputs
        assert spec.transforms == (HookSpec(name, (str(there), str(here)), f"output 1 (file m.jsonl): {name}"),)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("hooks", 'write "module:name", like "hooks:mask"'),
        ("hooks:", 'write "module:name", like "hooks:mask"'),
        ("a-b:c", 'write "module:name", like "hooks:mask"'),
        ("hooks:f()", 'write "module:name", like "hooks:mask"'),
        ("hooks.py:f", "there is no module hooks.py in DIR, HERE or on the import path"),
        ("no_such:f", "there is no module no_such in DIR, HERE or on the import path"),
        ("hooks:g", "hooks has no g"),
        ("broken:f", "importing broken fails at broken.py:2: ZeroDivisionError: division by zero"),
        ("noisy:f", "importing noisy fails at noisy.py:2: RuntimeError: two lines"),
        ("leaves:f", "it ends the interpreter that imports it"),
    ],
)
def test_a_function_that_cannot_be_imported_is_refused(tmp_path, monkeypatch, function, said):
    """By check, run and reload alike, and before anything has started."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    path = written(
        tmp_path, f'python = "{function}"\n', hooks="def f(message): return message\n", broken="\n1 / 0\n",
        noisy="print('hello')\nraise RuntimeError('two\\nlines')\n", leaves="import os\nos._exit(0 or 7)\n",
    )  # fmt: skip
    said = said.replace("DIR", str(tmp_path)).replace("HERE", str(tmp_path / "here"))
    assert fault(path) == f'output.1.python: "{function}" is not possible; {said}'
    assert fault(written(tmp_path, ""), f"output.0.python={function}").startswith("--set: output.0.python: ")


def test_what_a_function_does_when_it_is_imported_is_not_done_here(tmp_path, monkeypatch, capfd):
    """The run has its own business, and its own standard output."""
    path = written(tmp_path, 'python = "side:f"\n', side="import sys, emit\nemit.seen = 1\nprint('hi')\nf = print\n")
    load(path)
    import emit

    assert not hasattr(emit, "seen")
    assert capfd.readouterr() == ("", "")


def test_a_command_is_split_as_a_shell_would_and_no_shell_sees_it(tmp_path):
    """Who wants one writes it."""
    for text in ("\"cat -n 'two words'\"", "['cat', '-n', 'two words']"):
        config = load(written(tmp_path, f"middleware = {text}\n"))
        (_, spec) = wire(config, logging.INFO).workers()[0].spec.outputs
        assert spec.transforms == (MiddlewareSpec(("cat", "-n", "two words"), "output 1 (file m.jsonl): cat"),)
        assert "         each goes through a program: cat -n 'two words'" in list(explain(config))


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ('""', '"" is not possible; write a command, like "./middleware.py --verbose"'),
        ("[]", '[] is not possible; write a command, like "./middleware.py --verbose"'),
        ("['']", '[""] is not possible; write a command, like "./middleware.py --verbose"'),
        ('"cat \'x"', '"cat \'x" is not possible; no closing quotation; write a command, or a list of its parts'),
        (
            '"./no/such --verbose"',
            '"./no/such --verbose" is not possible; ./no/such is no program that can be started: '
            "write its path, or one that the PATH has",
        ),
    ],
)
def test_a_program_that_cannot_be_started_is_refused(tmp_path, command, said):
    """A spelling mistake is found by check, not when the traffic comes."""
    assert fault(written(tmp_path, f"middleware = {command}\n")) == f"output.1.middleware: {said}"


def test_a_file_that_cannot_be_executed_is_no_program(tmp_path):
    """The usual mistake with scripts."""
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\ncat\n")
    path = written(tmp_path, f'middleware = "{script}"\n')
    assert "no program that can be started" in fault(path)
    script.chmod(0o755)
    load(path)


def test_a_configuration_that_is_in_no_file_is_checked_by_itself_alone(tmp_path):
    """It says nothing about files; whoever has it in hand can ask."""
    config = parse(START + 'python = "no_such:f"\n', "m.toml")
    with pytest.raises(CombinationError, match="there is no module no_such"):
        check_steps(config)


def test_several_workers_have_a_program_each(tmp_path):
    """Who keeps a state over connections has to know."""
    said = list(explain(parse(START + 'middleware = "cat"\n[workers]\ncount = 3\n', "m.toml")))
    assert (
        "         each goes through a program: cat; one for each of 3 workers, which have connections of their own"
        in said
    )
    said = list(explain(parse(START + 'python = "hooks:mask"\nlimit = 5\n', "m.toml")))
    at = said.index("         each goes through the Python function hooks:mask")
    assert said[at + 1] == "         at most 5 exchanges a second, shared by all workers; more wait"
