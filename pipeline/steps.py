"""The steps of an output that are not ours: functions and programs of the operator.

In: a checked `Config`.  Out: what workers are told of them; or, before anything starts, what keeps them from working.
"""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from emit.transform import TransformSpec
from pipeline.config import Config
from pipeline.outputs import Output
from pipeline.table import CombinationError

IMPORT_S: Final = 60.0
"""How long a module may take to be imported."""
_TRY: Final = "import sys; from emit.hooks import attempt; attempt(*sys.argv[1:])"


def transforms(config: Config, output: Output, name: str) -> Iterator[TransformSpec]:
    """Yield the steps of an output, which messages to the operator call by that name."""
    if output.python is not None:
        from emit.hooks import HookSpec  # here, as most runs have no use for it

        yield HookSpec(output.python, directories(config), f"{name}: {output.python}")
    if output.middleware is not None:
        from emit.middleware import MiddlewareSpec

        yield MiddlewareSpec(output.middleware, f"{name}: {Path(output.middleware[0]).name}")


def directories(config: Config) -> tuple[str, ...]:
    """Return where modules are looked for besides the import path: beside the configuration, and here."""
    return tuple(dict.fromkeys([str(config.directory.resolve()), str(Path.cwd())]))


def check_steps(config: Config) -> None:
    """Raise `CombinationError` for a function that cannot be imported, or a program that is not there.

    Functions are imported in a process of their own: what they do when they are is no business of the run's.
    """
    for at, output in enumerate(config.output):
        if output.python is not None and (fault := _attempt(output.python, directories(config))):
            raise CombinationError(f"output.{at}.python", output.python, fault)
        if output.middleware is not None and shutil.which(output.middleware[0]) is None:
            program = output.middleware[0]
            advice = f"{program} is no program that can be started: write its path, or one that the PATH has"
            raise CombinationError(f"output.{at}.middleware", shlex.join(output.middleware), advice)


def _attempt(function: str, places: tuple[str, ...]) -> str:
    """Import a function, and return what is wrong with it; nothing, if it is there."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(each or str(Path.cwd()) for each in sys.path)}
    try:
        tried = subprocess.run(  # noqa: S603  # this interpreter
            [sys.executable, "-P", "-c", _TRY, function, *places],
            env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=IMPORT_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"importing it takes longer than {IMPORT_S:g} s"
    if tried.returncode == 0:
        return ""
    *_earlier, last = ["it ends the interpreter that imports it", *tried.stdout.decode("utf-8", "replace").splitlines()]
    return last
