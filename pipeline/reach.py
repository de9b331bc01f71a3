"""What a configuration names outside of this program: users, receivers, files.

In: a `Config`.  Out: what is wrong with them, in words.  Invariant: nothing is sent and nothing is written.
"""

import socket
from dataclasses import dataclass
from pathlib import Path

from capture.errors import ConfigError
from capture.privileges import account, may_write
from emit.rotation import Names
from pipeline.config import Config
from pipeline.inputs import LiveInput
from pipeline.outputs import FileOutput, HttpOutput, Output, TcpOutput


@dataclass(frozen=True)
class Named:
    """One thing that a configuration names; `trouble` is empty if it is there."""

    what: str
    value: str
    trouble: str = ""
    advice: str = ""


def named(config: Config) -> tuple[Named, ...]:
    """Look each of them up."""
    found = [_output(at, output) for at, output in enumerate(config.output)]
    source = config.input
    if isinstance(source, LiveInput) and source.user is not None:
        found.append(_user(source.user))
    return tuple(each for each in found if each is not None)


def _output(at: int, output: Output) -> Named | None:
    what = f"output {at}"
    if isinstance(output, TcpOutput | HttpOutput):
        host, port = output.end
        try:
            socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            advice = f"output.{at}.address: write a name that resolves here, or an address"
            return Named(what, output.address, f"{host}: {error.strerror}", advice)
        return Named(what, f"{output.type} {output.address}")
    return _file(what, at, Path(output.path)) if isinstance(output, FileOutput) else None


def _file(what: str, at: int, path: Path) -> Named:
    names = Names(str(path))
    if names.by_time:  # its directories are made when they are needed
        path = Path(names.fixed, "x")
    target = path if path.exists() else path.parent
    if not target.exists():
        return Named(what, str(path), f"{target}: no such directory", f"mkdir -p {target}")
    if not may_write(path, None):
        return Named(what, str(path), f"{target}: cannot be written", f"output.{at}.path: write another file")
    return Named(what, f"file {path}")


def _user(name: str) -> Named:
    try:
        account(name)
    except ConfigError as error:
        return Named("user", name, str(error), f"sudo useradd --system {name}, or another input.user")
    return Named("user", name)
