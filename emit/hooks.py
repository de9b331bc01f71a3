"""A step that is a function of the operator's: a message in, what it returns out (docs/hooks.md).

In: messages.  Out: what takes their place.  Invariant: what goes wrong in a function costs the one message that it was
called with, which is not sent, as it may be what the function was to take something out of.
"""

import functools
import importlib
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from assemble.message import Message
from emit.transform import Transform, head_of

SAY_S: Final = 10.0

log = logging.getLogger(__name__)

Function = Callable[[Message], Any]


class HookError(Exception):
    """A function that cannot be had: what is wrong, in one line."""


@dataclass(frozen=True)
class HookSpec:
    """A function, by "module:name", where its module is looked for besides the import path, and how it is called."""

    function: str
    directories: tuple[str, ...]
    name: str

    def make(self) -> Transform:
        """Make the step; the module is imported by `start`."""
        return Hook(self)


def find(function: str, directories: Sequence[str]) -> Function:
    """Import a function; raises HookError."""
    sys.path += [each for each in directories if each not in sys.path]  # last: nothing of ours is to be hidden
    module, _, name = function.partition(":")
    try:
        found = functools.reduce(getattr, name.split("."), importlib.import_module(module))
    except ModuleNotFoundError as error:
        missing = f"there is no module {error.name}"
        asked = error.name is not None and f"{module}.".startswith(f"{error.name}.")
        raise HookError(f"{missing} in {', '.join(directories)} or on the import path" if asked else missing) from error
    except AttributeError as error:
        if _place(error.__traceback__) is None:
            raise HookError(f"{module} has no {name}") from error
        raise HookError(_importing(module, error)) from error
    except (Exception, SystemExit) as error:
        raise HookError(_importing(module, error)) from error
    if not callable(found):
        raise HookError(f"{name} in {module} is no function")
    return found


def attempt(function: str, *directories: str) -> None:
    """Import a function, in a process that is there for that alone: its last line says what is wrong."""
    try:
        find(function, directories)
    except HookError as error:
        sys.stdout.write(f"\n{error}\n")
        sys.exit(1)


def _importing(module: str, error: BaseException) -> str:
    where = _place(error.__traceback__)
    at = f" at {where}" if where else ""
    if isinstance(error, SyntaxError):
        at = f" at {Path(error.filename or module).name}:{error.lineno}"
    words = " ".join(str(error).split())
    return f"importing {module} fails{at}: {type(error).__name__}{f': {words}' if words else ''}"


def _place(traceback: TracebackType | None) -> str | None:
    """Return the file and line of the innermost call outside of this module and of what imports; None if all is."""
    place = None
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        if file != __file__ and not file.startswith("<frozen") and "importlib" not in file:
            place = f"{Path(file).name}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return place


class Hook(Transform):
    """Calls the function with each message."""

    def __init__(self, spec: HookSpec) -> None:
        self.spec = spec
        self.function: Function | None = None
        self.reason: str | None = None
        self.failed = 0
        self.counted = 0  # of those, by the worker
        self.said_s = -SAY_S

    def start(self, now_s: float) -> None:  # noqa: ARG002
        sys.stdout = sys.stderr  # what a function prints is not to stand between the lines of an output
        try:
            self.function = find(self.spec.function, self.spec.directories)
        except HookError as error:
            self.reason = f"{self.spec.name}: {error}"

    def take_counts(self) -> Mapping[str, int]:
        counted, self.counted = self.failed - self.counted, self.failed
        return {"failed_step": counted} if counted else {}

    @property
    def failure(self) -> str | None:
        return self.reason

    def apply(self, message: Message, now_s: float) -> Sequence[Message]:
        self.outcome = "removed"
        assert self.function is not None
        try:
            result = self.function(message)
            if result is message:
                return (message,)
            if result is None:
                return ()
            several = result if isinstance(result, list | tuple) else (result,)
            return [_mended(message, each) for each in several]
        except (Exception, SystemExit) as error:
            self.complain(error, now_s)
            self.outcome = "undelivered"
            return ()

    def complain(self, error: BaseException, now_s: float) -> None:
        """Log what went wrong, once in a while, and without what an error may quote of a message."""
        self.failed += 1
        if now_s - self.said_s < SAY_S:
            return
        where = _place(error.__traceback__)
        what = f"{type(error).__name__}{f' at {where}' if where else ''}"
        if isinstance(error, Nonsense):
            what = str(error)
        log.error("%s: %s; %d messages so far are not sent for that", self.spec.name, what, self.failed)
        self.said_s = now_s


class Nonsense(Exception):
    """A function returned what is no message."""


def _mended(message: Message, made: object) -> Message:
    """Return a message that a function returned, with the length of its head as it is now."""
    if not isinstance(made, Message):
        raise Nonsense(f"it returns {type(made).__name__}, which is neither a message, several, nor None")
    if made.payload == message.payload:
        return made
    return made.with_payload(made.payload, head_of(made.payload))
